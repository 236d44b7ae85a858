"""A picture at its own ratio in the corner of a canvas of a few tiles: Llama 3.2 Vision (Grattafiori et al. 2024)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from . import pixels
from .prepared import Look, Prepared


@dataclass(frozen=True)
class Canvas:
    side: int = 560
    most: int = 4  # tiles
    placeholder: str = "<|image|>"
    look: Look = field(default_factory=lambda: Look("bilinear", pixels.HALF, pixels.HALF))

    def __call__(self, pictures: Sequence[np.ndarray]) -> Prepared:
        n, side = len(pictures), self.side
        x = np.zeros((n, self.most, side, side, 3), np.float32)
        mask, ids, shapes = np.zeros((n, self.most), np.float32), np.zeros(n, np.int32), self.shapes()
        for i, picture in enumerate(pictures):
            h, w = picture.shape[:2]
            rows, columns = best_canvas(h, w, side, shapes)
            H, W = rows * side, columns * side
            size = fitted(h, w, H, W, side)
            page = pixels.padded(pixels.resize(picture, size, self.look.how), (H, W), (0, 0))
            x[i, : rows * columns] = pixels.cut(pixels.normalised(page, self.look.mean, self.look.std), rows, columns)
            mask[i, : rows * columns], ids[i] = 1, 1 + shapes.index((rows, columns))
        arrays = {"pixels": x, "shape_ids": ids, "tile_mask": mask}
        return Prepared(arrays, tuple((int(m.sum()),) for m in mask), [(1,)] * n)

    def shapes(self) -> list[tuple[int, int]]:
        """All (rows, columns) of tiles, in the order of their numbers, from 1."""
        sides = range(1, self.most + 1)
        return [(a, b) for a in sides for b in sides if a * b <= self.most]


def best_canvas(h: int, w: int, side: int, shapes: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """(rows, columns) of the canvas that enlarges a picture least, or shrinks it least if none holds it; of equals the
    smaller one."""
    scale = {shape: min(shape[0] * side / h, shape[1] * side / w) for shape in shapes}
    larger = [s for s in scale.values() if s >= 1]
    chosen = min(larger) if larger else max(scale.values())
    return min((shape for shape in shapes if scale[shape] == chosen), key=lambda shape: shape[0] * shape[1])


def fitted(h: int, w: int, H: int, W: int, side: int) -> tuple[int, int]:
    """The size of a picture on its canvas: not enlarged beyond a tile."""
    width, height = min(max(w, side), W), min(max(h, side), H)
    if width / w < height / h:
        return min(math.floor(h * (width / w)) or 1, height), width
    return height, min(math.floor(w * (height / h)) or 1, width)
