"""python -m docs.round_trip [--scenes 100]: what is left of sounds that went to a log-mel spectrogram and back.

Real sounds of held-out told scenes, beside what they were before any phase was sought, noise of the same loudness,
and the sound of another scene.
"""

import argparse

import numpy as np

from mlxworld.cli import entry
from mlxworld.data.envs import scenes
from mlxworld.data.pairs.scenes import COLUMNS, held_out
from mlxworld.data.pairs.spectrogram import SCALE, sound, spectrogram
from mlxworld.evaluate.audio import onset_f1, onsets

HOP, BANDS = scenes.SAMPLES // COLUMNS, 64


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenes", type=int, default=100)
    real = np.stack([scenes.sound(s) for s in held_out(parser.parse_args().scenes, False)])
    mels = [spectrogram(wave.reshape(-1), scenes.RATE, HOP, BANDS) for wave in real]
    noise = np.random.default_rng(0).normal(size=real.shape) * real.reshape(len(real), -1).std(1)[:, None, None]
    rows = {f"Griffin-Lim, {n} iterations": [sound(mel, scenes.RATE, HOP, n) for mel in mels] for n in (60, 1)}
    rows["noise as loud"] = list(noise.reshape(len(real), -1))
    rows["another scene's"] = list(np.roll(real, 1, axis=0).reshape(len(real), -1))
    print("| sound | F1 of onsets, within 1 frame | log-mel distance, dB | where something sounds, dB |")
    print("|---|---:|---:|---:|")
    loud = np.stack(mels).max(-1) > -0.5
    for name, waves in rows.items():
        again = np.stack([spectrogram(w, scenes.RATE, HOP, BANDS) for w in waves])
        error = SCALE * np.abs(again - np.stack(mels)).mean(-1)
        f1 = onset_f1(onsets(real), onsets(np.stack(waves).reshape(real.shape)))
        print(f"| {name} | {f1:.3f} | {error.mean():.2f} | {error[loud].mean():.2f} |")


if __name__ == "__main__":
    entry(main)
