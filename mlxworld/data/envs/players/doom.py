"""Who knows Doom: one who aims and fires, one who looks about, and in rooms to walk in one who finds the way."""

from typing import Any

import numpy as np

from ..doom import SHOOTING, WALKING
from ..policies import Sticky
from ..source import Step

MIDDLE = 64  # of a picture of 128 pixels
WALL = 8  # of the depth buffer: so near is a wall in front


class Fighter:
    """Turns to the largest monster in sight and fires when its box covers the middle; where none is, it looks about or
    walks on. Faults are drawn once a game: aim, reaction, lapses into held keys."""

    name = "scripted"

    def __init__(self, actions: int, rng: np.random.Generator):
        walks = actions == len(WALKING)
        self._names = WALKING if walks else SHOOTING if actions == len(SHOOTING) else ()
        self._walks, self._rng, self._sticky = walks, rng, Sticky(actions, rng)
        self._aim = rng.uniform(2, 12)  # pixels, standard deviation of where it thinks a monster is
        self._slow = int(rng.integers(2, 9))  # steps until it answers to another monster
        self._lapse = rng.choice([0.0, 0.01, 0.03])
        self._bold = rng.uniform(0.2, 0.8)  # chance a step to walk on while it fires
        self._away, self._wait, self._target, self._error = 0, 0, -1.0, 0.0
        self._way, self._dodge, self._dodging = "left", "strafe_left", 0

    def act(self, step: Step) -> int:
        """Index of the next action."""
        held, rng = self._sticky.act(step), self._rng
        if rng.random() < self._lapse:
            self._away = int(rng.integers(5, 20))
        if self._away > 0 or not self._names:
            self._away = max(0, self._away - 1)
            return held
        name = self._fight(step.state["monsters"]) or (self._walk(step.state) if self._walks else self._look())
        if rng.random() < 0.02:
            self._dodge, self._dodging = str(rng.choice(["strafe_left", "strafe_right"])), int(rng.integers(3, 9))
        if self._dodging > 0 and name in ("fire", "left", "right"):  # away from what is thrown
            self._dodging -= 1
            name = f"fire+{self._dodge}" if name == "fire" and not self._walks else self._dodge
        return self._names.index(name)

    def _fight(self, monsters: np.ndarray) -> str | None:
        seen = monsters[monsters[:, 5] >= 0]
        if not len(seen):
            return None
        x, _, width, _, ident, _ = seen[0]
        if ident != self._target:
            self._target, self._wait, self._error = ident, self._slow, self._rng.normal(0, self._aim)
        if self._wait > 0:
            self._wait -= 1
            return "noop"
        if self._rng.random() < 0.1:
            self._error = self._rng.normal(0, self._aim)
        gap = x + width / 2 + self._error - MIDDLE
        if abs(gap) <= max(width / 2, 3):
            return "forward+fire" if self._walks and self._rng.random() < self._bold else "fire"
        side = "right" if gap > 0 else "left"
        fires = self._rng.random() < 0.3 and not self._walks
        return f"fire+{side}" if fires else side

    def _look(self) -> str:
        if self._rng.random() < 0.05:
            self._way = str(self._rng.choice(["left", "right", "noop"]))
        return self._way

    def _walk(self, state: dict[str, Any]) -> str:
        """To where there is room, and to what can be taken."""
        left, ahead, right = state["room"]
        things = state["things"][state["things"][:, 2] > 3]
        if len(things):
            gap = things[0, 0] + things[0, 2] / 2 - MIDDLE
            return "forward" if abs(gap) < 8 else "forward+right" if gap > 0 else "forward+left"
        if ahead < WALL:
            if self._rng.random() < 0.1:
                return "use"
            if self._rng.random() < 0.2:
                self._way = "left" if left > right else "right"
            return self._way if self._way != "noop" else "left"
        if max(left, right) > 1.5 * ahead and self._rng.random() < 0.6:
            return "forward+left" if left > right else "forward+right"
        return "forward"


class Sweeper:
    """Looks about, 60 degrees to either side and at a pace of its own, and fires now and then."""

    name = "sweeping"

    def __init__(self, actions: int, rng: np.random.Generator):
        names = WALKING if actions == len(WALKING) else SHOOTING if actions == len(SHOOTING) else ()
        self._keys = {name: names.index(name) for name in ("noop", "left", "right", "fire")} if names else {}
        self._rng, self._sticky = rng, Sticky(actions, rng)
        self._start: float | None = None
        self._far, self._way = rng.uniform(30, 60), "left"
        self._rests, self._fires = rng.uniform(0, 0.5), rng.uniform(0, 0.1)

    def act(self, step: Step) -> int:
        """Index of the next action."""
        if not self._keys:
            return self._sticky.act(step)
        angle = float(step.state["angle"])
        self._start = angle if self._start is None else self._start
        turned = (angle - self._start + 180) % 360 - 180  # to the left
        if abs(turned) > self._far:
            self._way = "right" if turned > 0 else "left"
        drawn = self._rng.random()
        return self._keys["fire" if drawn < self._fires else "noop" if drawn < self._rests else self._way]


class Sniper(Fighter):
    """Another player, to hold out: aims at the smallest monster in sight, slowly and well, and never dodges."""

    name = "other"

    def __init__(self, actions: int, rng: np.random.Generator):
        super().__init__(actions, rng)
        self._aim, self._slow, self._lapse = rng.uniform(1, 4), int(rng.integers(6, 16)), 0.005

    def _fight(self, monsters: np.ndarray) -> str | None:
        self._dodging = 0
        return super()._fight(monsters[::-1][np.argsort(monsters[::-1, 5] < 0, kind="stable")])


PLAYERS = {"scripted": Fighter, "sweeping": Sweeper, "other": Sniper}
MIX = {"scripted": 0.6, "sweeping": 0.2, "sticky": 0.15, "random": 0.05}
