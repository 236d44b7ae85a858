"""What a world gives: a frame, and the whole of a moment."""

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Frame:
    """One frame: video (H, W, 3) uint8 and audio (S,) float32 in [-1, 1], both with a leading axis B in a batch of
    worlds; index counts frames since the reset; model_ms is the time from the action to here, in milliseconds."""

    video: np.ndarray
    audio: np.ndarray
    index: int
    model_ms: float


@dataclass(frozen=True)
class Snapshot:
    """The whole state of a World at one moment: it does not change while the world goes on."""

    state: Any
    index: int
    backend: str
