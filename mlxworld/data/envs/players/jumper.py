"""Who knows Jumper: runners that look at the tiles ahead, try a jump in their head, and mind slimes."""

import numpy as np

from ..jumper.body import FALL, GRAVITY, HEIGHT, LEAP, Body, solid
from ..jumper.level import COLUMNS, ROWS, TILE
from ..policies import Sticky
from ..source import Step

NOOP, LEFT, RIGHT, JUMP, LEFT_JUMP, RIGHT_JUMP = range(6)
AHEAD = 45  # steps that a runner thinks ahead
FLOOR = ROWS * TILE - 8


class Runner:
    """Runs to the right: jumps at gaps, walls and slimes, steers in the air so as to land. One in ten runs left first;
    one slime in five is jumped on."""

    name, lapse = "scripted", 0.0

    def __init__(self, actions: int, rng: np.random.Generator):
        self._rng, self._sticky = rng, Sticky(actions, rng)
        self._back = int(rng.integers(20, 80)) if rng.random() < 0.1 else 0  # steps to the left at first
        self._playful = rng.choice([0.0, 0.02, 0.05])  # chance a step to jump for nothing
        self._away, self._hunts, self._plan, self._falls = 0, False, list[int](), 0.0

    def act(self, step: Step) -> int:
        """Index of the next action."""
        held = self._sticky.act(step)
        if self._rng.random() < self.lapse:
            self._away = int(self._rng.integers(10, 40))
        if self._away > 0:
            self._away -= 1
            return held
        body, tiles = _body(step), _level(step)
        if self._back > 0:
            self._back -= 1
            return LEFT_JUMP if body.ground and solid(tiles, body.x - 12, body.y + HEIGHT - 4) else LEFT
        return self.run(body, tiles, _slime(step, body))

    def run(self, body: Body, tiles: np.ndarray, slime: float | None) -> int:
        """The action of one who only runs. slime: how far the next one is, if there is one on the same ground."""
        if not body.ground:
            return self._steer(body, tiles)
        self._plan = []
        if slime is None:
            self._hunts = self._rng.random() < 0.2
        reach = 34 if self._hunts else 24
        wall = solid(tiles, body.x + 12, body.y + HEIGHT - 4)
        brink = not all(_stands(tiles, body.x + ahead, body.y) for ahead in (2, 8, 14))
        if wall or brink or (slime is not None and slime < reach) or self._rng.random() < self._playful:
            self._plan = _safe(body, tiles, RIGHT_JUMP)
            self._falls = LEAP + GRAVITY
            return self._plan.pop(0) if self._plan else LEFT if brink else RIGHT
        return RIGHT

    def _steer(self, body: Body, tiles: np.ndarray) -> int:
        """In the air: to the right if that lands on ground, else wherever it does."""
        thrown = self._plan and abs(body.vy - self._falls) > 1  # by a slime, or a crate above
        self._falls = min(body.vy + GRAVITY, FALL)
        if thrown or not self._plan:
            self._plan = _safe(body, tiles, RIGHT) or [RIGHT]
        return self._plan.pop(0)


class Careless(Runner):
    """The same, with lapses into held keys."""

    name, lapse = "careless", 0.02


class Stroller(Runner):
    """Another player, to hold out: it stops and looks, walks in bursts, turns round for a few steps and jumps on the
    spot, at times of its own."""

    name = "other"

    def __init__(self, actions: int, rng: np.random.Generator):
        super().__init__(actions, rng)
        self._mood, self._left = RIGHT, 0

    def act(self, step: Step) -> int:
        """Index of the next action."""
        body, tiles = _body(step), _level(step)
        if self._left == 0:
            self._mood = int(self._rng.choice([RIGHT, NOOP, LEFT, JUMP], p=[0.6, 0.2, 0.1, 0.1]))
            self._left = int(self._rng.integers(5, 25))
        self._left -= 1
        if self._mood == RIGHT or not body.ground:
            return super().act(step)
        if self._mood == LEFT and not _stands(tiles, body.x - 14, body.y):
            return NOOP
        return self._mood


def _body(step: Step) -> Body:
    x, y, vx, vy = (float(step.state[name]) for name in ("x", "y", "vx", "vy"))
    return Body(x, y, vx, vy, bool(step.state["ground"]))


def _slime(step: Step, body: Body) -> float | None:
    """How far the next slime is, of those on the same ground."""
    slimes = step.state["slimes"]
    near = slimes[(slimes[:, 2] > 0) & (np.abs(slimes[:, 1] + TILE - body.y - HEIGHT) < 12)][:, 0] + 8 - body.x
    near = near[near > 0]
    return float(near.min()) if len(near) and near.min() < 60 else None


def _level(step: Step) -> np.ndarray:
    """The tiles that are in the picture, in their place in the level; grass beyond, so that nobody fears the unseen."""
    tiles = np.zeros((ROWS, COLUMNS), np.int8)
    first, seen = int(step.state["camera"]) // TILE, step.state["tiles"]
    tiles[:, first : first + seen.shape[1]] = seen[:, : COLUMNS - first]
    tiles[ROWS - 1, first + seen.shape[1] :] = 1
    return tiles


def _stands(tiles: np.ndarray, x: float, y: float) -> bool:
    """Whether there is ground below a place."""
    return any(solid(tiles, x, below) for below in np.arange(y + HEIGHT, ROWS * TILE, TILE / 2))


def _safe(body: Body, tiles: np.ndarray, first: int) -> list[int]:
    """To the right for as long as that ends on ground, then back: the actions, none if there are no such."""
    for right in (AHEAD, 24, 18, 12, 6, 0):
        plan = [first, *[RIGHT] * right, *[LEFT] * (AHEAD - right)]
        if _survives(body, tiles, plan):
            return plan
    return []


def _survives(body: Body, tiles: np.ndarray, plan: list[int]) -> bool:
    """Whether these actions end on ground."""
    moved = Body(body.x, body.y, body.vx, body.vy, body.ground)
    for k, action in enumerate(plan):
        moved.move(tiles, (action in (RIGHT, RIGHT_JUMP)) - (action in (LEFT, LEFT_JUMP)), action >= JUMP)
        if moved.ground and k > 0:
            return True
        if moved.y > FLOOR:
            return False
    return True


PLAYERS = {"scripted": Runner, "careless": Careless, "other": Stroller}
MIX = {"scripted": 0.6, "careless": 0.2, "sticky": 0.15, "random": 0.05}
