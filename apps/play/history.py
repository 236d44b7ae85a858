"""The last minute of a branch: every frame with the action that led to it, and marks from which it is made again.

A position is the number of actions since the start. Knows nothing of worlds.
"""

from collections import deque
from dataclasses import dataclass
from typing import Any

import mlxworld

KEEP_S = 60.0
"""Seconds that are remembered."""
NEAR_S, FAR_S, NEAR_KEEP_S = 0.5, 2.0, 5.0
"""Seconds between two marks: of the last NEAR_KEEP_S seconds, and of what lies before."""


@dataclass(frozen=True)
class Shown:
    """A frame of the world, that of the real game beside it, and the action that led to them."""

    frame: "mlxworld.Frame"
    beside: "mlxworld.Frame | None"
    action: int


@dataclass(frozen=True)
class Mark:
    """A position with the states of the world and of the real game there."""

    position: int
    state: Any
    real: Any


class History:
    """What a branch has shown from `first` to `last`, both included."""

    def __init__(self, fps: float, position: int, shown: Shown, mark: Mark):
        self._frames: deque[Shown] = deque([shown], maxlen=round(KEEP_S * fps) + 1)
        self._marks = [mark]
        self._near, self._far, self._near_keep = (max(1, round(s * fps)) for s in (NEAR_S, FAR_S, NEAR_KEEP_S))
        self.last = position

    @property
    def first(self) -> int:
        """The oldest position that can be shown and gone back to."""
        return max(self.last + 1 - len(self._frames), self._marks[0].position)

    def due(self, position: int) -> bool:
        """Whether a mark is to be made at this position."""
        return position - self._marks[-1].position >= self._near

    def add(self, shown: Shown, mark: Mark | None = None) -> None:
        """The next frame, and a mark there."""
        self.last += 1
        self._frames.append(shown)
        if mark is not None:
            self._marks.append(mark)
            self._thin()

    def at(self, position: int) -> Shown:
        """What was shown at a position between `first` and `last`."""
        return self._frames[position - self.last - 1]

    def before(self, position: int) -> Mark:
        """The newest mark at a position or before it."""
        return next(mark for mark in reversed(self._marks) if mark.position <= position)

    def cut(self, position: int) -> None:
        """Forget what came after a position."""
        for _ in range(self.last - position):
            self._frames.pop()
        self.last = position
        self._marks = [mark for mark in self._marks if mark.position <= position]

    def _thin(self) -> None:
        """Leave only every FAR_S of old marks, and of those before the oldest frame the newest."""
        oldest = self.last + 1 - len(self._frames)
        thinned: list[Mark] = []
        for mark in self._marks:
            old = mark.position < self.last - self._near_keep
            if old and thinned and mark.position - thinned[-1].position < self._far and mark is not self._marks[-1]:
                continue
            thinned.append(mark)
        while len(thinned) > 1 and thinned[1].position <= oldest:
            thinned.pop(0)
        self._marks = thinned
