"""Moments of a world as files: a snapshot's arrays in a safetensors file, so that a later process goes on from there.

The arrays are in the order in which the state holds them; what they mean is known by a world of the same weights and
settings, and shapes are compared before any is taken. Knows nothing of what else may be kept beside a moment.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import MlxworldError
from ..files import checkpoint
from .frame import Snapshot
from .world import World

PREFIX = "state."


def save_snapshot(
    path: Path, world: World, snapshot: Snapshot, arrays: Mapping[str, np.ndarray], about: Mapping[str, str]
) -> Callable[[], None]:
    """A function that writes a snapshot with `arrays` and texts of one's own, whole or not at all; it may run on any
    thread, for the state is copied here."""
    leaves = [world.package.engine.numpy(leaf) for leaf in _leaves(snapshot.state)]
    every = {f"{PREFIX}{i:04d}": np.asarray(leaf) for i, leaf in enumerate(leaves)} | dict(arrays)
    texts = {**about, "backend": snapshot.backend, "index": str(snapshot.index)}
    return lambda: checkpoint.save(path, every, texts)


def load_snapshot(path: Path, world: World) -> tuple[Snapshot, dict[str, np.ndarray], dict[str, str]]:
    """What `save_snapshot` wrote: the snapshot, for this world, the arrays and the texts beside it. The world must have
    begun. Raises MlxworldError for a file that is broken, or of another world or backend."""
    every, texts = checkpoint.load(path)
    present = world.snapshot()
    stored = [every[name] for name in sorted(every) if name.startswith(PREFIX)]
    leaves = _leaves(present.state)
    shapes = [tuple(getattr(leaf, "shape", ())) for leaf in leaves]
    index = texts.get("index", "")
    if texts.get("backend") != present.backend or shapes != [x.shape for x in stored] or not index.isdecimal():
        raise MlxworldError(f"{path} is a moment of another world, or of other settings")
    array = world.package.engine.array
    taken = iter([_like(array, x, leaf) for x, leaf in zip(stored, leaves, strict=True)])
    arrays = {name: x for name, x in every.items() if not name.startswith(PREFIX)}
    return Snapshot(_replaced(present.state, taken), int(index), present.backend), arrays, texts


def read_snapshot(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The arrays and texts that lie beside a snapshot in its file; its state is not read. Raises MlxworldError."""
    weights = checkpoint.open(path)
    return {name: checkpoint.plain(weights[name]) for name in weights if not name.startswith(PREFIX)}, weights.metadata


def _leaves(state: Any) -> list[Any]:
    """The arrays of a state, and its flags."""
    if isinstance(state, Mapping):
        return [leaf for value in state.values() for leaf in _leaves(value)]
    if isinstance(state, list | tuple):
        return [leaf for value in state for leaf in _leaves(value)]
    return [state] if hasattr(state, "shape") else []


def _replaced(state: Any, taken: Any) -> Any:
    if isinstance(state, Mapping):
        return {key: _replaced(value, taken) for key, value in state.items()}
    if isinstance(state, list | tuple):
        return type(state)(_replaced(value, taken) for value in state)
    return next(taken) if hasattr(state, "shape") else state


def _like(array: Callable, x: np.ndarray, leaf: Any) -> Any:
    """A stored array as the state holds it: numpy's stay numpy's."""
    if isinstance(leaf, np.ndarray):
        return x.astype(leaf.dtype)
    return array(x, str(leaf.dtype).split(".")[-1])
