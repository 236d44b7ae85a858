"""In which order a decoder reads the tokens of pictures: tiles in their places, without padding, ends of rows marked.

x (tiles of all pictures, h, w, D) -> (tokens of all pictures, D). `layout` has plain numbers for each picture, from the
image processor: see `mlxworld/images`.
"""

from collections.abc import Sequence

from ... import ops
from ..arrays import Array


def plain(x: Array) -> Array:
    """Tile by tile, row by row."""
    return x.reshape(-1, x.shape[-1])


def page(tiles: Array, rows: int, columns: int) -> Array:
    """tiles (rows * columns, h, w, D), row by row -> one grid (rows * h, columns * w, D)."""
    _, h, w, D = tiles.shape
    return tiles.reshape(rows, columns, h, w, D).swapaxes(1, 2).reshape(rows * h, columns * w, D)


def lines(grid: Array, end: Array) -> Array:
    """grid (h, w, D) with a token `end` (D,) after each row: (h * (w + 1), D)."""
    h, _, D = grid.shape
    return ops.concat([grid, ops.broadcast_to(end, (h, 1, D))], axis=1).reshape(-1, D)


def anyres(x: Array, layout: Sequence[Sequence[int]], newline: Array) -> Array:
    """LLaVA-NeXT: the whole picture, then its tiles as one grid, rows and columns of padding cut off, lines ended.

    layout: (rows, columns) of tiles, then the first and the last row, the first and the last column that stay.
    """
    tokens, first = [], 0
    for rows, columns, top, bottom, left, right in layout:
        tokens.append(plain(x[first : first + 1]))
        grid = page(x[first + 1 : first + 1 + rows * columns], rows, columns)[top:bottom, left:right]
        tokens.append(lines(grid, newline))
        first += 1 + rows * columns
    return ops.concat(tokens, axis=0)


def pages(x: Array, layout: Sequence[Sequence[int]], newline: Array, separator: Array) -> Array:
    """Phi-3-Vision: a page of tiles with ended lines, a separator, the whole picture with ended lines. The whole is the
    first tile of x. layout: (rows, columns) of tiles."""
    tokens, first = [], 0
    for rows, columns in layout:
        tokens.append(lines(page(x[first + 1 : first + 1 + rows * columns], rows, columns), newline))
        tokens.append(separator[None])
        tokens.append(lines(x[first], newline))
        first += 1 + rows * columns
    return ops.concat(tokens, axis=0)
