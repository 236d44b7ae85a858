"""Batches of things in several modalities. Batch i is a function of (seed, i): a resumed run sees the same ones."""

import itertools
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np

from ...configs.translator import MODALITIES
from ...text.bytes import Bytes
from ...text.tokenizer import Tokenizer


class Pairs(ABC):
    """Things in several modalities, to draw batches from. Made for the configuration of a model."""

    modalities: tuple[str, ...] = MODALITIES  # that each of them has
    clips: int = 1  # the most clips of one film in turn that a batch may be made of
    clips_told: bool = True  # whether those have their words, where there are any
    notes: tuple[str, ...] = ()  # lines for a person: what was left out
    tokenizer: Tokenizer = Bytes()  # of texts; another one may be set
    identity: dict[str, Any]  # what must not change between a run and its resumption
    card: dict[str, Any]  # facts for the model's card

    @abstractmethod
    def texts(self) -> Iterator[str]:
        """What a tokenizer may be taught from."""

    @abstractmethod
    def batch(self, rng: np.random.Generator, size: int, clips: int = 1) -> dict[str, np.ndarray]:
        """{modality: its rows}: text (B, max_text) int32, audio (B, audio_frames, bands) float32, image (B, H, W, 3)
        uint8, video (B, T, H, W, 3) uint8. clips n above 1, which divides B: rows n k to n k + n - 1 are of one film,
        in their order; "time" (B,) float32 is then when each begins, in seconds, and "scene" (B,) int32 the number of
        its scene, which grows where a clip does not follow on from the one before (see `sequence`)."""


def sequence(rng: np.random.Generator, clips: int, length: int, total: int) -> tuple[np.ndarray, np.ndarray]:
    """The first frames (n,) of n clips of `length` frames in a film of `total`, in order and apart, and the numbers
    (n,) of their scenes, from 0 up. Clips of a scene follow each other; between two scenes a gap is left, from a clip's
    length up, its logarithm evenly drawn. Of more than one clip two at least are of different scenes, if there is room.
    """
    starts, scenes = np.arange(clips) * length, np.zeros(clips, np.int64)
    cuts = rng.random(clips) < 1 / 3
    if clips > 1:
        cuts[1 + int(rng.integers(clips - 1))] = True
    left = total - clips * length
    for i in np.flatnonzero(cuts[1:]) + 1:
        if left >= length:
            gap = min(left, int(np.exp(rng.uniform(np.log(length), np.log(left + 1)))))
            starts[i:], scenes[i:], left = starts[i:] + gap, scenes[i:] + 1, left - gap
    return starts + int(rng.integers(left + 1)), scenes


class Drawn(Protocol):
    """What `Batches` draws from."""

    def batch(self, rng: np.random.Generator, size: int, clips: int = 1) -> dict[str, np.ndarray]:
        """See `Pairs.batch`."""
        ...


class Batches:
    """An endless iterator of a data's batches from batch `start` on, prepared by threads."""

    def __init__(
        self, data: Drawn, size: int, seed: int, start: int = 0, clips: int = 1, beside: int = 1, workers: int = 4
    ):
        """clips: of a film in turn. beside: as many in turn come beside each batch, "film" (B, T, H, W, 3) uint8 their
        videos, with their "time" and "scene"; 1: none do."""
        self.data, self.size, self.seed, self.clips, self.beside = data, size, seed, clips, beside
        self._batches = self._threads(start, workers)

    def batch(self, index: int) -> dict[str, np.ndarray]:
        """Batch number `index`, made now."""
        rng = np.random.default_rng([self.seed, index])
        batch = self.data.batch(rng, self.size, self.clips)
        if self.beside > 1:
            row = self.data.batch(rng, self.size, self.beside)
            batch |= {"film": row["video"], "time": row["time"], "scene": row["scene"]}
        return batch

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
