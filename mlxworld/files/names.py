"""Names and layouts of foreign checkpoints: one table a format, theirs to ours, {} for every layer's number.

A value is our name; `Kernel(name)` where theirs is a convolution's weight (out, in, *kernel), which is kept here as
(out, *kernel, in); or None for an array that has no place here. A name that no pattern matches stays as it is.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mlxworld.errors import MlxworldError


@dataclass(frozen=True)
class Kernel:
    """Our name of a convolution's weight, whose input channels are the second axis in the foreign file."""

    name: str


Table = Mapping[str, str | Kernel | None]

# Plain torch.nn layers: our modules' own names, Conv1d and Conv2d weights as torch.nn keeps them.
_KERNELS = ("hearing.conv{}", "audio.conv", "video.stages.{}.conv", "video.head")
TORCH: Table = {f"tokenizer.{layer}.weight": Kernel(f"tokenizer.{layer}.weight") for layer in _KERNELS}


def to_ours(arrays: Mapping[str, np.ndarray], table: Table, source: str) -> dict[str, np.ndarray]:
    """Foreign arrays under our names, in our layout. Raises MlxworldError when two would get the same name."""
    return _renamed(arrays, table, source, lambda x: np.moveaxis(x, 1, -1))


def to_theirs(arrays: Mapping[str, np.ndarray], table: Table, source: str) -> dict[str, np.ndarray]:
    """Our arrays under the foreign names, in the foreign layout: `to_ours` undoes it."""
    turned = {}
    for theirs, ours in table.items():
        name = ours.name if isinstance(ours, Kernel) else ours
        if name is not None:
            turned[name] = Kernel(theirs) if isinstance(ours, Kernel) else theirs
    return _renamed(arrays, turned, source, lambda x: np.moveaxis(x, -1, 1))


def check(table: object, source: str) -> dict[str, str | None]:
    """A table of names that a person wrote. Raises MlxworldError unless it is one."""
    kinds = str | None
    if not isinstance(table, dict) or not all(isinstance(ours, kinds) for ours in table.values()):
        raise MlxworldError(f'{source} is no table of names: {{"theirs.{{}}.w": "ours.{{}}.weight", "unused": null}}')
    for theirs, ours in table.items():
        if ours is not None and ours.count("{}") != theirs.count("{}"):
            raise MlxworldError(f"{source}: {theirs!r} and {ours!r} differ in how many {{}} they have")
    return table


def _renamed(arrays, table, source, turn) -> dict[str, np.ndarray]:
    patterns = [(re.compile(re.escape(key).replace(r"\{\}", r"(\d+)")), value) for key, value in table.items()]
    made: dict[str, np.ndarray] = {}
    for name, x in arrays.items():
        found = next(((m, value) for pattern, value in patterns if (m := pattern.fullmatch(name))), None)
        if found:
            match, value = found
            if value is None:
                continue
            if isinstance(value, Kernel):
                value, x = value.name, turn(x)
            name = value.format(*match.groups())
        if name in made:
            raise MlxworldError(f"{source}: two arrays would be named {name}")
        made[name] = x
    return made
