"""How the player moves among tiles. Pixels, steps; x is the body's middle, y its top, y points down."""

from dataclasses import dataclass

import numpy as np

from .level import COLUMNS, CRATE, EARTH, GRASS, ROWS, TILE

WIDTH, HEIGHT = 10, 22
DRAG, PUSH, FASTEST = 0.8, 0.7, 2.8  # along x, a step
GRAVITY, FALL, LEAP = 0.42, 6.0, -6.6
SOLID = (GRASS, EARTH, CRATE)


@dataclass
class Body:
    x: float = 40.0
    y: float = 0.0
    vx: float = 0.0
    vy: float = 0.0
    ground: bool = False
    face: int = 1  # to the right, -1 to the left

    def move(self, tiles: np.ndarray, along: int, jump: bool) -> bool:
        """One step among tiles (ROWS, COLUMNS), pushed `along` -1, 0 or 1. Returns whether a jump begins."""
        self.vx = float(np.clip(self.vx * DRAG + along * PUSH, -FASTEST, FASTEST))
        self.vx = 0.0 if abs(self.vx) < 0.05 else self.vx
        self.face = along or self.face
        leaps = jump and self.ground
        self.vy = min((LEAP if leaps else self.vy) + GRAVITY, FALL)
        if any(solid(tiles, self.x + self.vx + side, self.y + part) for side in SIDES for part in PARTS):
            self.vx = 0.0
        self.x += self.vx
        y = self.y + self.vy
        edge = y + HEIGHT if self.vy >= 0 else y
        self.ground = False
        if any(solid(tiles, self.x + side, edge) for side in SIDES):
            self.ground = self.vy >= 0
            y = edge // TILE * TILE - HEIGHT if self.ground else self.y
            self.vy = 0.0
        self.y = y
        return leaps


SIDES = (-WIDTH / 2, WIDTH / 2 - 1)
PARTS = (2, HEIGHT / 2, HEIGHT - 1)


def solid(tiles: np.ndarray, x: float, y: float) -> bool:
    """Whether one cannot be at a place: a tile to stand on, or the level's end at either side."""
    column, row = int(x // TILE), int(y // TILE)
    if not 0 <= column < COLUMNS:
        return True
    return 0 <= row < ROWS and tiles.item(row, column) in SOLID
