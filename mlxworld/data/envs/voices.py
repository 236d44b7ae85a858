"""The sound of things that are struck: voices, decaying tones that run on from frame to frame.

S samples of a frame.
"""

import numpy as np

SILENT = 1e-4  # loudness below which a voice ends


class Voices:
    def __init__(self, rate: float, samples: int):
        """rate: samples a second; samples: S."""
        self._rate, self._samples = rate, samples
        self._voices = np.zeros((0, 4))  # of each: first sample, Hz, loudness, decay a second
        self.time = 0  # samples so far

    def strike(self, start: int, pitch: float, loudness: float, decay: float) -> None:
        """A tone of `pitch` Hz from sample `start` of all on, which falls by e in 1 / decay seconds."""
        self._voices = np.concatenate([self._voices, [(start, pitch, loudness, decay)]])

    def frame(self) -> np.ndarray:
        """The next frame (S,) float32 in [-1, 1]."""
        start, pitch, loudness, decay = (column[:, None] for column in self._voices.T)
        age = (self.time + np.arange(self._samples) - start) / self._rate
        tone = np.exp(-decay * np.maximum(age, 0)) * np.sin(2 * np.pi * pitch * age)
        sound = np.tanh((loudness * tone * (age >= 0)).sum(0)).astype(np.float32)
        self.time += self._samples
        alive = loudness * np.exp(-decay * (self.time - start) / self._rate) > SILENT
        self._voices = self._voices[alive[:, 0]]
        return sound
