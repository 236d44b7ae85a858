"""Any Gymnasium space of actions as buttons and axes that go together, where a list of names would be too long or poor.

A MultiBinary has a button for each bit, a Discrete one for each value but the first, a Box an axis for each component;
a Dict or Tuple has those of its parts. What a row of buttons (0 or 1) and axes (-1 to 1) means is put together again by
`Controls.decode`.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces

from ...errors import MlxworldError

MOST = 64  # buttons and axes


@dataclass(frozen=True)
class Controls:
    """A space's buttons and axes by name."""

    space: spaces.Space
    buttons: tuple[str, ...]
    axes: tuple[str, ...]

    def decode(self, row: np.ndarray) -> Any:
        """What the environment's `step` takes, of a row (A,) of buttons, then axes."""
        pressed, moved = np.split(np.asarray(row, np.float64), [len(self.buttons)])
        return _value(self.space, iter(pressed > 0.5), iter(moved))


def controls(space: spaces.Space, labels: Sequence[Any] = ()) -> Controls:
    """The buttons and axes of a space. labels: of the bits of a MultiBinary. Raises MlxworldError for a space that has
    none, or too many, and for a Discrete, whose actions are a list as they are."""
    if isinstance(space, spaces.Discrete):
        raise MlxworldError("they are a list as they are: record gym:ENVIRONMENT")
    named = list(_names(space, ""))
    if isinstance(space, spaces.MultiBinary) and len(labels) == len(named):
        named = [(" ".join(str(label).lower().split()) or str(i), False) for i, label in enumerate(labels)]
    if not 0 < len(named) <= MOST:
        raise MlxworldError(f"{len(named)} buttons and axes: from 1 to {MOST} can be learnt")
    names: list[str] = []
    for name, _ in named:
        names.append(name if name not in names else f"{name} {len(names)}")
    buttons = tuple(name for name, (_, axis) in zip(names, named, strict=True) if not axis)
    return Controls(space, buttons, tuple(name for name, (_, axis) in zip(names, named, strict=True) if axis))


def _names(space: spaces.Space, label: str) -> Iterator[tuple[str, bool]]:
    """The name of each button and axis of a space, and whether it is an axis. `label` names it within its parents."""
    if isinstance(space, spaces.Dict | spaces.Tuple):
        parts = space.spaces.items() if isinstance(space, spaces.Dict) else enumerate(space.spaces)
        for name, part in parts:
            yield from _names(part, f"{label}.{name}" if label else str(name))
    elif isinstance(space, spaces.Discrete):
        yield from ((f"{label}={value}", False) for value in range(int(space.start) + 1, int(space.start + space.n)))
    elif isinstance(space, spaces.MultiDiscrete):
        for i, (start, n) in enumerate(zip(space.start.reshape(-1), space.nvec.reshape(-1), strict=True)):
            yield from _names(spaces.Discrete(int(n), start=int(start)), f"{label}.{i}" if label else str(i))
    elif isinstance(space, spaces.Box | spaces.MultiBinary):
        size = math.prod(space.shape)
        if size > MOST:
            raise MlxworldError(f"{size} buttons and axes: from 1 to {MOST} can be learnt")
        for i in range(size):
            alone = size == 1 and label
            yield (label if alone else f"{label}.{i}" if label else str(i)), isinstance(space, spaces.Box)
    else:
        raise MlxworldError(f"a {type(space).__name__} has no buttons and axes")


def _value(space: spaces.Space, pressed: Iterator[bool], moved: Iterator[float]) -> Any:
    """What `step` takes of a space, of its buttons and axes in turn."""
    if isinstance(space, spaces.Dict):
        return {name: _value(part, pressed, moved) for name, part in space.spaces.items()}
    if isinstance(space, spaces.Tuple):
        return tuple(_value(part, pressed, moved) for part in space.spaces)
    if isinstance(space, spaces.Discrete):
        held = [value for value in range(1, int(space.n)) if next(pressed)]
        return int(space.start) + (held[-1] if held else 0)
    if isinstance(space, spaces.MultiDiscrete):
        parts = zip(space.start.reshape(-1), space.nvec.reshape(-1), strict=True)
        values = [_value(spaces.Discrete(int(n), start=int(start)), pressed, moved) for start, n in parts]
        return np.array(values, space.dtype).reshape(space.shape)
    if isinstance(space, spaces.MultiBinary):
        return np.array([next(pressed) for _ in range(math.prod(space.shape))], space.dtype).reshape(space.shape)
    assert isinstance(space, spaces.Box)
    x = np.array([next(moved) for _ in range(math.prod(space.shape))]).reshape(space.shape)
    rest = np.clip(np.zeros(space.shape), space.low, space.high)
    high = np.where(space.bounded_above, space.high, rest + 1).astype(np.float64)
    low = np.where(space.bounded_below, space.low, rest - 1).astype(np.float64)
    value = rest + np.where(x > 0, x * (high - rest), x * (rest - low))
    return (np.rint(value) if np.issubdtype(space.dtype, np.integer) else value).astype(space.dtype)
