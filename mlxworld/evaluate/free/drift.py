"""Whether a long dream stays itself: its last minute beside its first, and segments of some seconds between.

A few numbers a frame, which any world has, and their means over segments. What a game itself changes in ten minutes
shows in the same figures of real games.
"""

from collections.abc import Sequence

import numpy as np

from .. import audio as sound
from ..video import LUMA, detail
from . import Figure, Track, share

NAMES = ("brightness", "contrast", "detail", "motion", "loudness", "onsets")
MINUTE = 60.0


def watch(video: np.ndarray, audio: np.ndarray) -> Track:
    """{statistics: (T, 6)} of frames (T, H, W, 3) and their sound (T, S), in the order of NAMES."""
    luma = video.astype(np.float32) @ LUMA
    motion = np.abs(np.diff(luma, axis=0, prepend=luma[:1])).mean((1, 2))
    columns = (
        *(luma.mean((1, 2)), luma.std((1, 2)), np.sqrt(detail(video)), motion),
        *(sound.rms(audio), sound.onsets(audio)),
    )
    return {"statistics": np.stack(columns, -1).astype(np.float32)}


def segments(track: Track, fps: float, seconds: float = 5.0) -> np.ndarray:
    """The statistics' means over segments of so many seconds: (segments, 6). What is left at the end is left out."""
    frames = round(seconds * fps)
    x = track["statistics"]
    return x[: len(x) // frames * frames].reshape(-1, frames, x.shape[1]).mean(1)


def figures(tracks: Sequence[Track], fps: float) -> list[Figure]:
    """Change of the mean of each statistic over all dreams, from the first minute to the last, relative to the first;
    of dreams that are shorter than two minutes, from the first half to the second."""
    frames = min(round(MINUTE * fps), len(tracks[0]["statistics"]) // 2)
    first, last = (
        np.mean([track["statistics"][part].mean(0) for track in tracks], axis=0)
        for part in (slice(0, frames), slice(-frames, None))
    )
    change = np.abs(last - first) / np.maximum(np.abs(first), 1e-6)
    each = [
        Figure(f"drift_{name}", f"change of {name}, last minute beside the first", float(x), "lower", 0.1)
        for name, x in zip(NAMES, change, strict=True)
    ]
    worst = Figure("drift_worst", "largest of these changes", float(change.max()), "lower", 0.1)
    return [*each, worst, _frozen(tracks, fps)]


def _frozen(tracks: Sequence[Track], fps: float) -> Figure:
    """Share of segments in which nothing at all moves."""
    still = np.concatenate([segments(track, fps)[:, NAMES.index("motion")] < 1e-3 for track in tracks])
    return share("frozen", "segments of 5 s without any motion", still, "lower", 0.0)
