"""A dataset in latent form: computed once, mapped into memory, and drawn from as `data.Clips` draws from frames.

N frames, K latent tokens of width D.
"""

import math
import os
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np

from ..data import Bodies, Clips, FrameStore, clip_starts
from ..errors import MlxworldError
from ..play import encode as encoding


class LatentClips(Clips):
    """An endless iterator of {"z": (B, T, K, D) float32, "actions": (B, T, ...)}, prepared in the background."""

    def __init__(
        self,
        latents: np.ndarray,
        store: FrameStore,
        batch: int,
        frames: int,
        seed: int,
        start: int = 0,
        rare: float = 0.0,
    ):
        self.latents = latents
        super().__init__(store, batch, frames, seed, start, rare=rare)

    def batch(self, index: int) -> dict[str, np.ndarray]:
        """Batch number `index`, made now."""
        starts = clip_starts(self.cache, self.frames, self.size, self.seed, index, self.rare)
        rows = starts[:, None] + np.arange(self.frames)
        return {"z": self.latents[rows].astype(np.float32), "actions": self.cache.actions[rows]}


class BodyClips(LatentClips):
    """LatentClips with what the simulator knew: position, velocity (B, T, n, 3), mass and energy (B, T, n)."""

    def __init__(self, bodies: Bodies, latents: np.ndarray, store: FrameStore, *args: int, rare: float = 0.0):
        """args: batch, frames, seed, start."""
        self.bodies = bodies
        super().__init__(latents, store, *args, rare=rare)

    def batch(self, index: int) -> dict[str, np.ndarray]:
        starts = clip_starts(self.cache, self.frames, self.size, self.seed, index, self.rare)
        rows = starts[:, None] + np.arange(self.frames)
        return {"z": self.latents[rows].astype(np.float32)} | self.bodies.rows(rows)


def encode_dataset(
    package: ModuleType, model, frames: FrameStore, path: Path, show: Callable[[int], None] = lambda frames: None
) -> np.ndarray:
    """Latents (N, K, D) float16 of all frames, in the .npy file `path`, mapped into memory.

    Each frame is encoded with all of the past that its latent depends on. `show` is told the frames that are done.
    Raises MlxworldError when the file cannot be written.
    """
    header = {"descr": "<f2", "fortran_order": False, "shape": (len(frames.actions), *model.cfg.latent_shape)}
    length = encoding.CHUNK + model.cfg.receptive_field
    try:
        with path.open("wb") as file:  # written, not mapped: a full disk is an error then, and no signal
            np.lib.format.write_array_header_1_0(file, header)
            for first, last in frames.spans():
                for window in encoding.windows(last - first, model.cfg.receptive_field, encoding.CHUNK):
                    rows = first + np.arange(window.past, window.past + length).clip(max=last - first - 1)
                    z = encoding.encode_window(package, model, frames.video[rows], frames.sound(rows))
                    file.write(z[window.begin - window.past : window.end - window.past].astype("<f2").tobytes())
                    show(first + window.end)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise MlxworldError(f"cannot write {path}: {error.strerror}") from error
    return np.load(path, mmap_mode="r")


def start_clips(package: ModuleType, model, store: FrameStore, frames: int, count: int = 16) -> dict[str, np.ndarray]:
    """What a world begins from: clips from all over the dataset, where an episode must have that many frames.

    Returns z (count, frames, K, D) float16 and actions (count, frames) int32.
    """
    spans = [(first, last) for first, last in store.spans() if last - first >= frames]
    chosen = [spans[i * (len(spans) - 1) // max(1, count - 1)] for i in range(count)]
    golden = (math.sqrt(5) - 1) / 2  # its multiples, modulo 1, are spread evenly
    starts = [first + int((last - first - frames) * (i * golden % 1)) for i, (first, last) in enumerate(chosen)]
    rows = np.array(starts)[:, None] + np.arange(frames)
    z = np.stack([encoding.encode(package, model, store.video[r], store.sound(r)) for r in rows])
    return {"z": z.astype(np.float16), "actions": store.actions[rows]}
