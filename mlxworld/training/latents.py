"""A dataset in latent form: computed once, mapped into memory, and drawn from as `data.Clips` draws from frames.

N frames, K latent tokens of width D.
"""

import math
import os
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np

from ..data import Clips, FrameStore, clip_starts
from ..errors import MlxworldError
from ..play.dream import encode

CHUNK = 64  # frames that are encoded at once


class LatentClips(Clips):
    """An endless iterator of {"z": (B, T, K, D) float32, "actions": (B, T) int32}, prepared in the background."""

    def __init__(self, latents: np.ndarray, cache: FrameStore, batch: int, frames: int, seed: int, start: int = 0):
        self.latents = latents
        super().__init__(cache, batch, frames, seed, start)

    def batch(self, index: int) -> dict[str, np.ndarray]:
        """Batch number `index`, made now."""
        starts = clip_starts(self.cache, self.frames, self.size, self.seed, index)
        rows = starts[:, None] + np.arange(self.frames)
        return {"z": self.latents[rows].astype(np.float32), "actions": self.cache.actions[rows].astype(np.int32)}


def encode_dataset(
    package: ModuleType, model, cache: FrameStore, path: Path, show: Callable[[int], None] = lambda frames: None
) -> np.ndarray:
    """Latents (N, K, D) float16 of all frames, in the .npy file `path`, mapped into memory.

    Each frame is encoded with all of the past that its latent depends on. `show` is told the frames that are done.
    Raises MlxworldError when the file cannot be written.
    """
    c, reach = model.cfg, model.cfg.reach
    header = {"descr": "<f2", "fortran_order": False, "shape": (len(cache.actions), c.latent.tokens, c.latent.dim)}
    try:
        with path.open("wb") as file:  # written, not mapped: a full disk is an error then, and no signal
            np.lib.format.write_array_header_1_0(file, header)
            for first, last in cache.spans():
                for begin in range(first, last, CHUNK):
                    past, end = max(first, begin - reach), min(last, begin + CHUNK)
                    rows = np.arange(past, past + CHUNK + reach).clip(max=last - 1)  # of one length: one compilation
                    z = encode(package, model, cache.video[rows][None], cache.sound(rows)[None])[0]
                    file.write(z[begin - past : end - past].astype("<f2").tobytes())
                    show(end)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise MlxworldError(f"cannot write {path}: {error.strerror}") from error
    return np.load(path, mmap_mode="r")


def start_clips(package: ModuleType, model, cache: FrameStore, frames: int, count: int = 16) -> dict[str, np.ndarray]:
    """What a world begins from: clips from all over the dataset, where an episode must have that many frames.

    Returns z (count, frames, K, D) float16 and actions (count, frames) int32.
    """
    spans = [(first, last) for first, last in cache.spans() if last - first >= frames]
    chosen = [spans[i * (len(spans) - 1) // max(1, count - 1)] for i in range(count)]
    golden = (math.sqrt(5) - 1) / 2  # its multiples, modulo 1, are spread evenly
    starts = [first + int((last - first - frames) * (i * golden % 1)) for i, (first, last) in enumerate(chosen)]
    rows = np.array(starts)[:, None] + np.arange(frames)
    z = encode(package, model, cache.video[rows], cache.sound(rows))
    return {"z": z.astype(np.float16), "actions": cache.actions[rows].astype(np.int32)}
