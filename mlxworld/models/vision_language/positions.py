"""Learned positions of a square grid of patches, read at another size: a matrix for each axis, from plain numbers.

Published models answer in three ways, and differ by up to 1e-2:

    bicubic     cubic convolution of a = -0.75, samples at (i + 1/2) old / new - 1/2       transformers' DINOv2
    offset      the same, at (i + 1/2) old / (new + 0.1) - 1/2                             the DINO authors' code
    antialias   a = -0.5, the kernel widened where the grid shrinks                        timm
"""

import functools
import math


@functools.lru_cache(maxsize=64)
def resampling(old: int, new: int, kind: str) -> list[list[float]]:
    """A matrix (new, old): what each new position takes of the old ones."""
    if kind == "antialias":
        return [_antialiased(i, old, new) for i in range(new)]
    scale = old / (new + (0.1 if kind == "offset" else 0))
    rows = []
    for i in range(new):
        place = (i + 0.5) * scale - 0.5
        row, first = [0.0] * old, math.floor(place) - 1
        for j in range(first, first + 4):
            row[min(max(j, 0), old - 1)] += _cubic(place - j, -0.75)  # beyond the edge: the edge again
        rows.append(row)
    return rows


def _antialiased(i: int, old: int, new: int) -> list[float]:
    scale = old / new
    widened = max(scale, 1.0)
    centre = (i + 0.5) * scale
    first, last = max(int(centre - 2 * widened + 0.5), 0), min(int(centre + 2 * widened + 0.5), old)
    row = [_cubic((j - centre + 0.5) / widened, -0.5) if first <= j < last else 0.0 for j in range(old)]
    return [x / sum(row) for x in row]


def _cubic(x: float, a: float) -> float:
    """The kernel of cubic convolution (Keys 1981)."""
    x = abs(x)
    if x <= 1:
        return ((a + 2) * x - (a + 3)) * x * x + 1
    return (((x - 5) * x + 8) * x - 4) * a if x < 2 else 0.0
