"""A picture on a page of tiles, white above and below, and the page again, small: Phi-3-Vision (Abdin et al. 2024)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from . import pixels
from .prepared import Look, Prepared


@dataclass(frozen=True)
class Pages:
    most: int = 16  # tiles of a page
    side: int = 336
    grid: int = 12  # tokens along the side of a tile
    placeholder: str = "<|image_{}|>"  # numbered from 1
    look: Look = field(default_factory=lambda: Look("bilinear"))

    def __call__(self, pictures: Sequence[np.ndarray]) -> Prepared:
        tiles, layout, pieces = [], [], []
        for picture in pictures:
            page = pixels.normalised(self.page(picture), self.look.mean, self.look.std)
            h, w = page.shape[0] // self.side, page.shape[1] // self.side
            tiles += [pixels.bicubic_plain(page, (self.side, self.side))[None], pixels.cut(page, h, w)]
            layout.append((h, w))
            pieces.append(((h * w + 1) * self.grid**2 + 1 + (h + 1) * self.grid,))
        return Prepared({"pixels": np.concatenate(tiles)}, tuple(layout), pieces)

    def page(self, picture: np.ndarray) -> np.ndarray:
        """uint8 (H, W, 3) -> as wide as so many tiles as fit, at its own ratio; a tall picture as if lying."""
        tall = picture.shape[1] < picture.shape[0]
        x = picture.swapaxes(0, 1) if tall else picture
        ratio, tiles = x.shape[1] / x.shape[0], 1
        while (tiles + 1) * math.ceil((tiles + 1) / ratio) <= self.most:
            tiles += 1
        width = tiles * self.side
        height = max(1, int(width / ratio))
        x = pixels.resize(np.ascontiguousarray(x), (height, width), self.look.how)
        page = -(-height // self.side) * self.side
        x = pixels.padded(x, (page, width), ((page - height) // 2, 0), 255)
        return np.ascontiguousarray(x.swapaxes(0, 1)) if tall else x
