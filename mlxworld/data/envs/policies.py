"""Who plays while a world is recorded. Good data needs more than chance: in Pong a random player never hits the ball.

random    another action every step
sticky    an action is held for a while, as a person does
scripted  somebody who knows the game, with faults (Pong: a noisy follower of the ball)
mixed     one of these for each game, in the shares that the world's own file says
and further players of a world's own, such as `other` of Pong, who plays in another style than those of `mixed`: games
of its are held out, so that a world is not judged by the habits that it has learnt.

A world's own players are in `players/WORLD.py`: PLAYERS, by name, and MIX, the shares of `mixed`.
"""

import importlib
import pkgutil
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from ...configs.actions import ActionSpace
from ...errors import MlxworldError
from . import players
from .source import Source, Step, action_space


class Policy(Protocol):
    """Chooses the next action from what the world shows."""

    name: str

    def act(self, step: Step) -> Any:
        """Index of the next action, or its row of buttons and axes."""
        ...


class Random:
    """Every action equally likely, each step anew."""

    name = "random"

    def __init__(self, actions: int, rng: np.random.Generator):
        self._actions, self._rng = actions, rng

    def act(self, step: Step) -> int:
        """Index of the next action."""
        return int(self._rng.integers(self._actions))


class Sticky:
    """Holds a random action for a geometric time, whose mean (2 to 12 steps) is drawn once."""

    name = "sticky"

    def __init__(self, actions: int, rng: np.random.Generator):
        self._actions, self._rng = actions, rng
        self._change = 1 / rng.uniform(2, 12)
        self._held = int(rng.integers(actions))

    def act(self, step: object) -> int:
        """Index of the next action; it looks at nothing."""
        if self._rng.random() < self._change:
            self._held = int(self._rng.integers(self._actions))
        return self._held


class Rows:
    """Plays buttons and axes: each is held for a geometric time of its own and then drawn anew. A button is up and an
    axis at rest more often than not."""

    def __init__(self, space: ActionSpace, rng: np.random.Generator, name: str):
        self.name, self._space, self._rng = name, space, rng
        self._change = 1.0 if name == "random" else 1 / rng.uniform(2, 12)
        self._row = np.zeros(space.shape, np.float32)

    def act(self, step: object) -> np.ndarray:
        """The next row (A,); it looks at nothing."""
        n, moved = len(self._row), self._rng.random(len(self._row)) < 0.4
        drawn = np.where(np.arange(n) < len(self._space.buttons), 1, self._rng.uniform(-1, 1, n))
        self._row = np.where(self._rng.random(n) < self._change, moved * drawn, self._row).astype(np.float32)
        return self._row


_ANYBODY: dict[str, Any] = {"random": Random, "sticky": Sticky}
_MIX = {"sticky": 0.75, "random": 0.25}


def make_policy(name: str, source: Source, seed: int) -> Policy:
    """The player called `name` for one game of a world. The same seed gives the same player.

    Raises MlxworldError for a name that this world has no player of.
    """
    rng, space = np.random.default_rng([seed, 1]), action_space(source)
    own, mix = _players(source.name)
    known = own | _ANYBODY
    if name == "mixed":
        name = list(mix)[rng.choice(len(mix), p=list(mix.values()))]
    if name not in known:
        raise MlxworldError(f"nobody called {name!r} plays {source.name}: choose one of {', '.join(['mixed', *known])}")
    if space.shape and name in _ANYBODY:
        return Rows(space, rng, name)
    return known[name](len(source.actions), rng)


def _players(world: str) -> tuple[dict[str, Any], Mapping[str, float]]:
    """A world's own players by name, and the shares of all players in `mixed`."""
    name = world.partition(":")[0]
    if name not in {module.name for module in pkgutil.iter_modules(players.__path__)}:
        return {}, _MIX
    module = importlib.import_module(f"{players.__name__}.{name}")
    return module.PLAYERS, module.MIX
