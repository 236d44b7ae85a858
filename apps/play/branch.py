"""A branch: one living world with all that is needed to go back in it, and to tell how it came about.

Where the real game plays beside the world, it takes the same actions and goes back with it. Knows nothing about
threads, sockets or pages. Everything here runs on the model thread.
"""

from dataclasses import dataclass, replace
from typing import Any

import mlxworld
from mlxworld import MlxworldError

from .action_log import LOG_FORMAT, Origin, digest, label, runs
from .controls import meant, together
from .history import History, Mark, Shown


@dataclass(frozen=True)
class Moment:
    """A world held still: its state, the picture to show for it, and the actions that led there."""

    state: Any
    frame: "mlxworld.Frame"
    origin: Origin
    actions: tuple[int, ...]
    real: Any = None
    beside: "mlxworld.Frame | None" = None


class Branch:
    """A world, its frame, its actions so far, and its last minute.

    `seek` shows an earlier frame at once; the world itself goes there when it is next needed, and what came after is
    then forgotten. The actions always tell the present exactly: going back also goes back in them.
    """

    def __init__(
        self,
        world: "mlxworld.World",
        frame: "mlxworld.Frame",
        origin: Origin,
        actions: tuple[int, ...] = (),
        real: "mlxworld.Real | None" = None,
        beside: "mlxworld.Frame | None" = None,
    ):
        self.world, self.real, self.origin = world, real, origin
        self._actions = list(actions)
        self._position = len(self._actions)
        self._begin(Shown(frame, beside, 0))

    @classmethod
    def begin(cls, world: "mlxworld.World", origin: Origin) -> "Branch":
        """A world at its start. Raises MlxworldError for a start clip that it does not have."""
        return cls(world, world.reset(seed=origin.seed, context=origin.start), origin)

    @classmethod
    def seen(
        cls,
        world: "mlxworld.World",
        context: Any,
        origin: Origin,
        real: "mlxworld.Real | None" = None,
        beside: "mlxworld.Frame | None" = None,
    ) -> "Branch":
        """A world that goes on from a clip or a picture."""
        return cls(world, world.reset(seed=origin.seed, context=context), origin, (), real, beside)

    @property
    def frame(self) -> "mlxworld.Frame":
        """What is shown now."""
        return self._history.at(self._position).frame

    @property
    def beside(self) -> "mlxworld.Frame | None":
        """What the real game shows now."""
        return self._history.at(self._position).beside

    @property
    def actions(self) -> list[int]:
        """The actions that led to the present."""
        return self._actions[: self._position]

    @property
    def position(self) -> int:
        """The number of those actions."""
        return self._position

    @property
    def span(self) -> tuple[int, int]:
        """The first and last position that `seek` takes."""
        return self._history.first, self._history.last

    def step(self, action: int) -> "mlxworld.Frame":
        """Advance by one frame."""
        self.settle()
        frame, beside = self._step(action)
        self._actions.append(action)
        self._position += 1
        mark = self._mark() if self._history.due(self._position) else None
        self._history.add(Shown(frame, beside, action), mark)
        return frame

    def _step(self, action: int) -> tuple["mlxworld.Frame", "mlxworld.Frame | None"]:
        chosen = meant(self.world, action)
        return self.world.step(chosen), self.real.step(chosen) if self.real else None

    def seek(self, position: int) -> int:
        """Show the frame at a position, or at the nearest one that is remembered. Returns where that is."""
        first, last = self.span
        self._position = min(max(position, first), last)
        return self._position

    @property
    def is_back(self) -> bool:
        """Whether an earlier frame is shown than the world has come to."""
        return self._position < self._history.last

    def settle(self) -> None:
        """Bring the world to the frame that is shown; what came after is forgotten."""
        if not self.is_back:
            return
        mark = self._history.before(self._position)
        self.world.restore(mark.state)
        if self.real:
            self.real.restore(mark.real)
        for action in self._actions[mark.position : self._position]:
            self._step(action)
        self._history.cut(self._position)
        del self._actions[self._position :]

    def latest(self) -> Moment:
        """The newest moment, also where an earlier one is shown."""
        shown, mark = self._history.at(self._history.last), self._mark()
        return Moment(mark.state, shown.frame, self.origin, tuple(self._actions), mark.real, shown.beside)

    def moment(self) -> Moment:
        """The present, to come back to."""
        self.settle()
        return self.latest()

    def restore(self, moment: Moment) -> None:
        """Go back (or over) to a moment of any branch of the same world."""
        self.world.restore(moment.state)
        if self.real and moment.real is not None:
            self.real.restore(moment.real)
        self.origin, self._actions = moment.origin, list(moment.actions)
        self._position = len(self._actions)
        self._begin(Shown(moment.frame, moment.beside if self.real else None, 0))

    def rewind(self, seconds: float) -> float:
        """Go back by `seconds`, less where less is remembered. Returns the seconds gone back."""
        before = self._position
        self.seek(before - round(seconds * self.world.fps))
        return (before - self._position) / self.world.fps

    def fork(self) -> "Branch":
        """A second world that continues from here on its own."""
        self.settle()
        return Branch(self.world.fork(), self.frame, self.origin, tuple(self._actions))

    def move_to(self, world: "mlxworld.World", why: str) -> None:
        """Go on in another world of the same weights, from the same moment. `why`: the log cannot tell of it."""
        moment = self.moment()
        world.restore(moment.state)
        self.world, self.origin = world, replace(self.origin, untold=why)
        self._begin(Shown(moment.frame, moment.beside, 0))

    def log(self, world_digest: str) -> dict[str, Any]:
        """The action log: what makes this very frame again. `world_digest` is that of the world. Raises MlxworldError
        for a story that no log can tell."""
        if self.origin.untold:
            otherwise = "keep a moment or a film, or start again"
            raise MlxworldError(f"no action log can tell this dream: {self.origin.untold}; {otherwise}")
        w = self.world
        settings = {"backend": w.backend, "precision": w.precision, "steps": w.steps, "fps": w.fps}
        story = {"seed": self.origin.seed, "start": self.origin.start, "actions": runs(self.actions)}
        names: dict[str, Any] = {"world": label(w.name), "world_digest": world_digest, "action_names": list(w.actions)}
        if together(w):
            names["together"] = True
        return {"format": LOG_FORMAT, **names, **settings, **story, "digest": digest(self.frame)}

    def _mark(self) -> Mark:
        real = self.real.snapshot() if self.real else None
        return Mark(self._position, self.world.snapshot(), real)

    def _begin(self, shown: Shown) -> None:
        self._history = History(self.world.fps, self._position, shown, self._mark())
