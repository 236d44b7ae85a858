"""A branch: one living world with all that is needed to go back in it, and to tell how it came about.

Knows nothing about threads, sockets or pages. Everything here runs on the model thread.
"""

from collections import deque
from dataclasses import dataclass
from typing import Any

import mlxworld

from .action_log import LOG_FORMAT, Origin, digest, label, runs

TRAIL_EVERY_S = 0.5  # a way back is kept this often ...
TRAIL_KEEP_S = 10.0  # ... for this long


@dataclass(frozen=True)
class Moment:
    """A world held still: its state, the picture to show for it, and the actions that led there."""

    state: Any
    frame: "mlxworld.Frame"
    origin: Origin
    actions: tuple[int, ...]


class Branch:
    """A world, its last frame, its actions so far, and a trail of moments for rewinding.

    The actions always tell the present exactly: going back to a moment also goes back to its actions.
    """

    def __init__(self, world: "mlxworld.World", frame: "mlxworld.Frame", origin: Origin, actions: tuple[int, ...] = ()):
        self.world = world
        self.frame = frame
        self.origin = origin
        self.actions = list(actions)
        self._trail: deque[Moment] = deque(maxlen=round(TRAIL_KEEP_S / TRAIL_EVERY_S))
        self._every = max(1, round(world.fps * TRAIL_EVERY_S))
        self._trail.append(self.moment())

    @classmethod
    def begin(cls, world: "mlxworld.World", origin: Origin) -> "Branch":
        """A world at its start. Raises MlxworldError for a start clip that it does not have."""
        return cls(world, world.reset(seed=origin.seed, context=origin.start), origin)

    def step(self, action: int) -> "mlxworld.Frame":
        """Advance by one frame."""
        self.frame = self.world.step(action)
        self.actions.append(action)
        if len(self.actions) % self._every == 0:
            self._trail.append(self.moment())
        return self.frame

    def moment(self) -> Moment:
        """The present, to come back to."""
        return Moment(self.world.snapshot(), self.frame, self.origin, tuple(self.actions))

    def restore(self, moment: Moment) -> None:
        """Go back (or over) to a moment of any branch of the same world."""
        self.world.restore(moment.state)
        self.frame, self.origin, self.actions = moment.frame, moment.origin, list(moment.actions)
        self._trail.clear()
        self._trail.append(moment)

    def rewind(self, seconds: float) -> float:
        """Go back by about `seconds`, less where less is remembered. Returns the seconds gone back."""
        present = len(self.actions)
        target = present - seconds * self.world.fps
        moment = min(self._trail, key=lambda moment: abs(len(moment.actions) - target))
        earlier = [other for other in self._trail if len(other.actions) < len(moment.actions)]
        self.restore(moment)
        self._trail.extendleft(reversed(earlier))
        return (present - len(self.actions)) / self.world.fps

    def fork(self) -> "Branch":
        """A second world that continues from here on its own."""
        return Branch(self.world.fork(), self.frame, self.origin, tuple(self.actions))

    def log(self, world_digest: str) -> dict[str, Any]:
        """The action log: what makes this very frame again. `world_digest` is that of the world."""
        w = self.world
        settings = {"backend": w.backend, "precision": w.precision, "steps": w.steps, "fps": w.fps}
        story = {"seed": self.origin.seed, "start": self.origin.start, "actions": runs(self.actions)}
        names = {"world": label(w.name), "world_digest": world_digest, "action_names": list(w.actions)}
        return {"format": LOG_FORMAT, **names, **settings, **story, "digest": digest(self.frame)}
