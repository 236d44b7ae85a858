"""Low-rank adapters of a stack's attention: added to it, and merged into its weights again, so that what is saved is a
model like any other."""

import importlib
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import numpy as np

LAYERS, PARTS = ("qkv", "out"), (".low", ".high")  # of attention that get one; the names of its two matrices


def add(package: ModuleType, stack: Any, rank: int, seed: int) -> None:
    """An adapter of this rank for both products of each block's attention to itself."""
    rooms = importlib.import_module(f"{package.__name__}.models.blocks.lora")
    layers = [(stack.blocks[n].attn, name) for n in stack.hookable for name in LAYERS]
    for (owner, name), key in zip(layers, package.random.split(package.random.key(seed), len(layers)), strict=True):
        setattr(owner, name, rooms.LowRank(getattr(owner, name), rank, key))


def numbers(stack: Any, rank: int) -> int:
    """Of all that adapters of this rank consist of."""
    return rank * sum(sum(getattr(stack.blocks[n].attn, name).weight.shape) for n in stack.hookable for name in LAYERS)


def merged(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """A model's arrays by name without its adapters, each added to the weight that it belongs to."""
    whole = {name: x for name, x in arrays.items() if not name.endswith(PARTS)}
    return whole | {name: whole[name] + change for name, change in changes(arrays).items()}


def changes(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What the adapters among arrays add to weights, by the names of those."""
    stems = [name.removesuffix(".low") for name in arrays if name.endswith(".low")]
    return {f"{stem}.weight": arrays[f"{stem}.high"] @ arrays[f"{stem}.low"] for stem in stems}
