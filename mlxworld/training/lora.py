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
    layers = [(block.attn, name) for block in stack.blocks for name in LAYERS]
    for (owner, name), key in zip(layers, package.random.split(package.random.key(seed), len(layers)), strict=True):
        setattr(owner, name, rooms.LowRank(getattr(owner, name), rank, key))


def numbers(stack: Any, rank: int) -> int:
    """Of all that adapters of this rank consist of."""
    return rank * sum(sum(getattr(block.attn, name).weight.shape) for block in stack.blocks for name in LAYERS)


def names(package: ModuleType, model: Any) -> tuple[str, ...]:
    """What of a model is an adapter's."""
    return tuple(name for name in package.nn.parameters(model) if name.endswith(PARTS))


def merged(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """A model's arrays by name without its adapters, each added to the weight that it belongs to."""
    whole = {name: x for name, x in arrays.items() if not name.endswith(PARTS)}
    for stem in (name.removesuffix(".low") for name in arrays if name.endswith(".low")):
        whole[f"{stem}.weight"] = arrays[f"{stem}.weight"] + arrays[f"{stem}.high"] @ arrays[f"{stem}.low"]
    return whole
