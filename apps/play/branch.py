"""A branch: one living world with all that is needed to go back in it, and to tell how it came about.

Knows nothing about threads, sockets or pages. Everything here runs on the model thread.
"""

import hashlib
from collections import deque
from dataclasses import dataclass
from typing import Any

import mlxworld

from .wire import BadMessage, is_text, is_whole, maybe

LOG_FORMAT = "mlxworld-actions-1"
MAX_ACTIONS = 200_000
TRAIL_EVERY_S = 0.5  # a way back is kept this often ...
TRAIL_KEEP_S = 10.0  # ... for this long


@dataclass(frozen=True)
class Origin:
    """Where a world's story begins: a seed and a start clip (None: the seed chooses it)."""

    seed: int
    start: int | None


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
        now = len(self.actions)
        target = now - seconds * self.world.fps
        moment = min(self._trail, key=lambda moment: abs(len(moment.actions) - target))
        earlier = [kept for kept in self._trail if len(kept.actions) < len(moment.actions)]
        self.restore(moment)
        self._trail.extendleft(reversed(earlier))
        return (now - len(self.actions)) / self.world.fps

    def fork(self) -> "Branch":
        """A second world that continues from here on its own."""
        return Branch(self.world.fork(), self.frame, self.origin, tuple(self.actions))

    def log(self, world: str) -> dict[str, Any]:
        """The action log: what makes this very frame again. `world` is the name that loads it."""
        w = self.world
        settings = {"world": world, "backend": w.backend, "precision": w.precision, "steps": w.steps}
        story = {"seed": self.origin.seed, "start": self.origin.start, "actions": list(self.actions)}
        names = {"fps": w.fps, "action_names": list(w.actions)}
        return {"format": LOG_FORMAT, **settings, **names, **story, "digest": digest(self.frame)}


def digest(frame: "mlxworld.Frame") -> str:
    """A fingerprint of a frame's picture and sound: equal exactly when both are bit-equal."""
    return hashlib.sha256(frame.video.tobytes() + frame.audio.tobytes()).hexdigest()


@dataclass(frozen=True)
class Log:
    """An action log read back, with every field checked."""

    world: str
    backend: str
    precision: str
    steps: int
    action_names: tuple[str, ...]
    origin: Origin
    actions: tuple[int, ...]
    digest: str

    @classmethod
    def read(cls, log: dict[str, Any]) -> "Log":
        """Check a log that came from outside. Raises BadMessage, with one line."""
        if log.get("format") != LOG_FORMAT:
            raise BadMessage(f"this file is not an action log of the play app ({LOG_FORMAT})")
        checks = {
            "world": is_text,
            "backend": is_text,
            "precision": is_text,
            "digest": is_text,
            "steps": is_whole(1, 64),
            "seed": is_whole(0, 2**32 - 1),
            "start": maybe(is_whole(0, 2**31)),
            "action_names": lambda names: isinstance(names, list) and all(map(is_text, names)),
            "actions": lambda actions: isinstance(actions, list) and len(actions) <= MAX_ACTIONS,
        }
        for name, check in checks.items():
            if name not in log or not check(log[name]):
                raise BadMessage(f"action log: {name} is missing or has a bad value")
        names, actions = tuple(log["action_names"]), tuple(log["actions"])
        if not all(map(is_whole(0, len(names) - 1), actions)):
            raise BadMessage("action log: an action is not among its action_names")
        settings = {name: log[name] for name in ("world", "backend", "precision", "steps", "digest")}
        return cls(**settings, action_names=names, origin=Origin(log["seed"], log["start"]), actions=actions)
