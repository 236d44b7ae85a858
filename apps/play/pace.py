"""Whether the model keeps the world's rate, and what to lower where it does not: passes a frame before frames a second.

Pure arithmetic over the milliseconds that frames took. Knows nothing of worlds.
"""

from collections import deque

WATCH_S = 1.5
"""Seconds of play that a verdict needs."""
SHARE = 0.97
"""Of the time between two frames: a model that takes more is too slow."""


class Pace:
    """Collects how long frames took; `too_slow` is a verdict over the last WATCH_S seconds."""

    def __init__(self, fps: float):
        self._limit = SHARE * 1e3 / fps
        self._times: deque[float] = deque(maxlen=max(8, round(WATCH_S * fps)))

    def add(self, milliseconds: float) -> None:
        """A frame took this long."""
        self._times.append(milliseconds)

    def begin(self) -> None:
        """Forget what was: the world has stood still, or is another one."""
        self._times.clear()

    @property
    def too_slow(self) -> bool:
        """Whether most of the last frames took longer than there is between two."""
        if len(self._times) < (self._times.maxlen or 0):
            return False
        ordered = sorted(self._times)
        return ordered[len(ordered) // 2] > self._limit


def fewer(steps: int, counts: list[int]) -> int | None:
    """The next smaller number of passes among `counts`; None where there is none."""
    return max((count for count in counts if count < steps), default=None)
