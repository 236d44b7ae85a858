"""A picture stretched to the grid of tiles that is nearest to its ratio, and a thumbnail: InternVL (Chen et al. 2024)
and NVLM (Dai et al. 2024), which names each tile in the prompt."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from . import pixels
from .prepared import Look, Piece, Prepared


@dataclass(frozen=True)
class DynamicTiles:
    side: int = 448
    tokens: int = 256  # of a tile
    least: int = 1  # tiles
    most: int = 12
    tags: bool = False  # <tile_1> .. <tile_global_thumbnail> before the tiles' tokens
    around: tuple[str, str] = ("<img>", "</img>")
    placeholder: str = "<image>"
    look: Look = field(default_factory=lambda: Look("bicubic", pixels.IMAGENET_MEAN, pixels.IMAGENET_STD))

    def __call__(self, pictures: Sequence[np.ndarray]) -> Prepared:
        tiles, pieces = [], []
        for picture in pictures:
            parts = self.tiles(picture)
            tiles.append(parts)
            pieces.append(self._pieces(len(parts)))
        x = pixels.normalised(np.concatenate(tiles), self.look.mean, self.look.std)
        return Prepared({"pixels": x}, (), pieces)

    def tiles(self, picture: np.ndarray) -> np.ndarray:
        """uint8 (H, W, 3) -> (n, side, side, 3); of more than one tile the thumbnail is the last."""
        h, w = picture.shape[:2]
        rows, columns = nearest_grid(h, w, self.side, self.least, self.most)
        x = pixels.resize(picture, (rows * self.side, columns * self.side), self.look.how)
        tiles = pixels.cut(x, rows, columns)
        if len(tiles) == 1:
            return tiles
        return np.concatenate([tiles, pixels.resize(picture, (self.side, self.side), self.look.how)[None]])

    def _pieces(self, tiles: int) -> tuple[Piece, ...]:
        before, after = self.around
        if not self.tags:
            return (before, tiles * self.tokens, after)
        names = [*(f"<tile_{i}>" for i in range(1, tiles)), "<tile_global_thumbnail>"]  # which a single tile is too
        pieces: list[Piece] = [piece for name in names for piece in (name, self.tokens)]
        return (before + str(pieces[0]), *pieces[1:], after)


def nearest_grid(h: int, w: int, side: int, least: int, most: int) -> tuple[int, int]:
    """(rows, columns) of tiles whose ratio is nearest to the picture's; of equals the larger, if the picture has more
    than half its pixels."""
    grids = [(c, r) for c in range(1, most + 1) for r in range(1, most + 1) if least <= c * r <= most]
    best, least_off = (1, 1), float("inf")
    for columns, rows in sorted(grids, key=lambda grid: grid[0] * grid[1]):
        off = abs(w / h - columns / rows)
        if off < least_off or (off == least_off and h * w > 0.5 * side * side * columns * rows):
            best, least_off = (rows, columns), off
    return best
