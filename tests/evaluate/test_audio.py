import numpy as np
import pytest

from mlxworld.errors import MlxworldError
from mlxworld.evaluate import audio

RATE, S = 30720, 1024


def beeps(spans: list[tuple[float, float, float]], frames: int = 24, loud: float = 0.4) -> np.ndarray:
    """(T, S): square pulses as the console makes them (never negative), from `start` to `stop` (frames) at a pitch."""
    t = np.arange(frames * S)
    wave = np.zeros(frames * S)
    for start, stop, pitch in spans:
        on = (t >= start * S) & (t < stop * S)
        wave[on] = loud * (np.sin(2 * np.pi * pitch * t[on] / RATE) > 0)
    return wave.reshape(frames, S).astype(np.float32)


def noisy(frames: np.ndarray, level: float = 0.01) -> np.ndarray:
    return frames + np.random.default_rng(0).normal(0, level, frames.shape).astype(np.float32)


def test_rms_ignores_an_offset():
    t = np.arange(S) / S
    frames = np.stack([np.full(S, 0.5), 0.2 * np.sin(2 * np.pi * 8 * t) + 0.3])
    np.testing.assert_allclose(audio.rms(frames), [0, 0.2 / np.sqrt(2)], atol=1e-6)


def test_log_mel_agrees_with_librosa():
    n = np.arange(8 * S)
    wave = 0.3 * np.sign(np.sin(2 * np.pi * 675 * n / RATE)) * (n % 3000 < 2000)
    wave += 0.05 * np.sin(2 * np.pi * (1000 + 0.2 * n) * n / RATE)
    # librosa 0.11: feature.melspectrogram(y=wave, sr=30720, n_fft=1024, hop_length=512, n_mels=64), then
    # 10 log10(max(1e-4, .))
    expected = [
        [-3.8868, 14.3203, -14.5006, -27.5012, -16.4674],
        [-21.2347, 15.2353, -13.2346, -25.2125, -13.3301],
        [-22.4107, 15.2579, -13.3629, 0.0779, -13.3321],
        [-24.3279, 6.8114, -10.818, -27.9286, -22.9748],
    ]
    mel = audio.log_mel(wave.reshape(8, S), RATE)
    assert mel.shape == (17, 64)
    np.testing.assert_allclose(mel[np.ix_([0, 3, 9, 16], [0, 10, 22, 35, 63])], expected, atol=2e-3)
    assert mel.mean() == pytest.approx(-13.91999, abs=1e-3)


def test_another_rate_agrees_with_librosa_too():
    n = np.arange(16 * 630)
    wave = 0.3 * np.sin(2 * np.pi * (200 + 0.05 * n) * n / 22050) * (n % 2500 < 1800)
    # librosa 0.11, sr=22050, dtype=float64, the rest as above
    expected = [
        [1.804696, -5.419373, -24.916893, -39.786456, -40.0],
        [-11.540245, 2.015302, -11.046788, -20.633784, -31.09123],
        [-40.0, -40.0, -8.86501, -40.0, -40.0],
        [-21.677574, -22.610497, -16.903617, -23.478888, -40.0],
    ]
    mel = audio.log_mel(wave.reshape(16, 630), 22050)
    np.testing.assert_allclose(mel[np.ix_([0, 5, 12, 19], [0, 6, 17, 33, 60])], expected, atol=1e-5)


def test_mel_filters_of_a_low_rate_stay_below_the_nyquist_rate():
    filters = audio.mel_filters(1600, 512, 8)
    assert (filters.sum(1) > 0).all() and filters[-1].argmax() * 1600 / 512 < 800


@pytest.mark.parametrize(
    "distance", [lambda a, b: audio.log_mel_distance(a, b, RATE), audio.stft_distance], ids=["log-mel", "stft"]
)
def test_distances_order_dreams_as_an_ear_does(distance):
    real = beeps([(4, 8, 480)])
    same, soft, late = real, 0.7 * real, beeps([(8, 12, 480)])
    dreams = np.stack([same, soft, late])
    d = distance(np.stack([real] * 3), dreams)
    assert d[0] == 0 < d[1] < d[2]
    pitch, silent = distance(real, beeps([(4, 8, 700)])), distance(real, np.zeros_like(real))
    assert d[1] < pitch and d[1] < silent and np.isfinite(silent)
    assert distance(real * 0, real * 0) == 0
    assert distance(real * 0, noisy(real * 0, 1e-4)) < 0.01  # nobody hears -80 dB
    with pytest.raises(MlxworldError, match="one shape"):
        distance(real, real[:3])


@pytest.mark.parametrize("spoil", [lambda x: x, noisy, lambda x: noisy(0.5 * x), lambda x: x - 0.1])
def test_onsets_of_beeps(spoil):
    sound = beeps([(3.0, 5, 480), (8.5, 10, 240), (12, 14, 675), (14, 16, 240), (20.98, 23, 165)])
    where = np.flatnonzero(audio.onsets(spoil(sound)))
    assert len(where) == 5  # a change of pitch is one, a beep that goes on is none
    assert np.abs(where - [3, 8, 12, 14, 21]).max() <= 1
    assert not audio.onsets(spoil(0 * sound)).any()


def test_onsets_by_batch():
    sounds = np.stack([beeps([(3, 5, 480)]), beeps([(7, 9, 240)])])
    np.testing.assert_array_equal(np.argwhere(audio.onsets(sounds)), [[0, 3], [1, 7]])


def test_onsets_of_real_pong_are_its_bounces(pong_truth):
    """Truth by the console's memory: the ball turns (a paddle, a wall), a point is made, a ball is served."""
    truth = np.zeros(len(pong_truth.ram), bool)
    for k in range(0, len(truth), 800):
        x, y = pong_truth.ram[k : k + 800, 49], pong_truth.ram[k : k + 800, 54]
        direction = [0, 0]
        for t in range(1, 800):
            event = pong_truth.reward[k + t] != 0 or (y[t] > 0 and y[t - 1] == 0)
            if y[t] == 0 or y[t - 1] == 0:
                direction = [0, 0]
            else:
                for axis, now in enumerate((np.sign(x[t] - x[t - 1]), np.sign(y[t] - y[t - 1]))):
                    wall = axis == 0 or min(y[t - 2 : t + 1]) < 60 or max(y[t - 2 : t + 1]) > 190
                    event |= now * direction[axis] < 0 and wall
                    direction[axis] = now or direction[axis]
            truth[k + t] = event and not truth[k + t - 1]
    found = np.stack([audio.onsets(pong_truth.audio[k : k + 800]) for k in range(0, len(truth), 800)])
    assert truth.sum() > 60
    assert audio.onset_f1(truth.reshape(found.shape), found) > 0.97
    assert audio.onset_f1(truth.reshape(found.shape), np.roll(found, 3, 1)) < 0.2


def test_f1_pairs_one_to_one():
    def at(*frames: int) -> np.ndarray:
        return np.isin(np.arange(20), frames)

    assert audio.onset_f1(at(3, 9), at(4, 8)) == 1
    assert audio.onset_f1(at(3, 9), at(5, 9)) == 0.5
    assert audio.onset_f1(at(3, 9), at(5, 9), tolerance=2) == 1
    assert audio.onset_counts(at(5), at(4, 6)) == (1, 1, 2)  # two dreamt beeps don't both count
    assert audio.onset_f1(at(5), at(4, 6)) == pytest.approx(2 / 3)
    assert audio.onset_counts(at(4, 6), at(5, 7)) == (2, 2, 2)
    assert audio.onset_f1(at(5), at()) == 0 and np.isnan(audio.onset_f1(at(), at()))
    both = audio.onset_counts(np.stack([at(5), at(18)]), np.stack([at(18), at(5)]))
    assert both == (0, 2, 2)  # clips aren't mixed
