"""Any Gymnasium space of actions as one list of named actions, the first of which does nothing.

A space is a product of axes: a Discrete or a Box is one axis, a MultiBinary has one for each bit, a MultiDiscrete one
for each number, a Dict or Tuple those of its parts. The actions are all combinations where there are few of them, else
those that move one axis alone.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces

from ...errors import MlxworldError

LONGEST = 1024  # actions of a space that is one axis
MOST = 64  # actions of a space of several axes
NOOP = "noop"


@dataclass(frozen=True)
class _Axis:
    """Choices of which one is taken at each step: the first is at rest, and has no name beside others that are not."""

    names: list[str]
    values: list[Any]


def discrete_actions(space: spaces.Space, labels: Sequence[Any] = ()) -> tuple[tuple[str, ...], list[Any]]:
    """The actions of a space: their names, no two alike, and for each what the environment's `step` takes.

    `labels`: what the environment calls its actions (Discrete), or its buttons (MultiBinary); not used where their
    number is another. A Box gives "noop" (zeros) and one action for each component and direction, "0-", "0+", "1-" and
    so on: to its bound, or by one where it has none. Of several axes: "0=2", "gear=1+left". Raises MlxworldError for a
    space that has no such list, or too long a one.
    """
    axes = list(_axes(space, ""))
    if isinstance(space, spaces.Discrete):
        names: Sequence[Any] = labels if len(labels) == len(axes[0].values) else axes[0].names
        return tuple(_unique(names)), axes[0].values
    if isinstance(space, spaces.MultiBinary) and len(labels) == len(axes):
        buttons = [i if label is None else label for i, label in enumerate(labels)]
        axes = [_Axis(["", name], axis.values) for name, axis in zip(_unique(buttons), axes, strict=True)]
    names, codes = [], []
    for choice in _choices([len(axis.values) for axis in axes]):
        moved = [axis.names[i] for axis, i in zip(axes, choice, strict=True) if axis.names[i]]
        names.append("+".join(moved) or NOOP)
        codes.append(_code(space, iter([axis.values[i] for axis, i in zip(axes, choice, strict=True)])))
    return tuple(_unique(names)), codes


def _choices(lengths: list[int]) -> list[tuple[int, ...]]:
    """Which value of each axis an action takes; at rest on all of them first."""
    if len(lengths) == 1 or math.prod(lengths) <= MOST:
        return list(itertools.product(*map(range, lengths)))
    if 1 + sum(length - 1 for length in lengths) > MOST:
        raise _too_many()
    rest = (0,) * len(lengths)
    alone = [(*rest[:axis], i, *rest[axis + 1 :]) for axis, length in enumerate(lengths) for i in range(1, length)]
    return [rest, *alone]


def _axes(space: spaces.Space, label: str) -> Iterator[_Axis]:
    """The axes of a space, in the order in which `_code` takes their values. `label` names it within its parents."""
    if isinstance(space, spaces.Dict | spaces.Tuple):
        parts = space.spaces.items() if isinstance(space, spaces.Dict) else enumerate(space.spaces)
        for name, part in parts:
            yield from _axes(part, _within(label, name))
    elif isinstance(space, spaces.Discrete):
        yield _numbers(int(space.start), int(space.n), label)
    elif isinstance(space, spaces.Box):
        yield _directions(space, label)
    elif isinstance(space, spaces.MultiBinary):
        size = math.prod(space.shape)
        _require_few(size)
        for i in range(size):
            yield _Axis(["", _within(label, i)], [0, 1])
    elif isinstance(space, spaces.MultiDiscrete):
        _require_few(space.nvec.size)
        for i, (start, n) in enumerate(zip(space.start.reshape(-1), space.nvec.reshape(-1), strict=True)):
            yield _numbers(int(start), int(n), _within(label, i))
    else:
        raise MlxworldError(f"a {type(space).__name__} has no list of actions")


def _numbers(start: int, n: int, label: str) -> _Axis:
    _require_few(n)
    values = list(range(start, start + n))
    if not label:
        return _Axis([str(value) for value in values], values)
    return _Axis(["", *(f"{label}={value}" for value in values[1:])], values)


def _directions(space: spaces.Box, label: str) -> _Axis:
    _require_few(2 * math.prod(space.shape))
    low, high = space.low.reshape(-1), space.high.reshape(-1)
    rest = np.clip(np.zeros(low.shape, space.dtype), low, high)
    bounded_low, bounded_high = space.bounded_below.reshape(-1), space.bounded_above.reshape(-1)
    if np.issubdtype(space.dtype, np.floating):  # the largest number of a type is no bound either
        largest = np.finfo(str(space.dtype)).max
        bounded_low, bounded_high = bounded_low & (low > -largest), bounded_high & (high < largest)
    names, values = [""], [rest.reshape(space.shape)]
    for i in range(rest.size):
        one = label if rest.size == 1 and label else _within(label, i)
        down = low[i] if bounded_low[i] else rest[i] - 1
        up = high[i] if bounded_high[i] else rest[i] + 1
        for sign, value in (("-", down), ("+", up)):
            if value != rest[i]:
                moved = rest.copy()
                moved[i] = value
                names.append(one + sign)
                values.append(moved.reshape(space.shape))
    return _Axis(names, values)


def _code(space: spaces.Space, values: Iterator[Any]) -> Any:
    """What `step` takes, of a value for each axis in turn."""
    if isinstance(space, spaces.Dict):
        return {name: _code(part, values) for name, part in space.spaces.items()}
    if isinstance(space, spaces.Tuple):
        return tuple(_code(part, values) for part in space.spaces)
    if isinstance(space, spaces.MultiBinary | spaces.MultiDiscrete):
        size = math.prod(space.shape)
        return np.array([next(values) for _ in range(size)], space.dtype).reshape(space.shape)
    return next(values)


def _unique(labels: Sequence[Any]) -> list[str]:
    """Names of labels of any kind: one line of printable text each, in lower case where they still differ then."""
    texts = [" ".join("".join(c if c.isprintable() else " " for c in str(label)).split()) for label in labels]
    texts = [text or str(i) for i, text in enumerate(texts)]
    small = [text.lower() for text in texts]
    names: dict[str, None] = {}
    for text in small if len(set(small)) == len(small) else texts:
        name, n = text, 1
        while name in names:
            n += 1
            name = f"{text} {n}"
        names[name] = None
    return list(names)


def _within(label: str, name: Any) -> str:
    return f"{label}.{name}" if label else str(name)


def _require_few(n: int) -> None:
    if n > LONGEST:
        raise _too_many()


def _too_many() -> MlxworldError:
    return MlxworldError(f"more than {MOST} of them, or {LONGEST:,} of a single Discrete or Box")
