"""Clips of any length to latents, window by window, each window with the past that its latents depend on.

Takes a backend package and a model as values; numpy in, numpy out. T frames, H, W pixels, S samples of a frame, K
latent tokens of width D.
"""

from collections.abc import Iterator
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

CHUNK = 64  # frames that are encoded at once, without their past


class Window(NamedTuple):
    """Frames past .. end of a clip go in; the latents of begin .. end are right."""

    past: int
    begin: int
    end: int


def windows(T: int, receptive_field: int, chunk: int) -> Iterator[Window]:
    """The windows of a clip of T frames, `chunk` frames each but the last."""
    for begin in range(0, T, chunk):
        yield Window(max(0, begin - receptive_field), begin, min(T, begin + chunk))


def encode(package: ModuleType, model: Any, video: np.ndarray, audio: np.ndarray) -> np.ndarray:
    """Latents (T, K, D) float32 of video (T, H, W, 3) uint8 with audio (T, S)."""
    length = CHUNK + model.cfg.receptive_field
    if len(video) <= length:
        return encode_window(package, model, video, audio)
    latents = []
    for window in windows(len(video), model.cfg.receptive_field, CHUNK):
        rows = np.arange(window.past, window.past + length).clip(max=len(video) - 1)  # one length: one compilation
        z = encode_window(package, model, video[rows], audio[rows])
        latents.append(z[window.begin - window.past : window.end - window.past])
    return np.concatenate(latents)


def encode_window(package: ModuleType, model: Any, video: np.ndarray, audio: np.ndarray) -> np.ndarray:
    """Latents (T, K, D) float32 of a clip, all of it at once."""
    engine = package.engine
    with engine.inference():
        pictures = engine.array(video[None].astype(np.float32) / 255)
        return engine.numpy(model.encode(pictures, engine.array(audio[None].astype(np.float32))))[0]
