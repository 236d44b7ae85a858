"""Who plays while a world is recorded. Good data needs more than chance: in Pong a random player never hits the ball.

random    another action every step
sticky    an action is held for a while, as a person does
scripted  somebody who knows the game, with faults (Pong: a noisy follower of the ball)
mixed     one of these for each episode
"""

from typing import Protocol

import numpy as np

from ...errors import MlxworldError
from .source import Source, Step

POLICIES = ("mixed", "random", "sticky", "scripted")


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

    def act(self, step: Step) -> int:
        """Index of the next action."""
        if self._rng.random() < self._change:
            self._held = int(self._rng.integers(self._actions))
        return self._held


class PongFollower:
    """Follows Pong's ball, with faults drawn once per episode: aim, slowness, and lapses in which it plays sticky.

    Some play to win, some lose most points, so that a dataset holds hits and misses on every part of the paddle and
    points on both sides.
    """

    name = "scripted"
    NOOP, UP, DOWN = 0, 1, 2
    BALL, PADDLE = 54, 51  # console RAM: height of the ball (0: none in play), of the own paddle
    MIDDLE = 2  # rows from paddle to ball when it hits the middle

    def __init__(self, actions: int, rng: np.random.Generator):
        self._rng = rng
        self._spread = rng.uniform(2, 11)  # rows around the middle where it takes the ball; beyond 9 it misses
        self._dead = rng.uniform(1, 3)  # rows within which it rests
        self._slow = rng.uniform(0, 0.2)  # chance to do nothing for a step
        self._lapse = rng.choice([0, 1 / 400, 1 / 100])  # chance a step to lose interest for 10 to 60 steps
        self._sticky, self._away, self._aim = Sticky(actions, rng), 0, 0.0

    def act(self, step: Step) -> int:
        """Index of the next action."""
        ball, paddle = (int(step.state["ram"][place]) for place in (self.BALL, self.PADDLE))
        held = self._sticky.act(step)
        if self._rng.random() < self._lapse:
            self._away = int(self._rng.integers(10, 60))
        if ball == 0 or self._rng.random() < 0.01:
            self._aim = self._rng.uniform(-self._spread, self._spread)
        if self._away > 0 or ball == 0:
            self._away = max(0, self._away - 1)
            return held
        gap = ball - paddle - self.MIDDLE + self._aim
        if abs(gap) < self._dead or self._rng.random() < self._slow:
            return self.NOOP
        return self.DOWN if gap > 0 else self.UP


_SCRIPTS = {"pong": PongFollower}


def make_policy(name: str, source: Source, seed: int) -> Policy:
    """The player called `name` for one episode of a world. The same seed gives the same player.

    Raises MlxworldError for an unknown name, and for "scripted" where the world has no script.
    """
    rng = np.random.default_rng([seed, 1])
    script = _SCRIPTS.get(source.name)
    if name == "mixed":
        kinds, chances = ([script, Sticky, Random], [0.7, 0.2, 0.1]) if script else ([Sticky, Random], [0.75, 0.25])
        return kinds[rng.choice(len(kinds), p=chances)](len(source.actions), rng)
    if name == "scripted" and script is None:
        raise MlxworldError(f"nobody has written a script for {source.name}: use --policy mixed, sticky or random")
    kind = {"random": Random, "sticky": Sticky, "scripted": script}.get(name)
    if kind is None:
        raise MlxworldError(f"unknown policy {name!r}: choose one of {', '.join(POLICIES)}")
    return kind(len(source.actions), rng)
