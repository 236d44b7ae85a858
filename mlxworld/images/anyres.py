"""A picture whole, and again in tiles of the best of a few pages: LLaVA-NeXT (Liu et al. 2024)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from . import pixels
from .prepared import Look, Prepared


@dataclass(frozen=True)
class AnyRes:
    side: int  # pixels of a tile
    grid: int  # tokens along the side of a tile
    pages: tuple[tuple[int, int], ...] = ((336, 672), (672, 336), (672, 672), (1008, 336), (336, 1008))  # height, width
    placeholder: str = "<image>"
    look: Look = field(default_factory=Look)
    class_token: bool = False  # whether the whole picture's class token is among its tokens

    def __call__(self, pictures: Sequence[np.ndarray]) -> Prepared:
        tiles, layout, pieces = [], [], []
        for picture in pictures:
            h, w = picture.shape[:2]
            page = best_page(h, w, self.pages)
            rows, columns = page[0] // self.side, page[1] // self.side
            top, bottom, left, right = shown(h, w, rows * self.grid, columns * self.grid)
            whole = pixels.resize(picture, (self.side, self.side), self.look.how)
            tiles += [whole[None], pixels.cut(self._on_page(picture, page), rows, columns)]
            layout.append((rows, columns, top, bottom, left, right))
            pieces.append((self.grid**2 + self.class_token + (bottom - top) * (right - left + 1),))
        x = pixels.normalised(np.concatenate(tiles), self.look.mean, self.look.std)
        return Prepared({"pixels": x}, tuple(layout), pieces)

    def _on_page(self, picture, page):
        """The picture as large as it fits, in the middle of a black page."""
        (h, w), (H, W) = picture.shape[:2], page
        wide = W / w < H / h
        size = (min(math.ceil(h * (W / w)), H), W) if wide else (H, min(math.ceil(w * (H / h)), W))
        x = pixels.resize(picture, size, self.look.how)
        return pixels.padded(x, page, ((H - size[0]) // 2, (W - size[1]) // 2))


def best_page(h: int, w: int, pages: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """The page (H, W) that shows most of a picture's own pixels, and of those that wastes least."""

    def worth(page):
        H, W = page
        scale = min(W / w, H / h)
        effective = min(int(w * scale) * int(h * scale), w * h)
        return effective, effective - H * W

    return max(pages, key=worth)  # of equals the first


def shown(h: int, w: int, H: int, W: int) -> tuple[int, int, int, int]:
    """Of a page of H x W tokens with an (h, w) picture in its middle: the rows and columns that are not all border."""
    if w / h > W / H:
        border = (H - int(round(h * (W / w), 7))) // 2
        return border, H - border, 0, W
    border = (W - int(round(w * (H / h), 7))) // 2
    return 0, H, border, W - border
