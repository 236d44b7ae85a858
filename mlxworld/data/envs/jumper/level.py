"""A level: ground in steps, lava in the gaps, crates to stand on, coins, and slimes that walk."""

from dataclasses import dataclass

import numpy as np

ROWS, COLUMNS, TILE = 8, 200, 16  # of a level; pixels of a tile
EMPTY, GRASS, EARTH, CRATE, LAVA = range(5)
WIDEST = 3  # columns of a gap
SLIMES = 40  # of a level at most
HIGHEST = 4  # rows of ground


@dataclass(frozen=True)
class Level:
    """tiles (ROWS, COLUMNS), the coins' tiles (C, 2) as column and row, and slimes (S, 4): x, y, and the left and right
    end of their walk, pixels."""

    tiles: np.ndarray
    coins: np.ndarray
    slimes: np.ndarray


def draw_level(rng: np.random.Generator) -> Level:
    """A level in which each step and each gap can be jumped: ground is three columns or more, a step one row, a gap
    three columns at most, and no crate hangs over the last three columns of a piece of ground, where one jumps off."""
    tiles = np.zeros((ROWS, COLUMNS), np.int8)
    coins: list[tuple[int, int]] = []
    slimes: list[tuple[float, ...]] = []
    column, height = 0, 2
    while column < COLUMNS:
        length, far = int(rng.integers(3, 9)), column > 6
        if far and column < COLUMNS - 2 * WIDEST - 3 and rng.random() < 0.3:
            gap = int(rng.integers(1, WIDEST + 1))
            tiles[ROWS - 1, column : column + gap] = LAVA
            column += gap
        height = int(np.clip(height + rng.integers(-1, 2), 1, HIGHEST))
        top, columns = ROWS - height, range(column, min(column + length, COLUMNS))
        tiles[top, columns.start : columns.stop] = GRASS
        tiles[top + 1 :, columns.start : columns.stop] = EARTH
        if far and length > 4 and height < HIGHEST and rng.random() < 0.6:
            crates = columns[1 : 1 + int(rng.integers(1, length - 3))]
            tiles[top - 3, crates.start : crates.stop] = CRATE
            coins += [(c, top - 4) for c in crates]
        elif rng.random() < 0.6:
            coins += [(c, top - 1) for c in columns if rng.random() < 0.5]
        if far and length > 4 and len(columns) == length and rng.random() < 0.6 and len(slimes) < SLIMES:
            left = column * TILE
            slimes.append((left + 2.0 * TILE, (top - 1) * TILE, left, left + (length - 1) * TILE))
        column += length
    return Level(tiles, np.array(coins).reshape(-1, 2), np.array(slimes, float).reshape(-1, 4))
