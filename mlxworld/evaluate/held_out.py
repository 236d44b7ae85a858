"""Clips of a dataset that a world never saw, as it takes them."""

from pathlib import Path

import numpy as np

from mlxworld.data import FrameStore, open_frames
from mlxworld.errors import MlxworldError
from mlxworld.play.world import Clip, World


def cache_for(world: World, data: Path) -> FrameStore:
    """The frames of a dataset as the world sees them. Raises MlxworldError for a dataset of another game."""
    cache = open_frames(data, size=world.size[0], fps=world.fps)
    cache.require_actions(world.actions)
    if cache.info.samples != world.samples:
        raise MlxworldError(f"{data} has {cache.info.samples} samples a frame, {world.name} has {world.samples}")
    return cache


def rows(cache: FrameStore, clips: int, frames: int) -> np.ndarray:
    """Rows (clips, frames) of a cache, spread evenly over its episodes; no two clips overlap."""
    begins = [i for first, last in cache.spans() for i in range(first, last - frames + 1, frames)]
    if len(begins) < 2:
        raise MlxworldError(f"no two clips of {frames} frames in this dataset: record longer episodes")
    chosen = np.array(begins)[np.linspace(0, len(begins) - 1, min(clips, len(begins))).astype(int)]
    return chosen[:, None] + np.arange(frames)


def clips_for(world: World, data: Path, clips: int, frames: int) -> list[Clip]:
    """At most so many clips of a dataset, as `World.reset` takes them. Raises MlxworldError as `cache_for`."""
    cache = cache_for(world, data)
    return [Clip(cache.video[r], cache.sound(r), cache.actions[r]) for r in rows(cache, clips, frames)]
