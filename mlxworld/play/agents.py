"""Agents that play a world by what it shows: a picture in, an action out. They see what a person sees.

Most worlds are played by somebody who holds keys for a while, as in their recordings; where a game can be read from its
picture, somebody plays it.
"""

from typing import Protocol

import numpy as np

from ..data.envs.policies import Sticky
from ..data.envs.source import Step
from ..evaluate import pong
from .frame import Frame
from .world import World


class Agent(Protocol):
    """Chooses the next action from the frame before it."""

    def act(self, frame: Frame) -> int:
        """Index of the next action."""
        ...


class Wanderer:
    """Holds one key for a while, then another. The first action, doing nothing, is as likely as any other."""

    def __init__(self, world: World, rng: np.random.Generator):
        self._sticky = Sticky(len(world.actions), rng)

    def act(self, frame: Frame) -> int:
        """Index of the next action."""
        return self._sticky.act(Step(frame.video, frame.audio))


class PongPlayer:
    """Follows the ball of Pong, a little off the middle of the paddle, elsewhere for each ball."""

    REST = 2.0  # pixels of 128 within which the paddle waits
    SPREAD = 4.0  # pixels of 128 to either side of the middle where the ball is taken

    def __init__(self, world: World, rng: np.random.Generator):
        self._actions = [world.actions.index(name) for name in ("noop", "up", "down")]
        self._rng, self._aim, self._x = rng, 0.0, 0.0

    def act(self, frame: Frame) -> int:
        """Index of the next action."""
        x, y = pong.ball(frame.video)
        paddle = pong.paddle_y(frame.video)
        noop, up, down = self._actions
        if np.isnan(y) or np.isnan(paddle):
            return noop
        if x < self._x - 1:  # it flies away
            self._aim = self._rng.uniform(-self.SPREAD, self.SPREAD)
        self._x = x
        gap = y + self._aim - paddle
        return noop if abs(gap) < self.REST else down if gap > 0 else up


_PLAYERS = {"pong": (PongPlayer, {"noop", "up", "down"})}


def agent(world: World, seed: int = 0) -> Agent:
    """Somebody who plays this world. The same seed is the same player."""
    rng = np.random.default_rng([seed, 2])
    player, needed = _PLAYERS.get(world.name, (Wanderer, set()))
    return player(world, rng) if needed <= set(world.actions) else Wanderer(world, rng)
