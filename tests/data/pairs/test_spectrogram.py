"""Log-mel back to sound: impacts are heard where they were, and the spectrogram comes back."""

import numpy as np

from mlxworld.data.envs import scenes
from mlxworld.data.pairs.scenes import held_out
from mlxworld.data.pairs.spectrogram import SCALE, sound, spectrogram
from mlxworld.evaluate.audio import onset_f1, onsets

HOP, BANDS = 512, 64


def test_impacts_of_told_scenes_come_back():
    """Beside noise of the same loudness."""
    told = [s for s in held_out(12, False) if s.hits][:6]
    real = np.stack([scenes.sound(s) for s in told])
    mels = [spectrogram(w.reshape(-1), scenes.RATE, HOP, BANDS) for w in real]
    back = np.stack([sound(mel, scenes.RATE, HOP) for mel in mels]).reshape(real.shape)
    noise = np.random.default_rng(0).normal(size=real.shape) * real.std()
    distances = []
    for waves in (back, noise):
        again = [spectrogram(w.reshape(-1), scenes.RATE, HOP, BANDS) for w in waves]
        distances.append(SCALE * np.abs(np.stack(again) - np.stack(mels)).mean())
    assert onset_f1(onsets(real), onsets(back), 1) == 1
    assert onset_f1(onsets(real), onsets(noise), 1) < 0.2
    assert distances[0] < 0.3 < 10 < distances[1], "dB"


def test_phases_that_agree_are_nearer_than_those_drawn_at_first():
    wave = scenes.sound(next(s for s in held_out(12, False) if s.hits)).reshape(-1)
    mel = spectrogram(wave, scenes.RATE, HOP, BANDS)
    errors = [
        np.abs(spectrogram(sound(mel, scenes.RATE, HOP, n), scenes.RATE, HOP, BANDS) - mel).mean() for n in (1, 60)
    ]
    assert 0 < errors[1] < 0.6 * errors[0]


def test_silence_stays_silent_and_the_same_spectrogram_gives_the_same_sound():
    silent = spectrogram(np.zeros(8 * HOP, np.float32), scenes.RATE, HOP, BANDS)
    assert silent.shape == (8, BANDS) and (silent == -1).all()
    assert np.abs(sound(silent, scenes.RATE, HOP)).max() == 0
    mel = np.random.default_rng(0).uniform(-1, 1, (8, BANDS)).astype(np.float32)
    first = sound(mel, scenes.RATE, HOP, 3)
    assert first.shape == (8 * HOP,) and first.tobytes() == sound(mel, scenes.RATE, HOP, 3).tobytes()
