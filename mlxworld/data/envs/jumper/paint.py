"""Jumper's pictures: the level once as a strip, then a part of it with what moves."""

import functools
import io
from importlib import resources

import numpy as np

from ....errors import MlxworldError
from .level import COLUMNS, CRATE, EARTH, GRASS, LAVA, ROWS, TILE, Level

SIZE = 128
SKY = ((150, 205, 240), (215, 238, 250))  # above, below
WIDE, HIGH = 18, 24  # of the player
POSES = ("idle", "jump", "fall", *(f"walk{i}" for i in range(8)))
HEART = np.array([[0, 1, 0, 1, 0], [1, 1, 1, 1, 1], [1, 1, 1, 1, 1], [0, 1, 1, 1, 0], [0, 0, 1, 0, 0]], bool)
RED = (220, 40, 60)


@functools.cache
def sprites() -> dict[str, np.ndarray]:
    """Every picture (height, width, 4) float32, alpha in [0, 1]."""
    from PIL import Image

    file = resources.files("mlxworld.data.envs.jumper").joinpath("assets", "sprites.png")
    try:
        sheet = np.asarray(Image.open(io.BytesIO(file.read_bytes())).convert("RGBA")).astype(np.float32)
    except OSError as error:
        raise MlxworldError(f"jumper's pictures cannot be read ({error})") from error
    sheet[..., 3] /= 255
    tiles = ("grass", "earth", "crate", "lava", "coin", "slime0", "slime1")
    small = {name: sheet[:TILE, TILE * i : TILE * (i + 1)] for i, name in enumerate(tiles)}
    return small | {name: sheet[TILE : TILE + HIGH, WIDE * i : WIDE * (i + 1)] for i, name in enumerate(POSES)}


def paste(canvas: np.ndarray, sprite: np.ndarray, x: float, y: float) -> None:
    """Draws a sprite with its corner at a place; what lies outside the canvas (H, W, 3) is left out."""
    (H, W), (h, w), (x, y) = canvas.shape[:2], sprite.shape[:2], (int(np.floor(x)), int(np.floor(y)))
    top, left, bottom, right = max(0, y), max(0, x), min(H, y + h), min(W, x + w)
    if top < bottom and left < right:
        part, seen = sprite[top - y : bottom - y, left - x : right - x], canvas[top:bottom, left:right]
        seen += part[..., 3:] * (part[..., :3] - seen)


def strip(level: Level) -> np.ndarray:
    """The level's sky and tiles (SIZE, COLUMNS * TILE, 3) float32."""
    canvas = np.empty((SIZE, COLUMNS * TILE, 3), np.float32)
    canvas[:] = np.linspace(*SKY, SIZE)[:, None]
    names = {GRASS: "grass", EARTH: "earth", CRATE: "crate", LAVA: "lava"}
    for row in range(ROWS):
        for column in np.flatnonzero(level.tiles[row]).tolist():
            paste(canvas, sprites()[names[int(level.tiles[row, column])]], column * TILE, row * TILE)
    return canvas


def hearts(canvas: np.ndarray, lives: int) -> None:
    """The lives that are left, at the upper left."""
    for i in range(lives):
        canvas[4:9, 4 + 7 * i : 9 + 7 * i][HEART] = RED
