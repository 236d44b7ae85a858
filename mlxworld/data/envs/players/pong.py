"""Who knows Pong: one who follows the ball, and another who goes where it will arrive. Both read the console's RAM."""

import numpy as np

from ..policies import Sticky
from ..source import Step

NOOP, UP, DOWN = 0, 1, 2
BALL, PADDLE = 54, 51  # places in RAM: height of the ball (0: none in play), of the own paddle
BALL_X, PADDLE_X = 49, 188  # place of the ball's column, and the column where the paddle meets it
MIDDLE = 2  # rows from paddle to ball when it hits the middle
TOP, BOTTOM = 44, 207  # of the ball's height in play
CENTRE = 125
GLIDE = 2  # steps that a paddle still moves when the key is up


class Follower:
    """Follows the ball, with faults drawn once per episode: aim, slowness, and lapses in which it plays sticky.

    Some play to win, some lose most points, so that a dataset holds hits and misses on every part of the paddle and
    points on both sides.
    """

    name = "scripted"

    def __init__(self, actions: int, rng: np.random.Generator):
        self._rng = rng
        self._spread = rng.uniform(2, 11)  # rows around the middle where it takes the ball; beyond 9 it misses
        self._dead = rng.uniform(1, 3)  # rows within which it rests
        self._slow = rng.uniform(0, 0.2)  # chance to do nothing for a step
        self._lapse = rng.choice([0, 1 / 400, 1 / 100])  # chance a step to lose interest for 10 to 60 steps
        self._tap = rng.choice([0, 0, 0.4, 0.8])  # chance a step to let the key go, for 1 to 8 steps
        self._sticky, self._away, self._pause, self._aim = Sticky(actions, rng), 0, 0, 0.0

    def act(self, step: Step) -> int:
        """Index of the next action."""
        ball, paddle = (int(step.state["ram"][place]) for place in (BALL, PADDLE))
        held = self._sticky.act(step)
        if self._rng.random() < self._lapse:
            self._away = int(self._rng.integers(10, 60))
        if ball == 0 or self._rng.random() < 0.01:
            self._aim = self._rng.uniform(-self._spread, self._spread)
        if self._away > 0 or ball == 0:
            self._away = max(0, self._away - 1)
            return held
        gap = ball - paddle - MIDDLE + self._aim
        if self._pause > 0:
            self._pause -= 1
            return NOOP
        if abs(gap) < self._dead or self._rng.random() < self._slow:
            return NOOP
        if self._rng.random() < self._tap:
            self._pause = int(self._rng.integers(1, 9))
        return DOWN if gap > 0 else UP


class Planner:
    """Goes to where the ball will arrive, in one sweep and after a while, and back to a place of its own.

    It differs from the follower in all that a world could learn of a player: it rests while the ball flies away, moves
    long and seldom, and prefers a part of its paddle, drawn once a game.
    """

    name = "other"

    def __init__(self, actions: int, rng: np.random.Generator):
        self._rng = rng
        self._part = rng.uniform(-7, 7)  # of the paddle, where it likes to take the ball
        self._home = CENTRE + rng.uniform(-30, 30)
        self._slowest = int(rng.integers(3, 20))  # steps until it goes, at most
        self._careless = rng.choice([0, 0.1, 0.3])  # chance to misjudge a ball
        self._seen: tuple[int, int] | None = None
        self._goal, self._wait, self._error, self._near, self._paddle = self._home, 0, 0.0, False, CENTRE
        self._moving = 0  # 1 down, -1 up

    def act(self, step: Step) -> int:
        """Index of the next action."""
        x, y, paddle = (int(step.state["ram"][place]) for place in (BALL_X, BALL, PADDLE))
        before, self._seen = self._seen, (x, y) if y else None
        stands = paddle + GLIDE * (paddle - self._paddle)
        self._paddle = paddle
        comes = before is not None and y > 0 and x > before[0]
        if comes != self._near:
            self._near, self._wait = comes, int(self._rng.integers(self._slowest))
            careless = self._rng.random() < self._careless
            self._error = self._rng.uniform(-25, 25) if careless else self._rng.normal(0, 3)
            self._home = np.clip(self._home + self._rng.normal(0, 10), CENTRE - 40, CENTRE + 40)
        if self._wait > 0:
            self._wait -= 1
            return NOOP
        if comes and before is not None:
            self._goal = _arrival(before, (x, y)) - MIDDLE + self._part + self._error
        elif not comes:
            self._goal = self._home
        gap = self._goal - stands
        if self._moving * gap <= 0:  # it has arrived, or rests
            self._moving = int(np.sign(gap)) if abs(gap) > (4 if comes else 12) else 0
        return (NOOP, DOWN, UP)[self._moving]


def _arrival(before: tuple[int, int], now: tuple[int, int]) -> float:
    """The ball's height where it meets the paddle, by two steps of it: straight on, thrown back by the borders."""
    steps = (PADDLE_X - now[0]) / (now[0] - before[0])
    height, span = now[1] + steps * (now[1] - before[1]) - TOP, BOTTOM - TOP
    folded = height % (2 * span)
    return TOP + min(folded, 2 * span - folded)


PLAYERS = {"scripted": Follower, "other": Planner}
MIX = {"scripted": 0.7, "sticky": 0.2, "random": 0.1}
