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

from ...errors import MlxworldError
from . import players
from .source import Source, Step


class Policy(Protocol):
    """Chooses the next action from what the world shows."""

    name: str

    def act(self, step: Step) -> int:
        """Index of the next action."""
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


_ANYBODY: dict[str, Any] = {"random": Random, "sticky": Sticky}
_MIX = {"sticky": 0.75, "random": 0.25}


def make_policy(name: str, source: Source, seed: int) -> Policy:
    """The player called `name` for one game of a world. The same seed gives the same player.

    Raises MlxworldError for a name that this world has no player of.
    """
    rng = np.random.default_rng([seed, 1])
    own, mix = _players(source.name)
    known = own | _ANYBODY
    if name == "mixed":
        name = list(mix)[rng.choice(len(mix), p=list(mix.values()))]
    if name not in known:
        raise MlxworldError(f"nobody called {name!r} plays {source.name}: choose one of {', '.join(['mixed', *known])}")
    return known[name](len(source.actions), rng)


def _players(world: str) -> tuple[dict[str, Any], Mapping[str, float]]:
    """A world's own players by name, and the shares of all players in `mixed`."""
    name = world.partition(":")[0]
    if name not in {module.name for module in pkgutil.iter_modules(players.__path__)}:
        return {}, _MIX
    module = importlib.import_module(f"{players.__name__}.{name}")
    return module.PLAYERS, module.MIX
