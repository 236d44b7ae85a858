"""Who plays Bounce: one who chases the nearest body, so that hits are common, and one who keeps its ball up."""

import numpy as np

from ..policies import Sticky
from ..source import Step

NOOP, LEFT, RIGHT, UP, DOWN = range(5)
FALLS = 120 / 600  # gravity, as a share of a push
SOON = 0.15  # seconds that it thinks ahead


class Chaser:
    """Pushes the ball to the nearest other body; now and then it changes its mind or holds a key for a while."""

    name = "scripted"

    def __init__(self, actions: int, rng: np.random.Generator):
        self._rng, self._sticky = rng, Sticky(actions, rng)
        self._away, self._avoids = 0, -1
        self._lapse = rng.choice([0.0, 0.01, 0.03])

    def act(self, step: Step) -> int:
        """Index of the next action."""
        held = self._sticky.act(step)
        if self._rng.random() < self._lapse:
            self._away = int(self._rng.integers(5, 30))
        if self._away > 0:
            self._away -= 1
            return held
        place, speed = (step.state[name] for name in ("position", "velocity"))
        gaps = place[1:] - place[0] + SOON * (speed[1:] - speed[0])
        far = np.hypot(*gaps.T)
        if self._rng.random() < 0.02:
            self._avoids = int(self._rng.integers(-1, len(far)))
        far[self._avoids] += 1000 if self._avoids >= 0 else 0
        return _push(gaps[far.argmin()])


class Juggler:
    """Another player, to hold out: keeps the ball at a height and a side of its own, which it changes now and then."""

    name = "other"

    def __init__(self, actions: int, rng: np.random.Generator):
        self._rng, self._place = rng, rng.uniform(25, 100, 2)

    def act(self, step: Step) -> int:
        """Index of the next action."""
        if self._rng.random() < 0.01:
            self._place = self._rng.uniform(25, 100, 2)
        gap = self._place - step.state["position"][0] - SOON * step.state["velocity"][0]
        return NOOP if np.abs(gap).max() < 6 else _push(gap)


def _push(gap: np.ndarray) -> int:
    """The key towards a place (2,), one axis at a time; one that is below needs less, it is fallen to."""
    x, y = gap[0], gap[1] * (1 - FALLS) if gap[1] > 0 else gap[1] * (1 + FALLS)
    return (RIGHT if x > 0 else LEFT) if abs(x) > abs(y) else (DOWN if y > 0 else UP)


PLAYERS = {"scripted": Chaser, "other": Juggler}
MIX = {"scripted": 0.55, "sticky": 0.35, "random": 0.1}
