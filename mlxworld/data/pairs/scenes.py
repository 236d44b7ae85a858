"""Batches of told scenes, made as they are needed. Batch i is a pure function of (seed, i)."""

import itertools
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from ...evaluate.audio import log_mel
from ...text.bytes import rows
from ..envs.scenes import RATE, SAMPLES, Scene, draw, make_scene, sound, tell

COLUMNS = 4  # of the spectrogram, a frame of video
LEARNT, HELD_OUT = 1 << 40, 1 << 41  # seeds of scenes for learning, and of those to hold out, begin here


def spectrogram(audio: np.ndarray, bands: int) -> np.ndarray:
    """Sound (T, S) -> (T * COLUMNS, bands): log-mel, silence at -1, a loud tone at about 1."""
    hop = SAMPLES // COLUMNS
    mel = log_mel(audio, RATE, 2 * hop, hop, bands)[: len(audio) * COLUMNS]
    return (mel / 40).clip(-1, 2).astype(np.float32)


def batch_of(scenes: list[Scene], bands: int, letters: int) -> dict[str, np.ndarray]:
    """text (B, letters) int32, audio (B, T * COLUMNS, bands), image (B, H, W, 3) uint8, the first frame, and video
    (B, T, H, W, 3) uint8."""
    video = np.stack([draw(scene) for scene in scenes])
    audio = np.stack([spectrogram(sound(scene), bands) for scene in scenes])
    return {"text": rows([tell(s) for s in scenes], letters), "audio": audio, "image": video[:, 0], "video": video}


class SceneBatches:
    """An endless iterator of `batch_of`, from batch `start` on, prepared by threads."""

    def __init__(self, size: int, bands: int, letters: int, seed: int, start: int = 0, workers: int = 4):
        self.size, self.bands, self.letters, self.seed = size, bands, letters, seed
        self._batches = self._threads(start, workers)

    def batch(self, index: int) -> dict[str, np.ndarray]:
        """Batch number `index`, made now."""
        drawn = np.random.default_rng([self.seed, index]).integers(0, LEARNT, self.size)
        return batch_of([make_scene(LEARNT + int(n)) for n in drawn], self.bands, self.letters)

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        return self

    def __next__(self) -> dict[str, np.ndarray]:
        return next(self._batches)

    def close(self) -> None:
        """Stop preparing batches."""
        self._batches.close()

    def _threads(self, start: int, workers: int):
        waiting: deque[Future] = deque()
        with ThreadPoolExecutor(workers) as pool:
            try:
                for index in itertools.count(start):
                    waiting.append(pool.submit(self.batch, index))
                    if len(waiting) > workers:
                        yield waiting.popleft().result()
            finally:
                for future in waiting:
                    future.cancel()


def held_out(count: int, new_combinations: bool) -> list[Scene]:
    """Scenes of seeds that are never learnt from, with combinations that are, or that are not."""
    return [make_scene(HELD_OUT + i, held_out=new_combinations) for i in range(count)]
