"""Clips of a dataset that a world never saw, as it takes them."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mlxworld.data import FrameStore, open_frames
from mlxworld.data.episodes.format import dataset_info, read_state
from mlxworld.errors import MlxworldError
from mlxworld.play.world import Clip, World


def cache_for(world: World, data: Path) -> FrameStore:
    """The frames of a dataset as the world sees them. Raises MlxworldError for a dataset of another game."""
    info = dataset_info(data, world.fps, world.size)
    info.require_actions(world.actions)
    if info.samples != world.samples:
        raise MlxworldError(f"{data} has {info.samples} samples a frame, {world.name} has {world.samples}")
    return open_frames(data, size=world.size, fps=world.fps)


def rows(cache: FrameStore, clips: int, frames: int) -> np.ndarray:
    """Rows (clips, frames) of a cache, spread evenly over its episodes; no two clips overlap."""
    begins = [i for first, last in cache.spans() for i in range(first, last - frames + 1, frames)]
    if len(begins) < 2:
        raise MlxworldError(f"no two clips of {frames} frames in this dataset: record longer episodes")
    chosen = np.array(begins)[np.linspace(0, len(begins) - 1, min(clips, len(begins))).astype(int)]
    return chosen[:, None] + np.arange(frames)


def most_frames(cache: FrameStore, most: int, context: int) -> int:
    """The most frames after a context, `most` or a quarter of it or of that, of which the dataset has two clips."""
    while most > 1 and sum((last - first) // (context + most) for first, last in cache.spans()) < 2:
        most = max(1, most // 4)
    return most


def states(cache: FrameStore, data: Path, rows: np.ndarray) -> dict[str, np.ndarray]:
    """The exact state {name: (N, T, ...)} of rows (N, T), of what every episode has for each of its frames."""
    per_clip: list[dict[str, np.ndarray]] = []
    for name, (first, last) in zip(cache.names, cache.spans(), strict=True):
        state = read_state(data / name)
        per_clip.append({key: x for key, x in state.items() if len(x) == last - first})
    shapes = [{(key, x.shape[1:]) for key, x in state.items()} for state in per_clip]
    common = set.intersection(*shapes) if shapes else set()
    return {key: np.concatenate([state[key] for state in per_clip])[rows] for key, _ in sorted(common)}


def segment(cache: FrameStore, most: int, least: int = 3) -> int:
    """Frames of a segment, at most so many: as long as the episodes have `least` of them, and no shorter than 2."""
    lengths = np.diff(cache.offsets)
    return next((n for n in range(most, 2, -1) if (lengths // n).sum() >= least), 2)


def segments(cache: FrameStore, length: int, first: int = 0, most: int = 120) -> Iterator[tuple[np.ndarray, ...]]:
    """Video (length, H, W, 3), audio (length, S) and actions (length,) of at most so many pieces of the episodes, from
    row `first` on, spread evenly."""
    begins = [i for a, b in cache.spans() for i in range(max(a, first), b - length + 1, length)]
    for k in np.linspace(0, len(begins) - 1, min(most, len(begins))).astype(int):
        row = slice(begins[k], begins[k] + length)
        yield np.array(cache.video[row]), cache.sound(row), np.array(cache.actions[row])


def clips_for(world: World, data: Path, clips: int, frames: int) -> list[Clip]:
    """At most so many clips of a dataset, as `World.reset` takes them. Raises MlxworldError as `cache_for`."""
    cache = cache_for(world, data)
    return [Clip(cache.video[r], cache.sound(r), cache.actions[r]) for r in rows(cache, clips, frames)]
