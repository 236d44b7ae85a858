"""Long free dreams: nobody knows what should happen, but a game has rules that a dream keeps or breaks.

The folder is the registry: `free/NAME.py` knows the rules of recordings of NAME. Such a module has

    watch(video, audio) -> {name: (T, ...)}   what is read of T frames, a few numbers a frame
    figures(tracks, fps) -> [Figure]          of several dreams or real games, each what `watch` read of its frames
    Watcher(actions, rng).act(video) -> int   who plays the dream by what it shows

`drift.py` has what any world has: whether a dream's last minute looks, moves and sounds as its first did.
`python -m mlxworld.evaluate.free` dreams, plays and measures; real games beside are the ceiling of every figure.
"""

import importlib
import pkgutil
from collections.abc import Iterable
from dataclasses import dataclass
from types import ModuleType

import numpy as np

Track = dict  # name -> (T, ...) array


@dataclass(frozen=True)
class Figure:
    """A figure of free dreams: its key, what it says, its value (nan where it can't be told), and what is wanted."""

    key: str
    label: str
    value: float
    better: str = "higher"
    goal: float | None = None
    count: int | None = None  # of how many cases it is a share


def share(key: str, label: str, flags: Iterable, better: str = "higher", goal: float | None = None) -> Figure:
    """The share of true ones among flags, in [0, 1]."""
    values = np.array(list(flags), float)
    return Figure(key, label, float(values.mean()) if values.size else float("nan"), better, goal, len(values))


def rules_of(source: str) -> ModuleType | None:
    """The module of a dataset's source: of "doom:basic" that of doom.py. None where there is none."""
    name = source.partition(":")[0]
    if name in ("drift", "__main__") or name not in {module.name for module in pkgutil.iter_modules(__path__)}:
        return None
    return importlib.import_module(f"{__name__}.{name}")
