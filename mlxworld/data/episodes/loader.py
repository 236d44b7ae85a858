"""Batches of clips from a cache. Batch i is a pure function of (seed, i): a resumed run sees the same batches.

Two feeders prepare batches in the background and give the same ones: Python threads (copying frames gives the
interpreter free), and mlx-data's ordered prefetch where its wheel exists.
"""

import importlib
import importlib.util
import itertools
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from ...errors import MlxworldError
from .frames import FrameStore

FEEDERS = ("threads", "mlx-data")
_CHUNK = 1024  # batches for which an mlx-data pipeline is made


def clip_starts(cache: FrameStore, frames: int, batch: int, seed: int, index: int, rare: float = 0.0) -> np.ndarray:
    """First frames (batch,) int64 of the clips of batch `index`: every clip of `frames` frames is equally likely.

    `rare` is the share of them that is drawn from the clips around rare moments, each moment equally likely, wherever
    it falls in its clip. No clip crosses the border of an episode; episodes with fewer frames, and those that the store
    leaves out (`drawn`), are never drawn. Raises MlxworldError if none is left.
    """
    room = np.maximum(np.diff(cache.offsets) - frames + 1, 0)
    room = room if cache.drawn is None else room * cache.drawn
    ends = np.cumsum(room)
    if frames < 1 or ends[-1] == 0:
        raise MlxworldError(f"no episode has {frames} frames: the longest of {len(room)} has {cache.longest}")
    rng = np.random.default_rng([seed, index])
    drawn = rng.integers(0, ends[-1], batch)
    e = np.searchsorted(ends, drawn, side="right")
    starts = cache.offsets[e] + drawn - (ends[e] - room[e])
    moments = cache.rare[room[np.searchsorted(cache.offsets, cache.rare, side="right") - 1] > 0] if rare else []
    if len(moments):
        moment = rng.choice(moments, batch)
        e = np.searchsorted(cache.offsets, moment, side="right") - 1
        first = np.maximum(moment - frames + 1, cache.offsets[e])
        last = np.minimum(moment, cache.offsets[e + 1] - frames)
        starts = np.where(rng.random(batch) < rare, rng.integers(first, last + 1), starts)
    return starts


class Clips:
    """An endless iterator of {"video": (B, T, H, W, 3) uint8, "audio": (B, T, S) float32, "actions": (B, T, ...)}.

    It begins with batch `start`; `rare`: see `clip_starts`. `workers` threads prepare `ahead` batches; `feeder` is
    "threads" or "mlx-data". `waited` is how many seconds its user has waited for batches.
    Raises MlxworldError if every episode is too short, or mlx-data is asked for and not installed.
    """

    def __init__(
        self,
        cache: FrameStore,
        batch: int,
        frames: int,
        seed: int,
        start: int = 0,
        workers: int = 2,
        ahead: int = 4,
        feeder: str = "threads",
        rare: float = 0.0,
    ):
        self.cache, self.size, self.frames, self.seed, self.rare = cache, batch, frames, seed, rare
        self._workers, self._ahead = max(1, workers), max(1, ahead)
        clip_starts(cache, frames, 1, seed, 0)
        if feeder not in FEEDERS:
            raise MlxworldError(f"unknown feeder {feeder!r}: choose one of {', '.join(FEEDERS)}")
        if feeder == "mlx-data" and not _has_mlx_data():
            raise MlxworldError("mlx-data is not installed: pip install mlx-data, or use the feeder threads")
        self.waited = 0.0
        self._batches = self._threads(start) if feeder == "threads" else self._mlx_data(start)

    def batch(self, index: int) -> dict[str, np.ndarray]:
        """Batch number `index`, made now."""
        B, T, cache = self.size, self.frames, self.cache
        starts = clip_starts(cache, T, B, self.seed, index, self.rare)
        video = np.empty((B, T, *cache.video.shape[1:]), np.uint8)
        audio = np.empty((B, T, cache.audio.shape[1]), np.float32)
        actions = np.empty((B, T, *cache.actions.shape[1:]), cache.actions.dtype)
        for b, s in enumerate(starts.tolist()):
            video[b] = cache.video[s : s + T]
            audio[b] = cache.sound(slice(s, s + T))
            actions[b] = cache.actions[s : s + T]
        return {"video": video, "audio": audio, "actions": actions}

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        return self

    def __next__(self) -> dict[str, np.ndarray]:
        asked = time.perf_counter()
        batch = next(self._batches)
        self.waited += time.perf_counter() - asked
        return batch

    def close(self) -> None:
        """Stop preparing batches."""
        self._batches.close()

    def _threads(self, start: int):
        waiting: deque[Future] = deque()
        with ThreadPoolExecutor(self._workers) as pool:
            try:
                for index in itertools.count(start):
                    waiting.append(pool.submit(self.batch, index))
                    if len(waiting) > self._ahead:
                        yield waiting.popleft().result()
            finally:
                for future in waiting:
                    future.cancel()

    def _mlx_data(self, start: int):
        data = importlib.import_module("mlx.data")
        for first in itertools.count(start, _CHUNK):
            numbers = data.buffer_from_vector([{"index": first + i} for i in range(_CHUNK)])
            yield from numbers.sample_transform(lambda s: self.batch(int(s["index"]))).ordered_prefetch(
                self._ahead, self._workers
            )


def _has_mlx_data() -> bool:
    try:
        return importlib.util.find_spec("mlx.data") is not None
    except ModuleNotFoundError:
        return False
