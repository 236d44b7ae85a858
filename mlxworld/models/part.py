"""A part of a model that is measured and exported alone: a pure function of a state and of named arrays."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Part:
    """fn(state, *inputs) -> (a tuple of outputs, state); inputs and outputs in the order of their names."""

    name: str
    about: str
    fn: Callable[..., tuple[tuple[Any, ...], Any]]
    state: dict[str, Any]  # a tree of arrays to begin with; empty where there is none
    inputs: dict[str, Any]  # an example of each, of the shape that it always has
    outputs: tuple[str, ...]
