"""Batches of things in several modalities. Batch i is a function of (seed, i): a resumed run sees the same ones."""

import itertools
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np

from ...configs.translator import MODALITIES
from ...text.bytes import Bytes
from ...text.tokenizer import Tokenizer


class Pairs(ABC):
    """Things in several modalities, to draw batches from. Made for the configuration of a model."""

    modalities: tuple[str, ...] = MODALITIES  # that each of them has
    moments: bool = False  # whether a batch may be made of two moments of one film in turn
    notes: tuple[str, ...] = ()  # lines for a person: what was left out
    tokenizer: Tokenizer = Bytes()  # of texts; another one may be set
    identity: dict[str, Any]  # what must not change between a run and its resumption
    card: dict[str, Any]  # facts for the model's card

    @abstractmethod
    def texts(self) -> Iterator[str]:
        """What a tokenizer may be taught from."""

    @abstractmethod
    def batch(self, rng: np.random.Generator, size: int, moments: bool = False) -> dict[str, np.ndarray]:
        """{modality: its rows}: text (B, max_text) int32, audio (B, audio_frames, bands) float32, image (B, H, W, 3)
        uint8, video (B, T, H, W, 3) uint8. moments: rows 2 k and 2 k + 1 are of one film, the first of them earlier;
        "time" (B,) float32 is then when each begins, in seconds."""


class Batches:
    """An endless iterator of a data's batches from batch `start` on, prepared by threads."""

    def __init__(self, data: Pairs, size: int, seed: int, start: int = 0, moments: bool = False, workers: int = 4):
        self.data, self.size, self.seed, self.moments = data, size, seed, moments
        self._batches = self._threads(start, workers)

    def batch(self, index: int) -> dict[str, np.ndarray]:
        """Batch number `index`, made now."""
        return self.data.batch(np.random.default_rng([self.seed, index]), self.size, self.moments)

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
