"""What can be done in a world, in one form: named actions, or buttons and axes that go together.

A world of named actions has a list of names; a name may join several keys, as in "forward+left". An action is its
index. A world of buttons and axes takes a row of A numbers, each button 0 or 1 and then each axis from -1 to 1, all of
them at once; its names are the actions that move one of them alone, so that keys, pads and indices work there too.
"""

import operator
from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import MlxworldError

NOOP = "noop"


@dataclass(frozen=True)
class ActionSpace:
    """names: of the actions, of which the first does nothing. buttons and axes: none, or what a row is made of."""

    names: tuple[str, ...]
    buttons: tuple[str, ...] = ()
    axes: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one action: () for an index, (A,) for a row."""
        return (len(self.buttons) + len(self.axes),) if self.buttons or self.axes else ()

    @property
    def dtype(self) -> type:
        """Of actions: int32 for indices, float32 for rows."""
        return np.float32 if self.shape else np.int32

    def holds(self, actions: np.ndarray) -> bool:
        """Whether actions (..., *shape) are indices of names, or rows of numbers in their ranges."""
        if not self.shape:
            return actions.dtype.kind in "iu" and bool(((actions >= 0) & (actions < len(self.names))).all())
        if actions.dtype.kind not in "iuf" or actions.shape[-1:] != self.shape:
            return False
        buttons, axes = np.split(actions, [len(self.buttons)], axis=-1)
        return bool(np.isin(buttons, (0, 1)).all() and (np.abs(axes) <= 1).all())

    def encode(self, action: Any) -> np.ndarray:
        """One action as the array that a model takes, of `shape` and `dtype`.

        action: an index; a name, its keys in any order; a set of names that are held, {"forward", "attack"}: of named
        actions that of the most keys, all of which are held; a row of numbers; or a mapping, of names to numbers or
        Gymnasium's {"buttons": ..., "axes": ...}. Raises MlxworldError for anything else.
        """
        if isinstance(action, str):
            return self._row({self._index(action)}) if self.shape else np.array(self._index(action), np.int32)
        if isinstance(action, Mapping):
            return self._mapped(action)
        if isinstance(action, Set):
            return self._held(action)
        if self.shape and np.ndim(action) == 1:
            return self._checked(action)
        index = self._number(action)
        return self._row({index}) if self.shape else np.array(index, np.int32)

    def name(self, action: np.ndarray) -> str:
        """The name of an action, or of the one that a row is nearest to."""
        if not self.shape:
            return self.names[int(action)]
        rows = np.stack([self._row({i}) for i in range(len(self.names))])
        return self.names[int(np.square(rows - action).sum(-1).argmin())]

    def _index(self, name: str) -> int:
        if name in self.names:
            return self.names.index(name)
        parts = set(name.split("+"))
        for index, known in enumerate(self.names):
            if "+" in name and set(known.split("+")) == parts:
                return index
        raise MlxworldError(f"unknown action {name!r}: choose one of {', '.join(self.names)}")

    def _number(self, action: Any) -> int:
        try:
            index = operator.index(action)
        except TypeError:
            raise MlxworldError(f"an action is a number or a name, not {type(action).__name__}") from None
        if not 0 <= index < len(self.names):
            raise MlxworldError(f"unknown action {index}: there are {len(self.names)}, counted from 0")
        return index

    def _held(self, keys: Set) -> np.ndarray:
        """The action of keys that are held together."""
        if self.shape:
            return self._row({self._index(key) for key in keys})
        parts = {part for name in self.names for part in name.split("+")}
        for key in keys:
            if key not in parts:
                raise MlxworldError(f"unknown key {key!r}: there are {', '.join(sorted(parts))}")
        fitting = [i for i, name in enumerate(self.names) if set(name.split("+")) <= set(keys)]
        return np.array(max(fitting, key=lambda i: (len(self.names[i].split("+")), -i), default=0), np.int32)

    def _row(self, indices: Set) -> np.ndarray:
        """The row of several names at once; opposite ones cancel out."""
        row = np.zeros(self.shape, np.float32)
        for index in indices:
            name = self.names[index]
            if name in self.buttons:
                row[self.buttons.index(name)] = 1
            elif name[:-1] in self.axes:
                row[len(self.buttons) + self.axes.index(name[:-1])] += 1 if name[-1] == "+" else -1
        return row

    def _mapped(self, action: Mapping) -> np.ndarray:
        if not self.shape:
            raise MlxworldError("this world has named actions: it takes a name, a number or a set of names")
        if set(action) <= {"buttons", "axes"}:
            parts = [action.get(kind, np.zeros(len(getattr(self, kind)))) for kind in ("buttons", "axes")]
            return self._checked(np.concatenate([np.asarray(part, np.float32).reshape(-1) for part in parts]))
        row, known = np.zeros(self.shape, np.float32), (*self.buttons, *self.axes)
        for name, value in action.items():
            if name not in known:
                raise MlxworldError(f"unknown button or axis {name!r}: there are {', '.join(known)}")
            row[known.index(name)] = value
        return self._checked(row)

    def _checked(self, row: Any) -> np.ndarray:
        try:
            row = np.asarray(row, np.float32)
        except (ValueError, TypeError):
            row = np.zeros(0, np.float32)
        if not self.holds(row):
            raise MlxworldError(
                f"an action is {self.shape[0]} numbers: {len(self.buttons)} buttons, 0 or 1, and {len(self.axes)} axes "
                "from -1 to 1"
            )
        return row


def hybrid(buttons: tuple[str, ...], axes: tuple[str, ...]) -> ActionSpace:
    """The space of these buttons and axes, with a name for each way to move one of them alone."""
    ways = [f"{axis}{sign}" for axis in axes for sign in "-+"]
    return ActionSpace((NOOP, *buttons, *ways), buttons, axes)
