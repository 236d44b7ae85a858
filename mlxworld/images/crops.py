"""A picture whole, and again in crops that overlap: Molmo (Deitke et al. 2024)."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from . import pixels
from .prepared import Look, Piece, Prepared


@dataclass(frozen=True)
class Crops:
    most: int = 12  # crops
    margins: tuple[int, int] = (4, 4)  # patches that a crop shares with those before and after it
    side: int = 336
    patch: int = 14
    placeholder: str = "<image>"
    look: Look = field(default_factory=lambda: Look("bilinear"))

    def __call__(self, pictures: Sequence[np.ndarray]) -> Prepared:
        x, shown, order, pieces = [], [], [], []
        for picture in pictures:
            tiles, visible, places, tiling = self.crops(picture)
            order.append(self._order(places) + sum(map(len, x)) * self._tokens**2)
            x.append(tiles)
            shown.append(visible)
            pieces.append(self._pieces(*tiling))
        arrays = {"pixels": np.concatenate(x), "shown": np.concatenate(shown), "order": np.concatenate(order)}
        return Prepared(arrays, (), pieces)

    @property
    def _tokens(self) -> int:
        """Along the side of a crop: two patches each."""
        return (self.side // self.patch + 1) // 2

    @property
    def _window(self) -> int:
        """Patches along a crop that are its own."""
        return self.side // self.patch - sum(self.margins)

    def crops(self, picture: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, tuple[int, int]]:
        """uint8 (H, W, 3) -> float32 (1 + n, side, side, 3), the whole first; how much of each patch is picture
        (1 + n, patches); the place in the prompt of each token of the crops (n, tokens, tokens), -1 for none; rows and
        columns of crops."""
        step, border = self._window * self.patch, sum(self.margins) * self.patch
        h, w = picture.shape[:2]
        rows, columns = best_tiling(h - border, w - border, step, self.most)
        page, inside = self._fitted(picture, (rows * step + border, columns * step + border))
        corners = [(i * step, j * step) for i in range(rows) for j in range(columns)]
        tiles = [page[y : y + self.side, x : x + self.side] for y, x in corners]
        masks = [inside[y : y + self.side, x : x + self.side] for y, x in corners]
        whole, _ = self._fitted(picture, (self.side, self.side))
        n, p = self.side // self.patch, self.patch
        part = np.stack(masks).reshape(-1, n, p, n, p).astype(np.float32).mean(axis=(2, 4)).reshape(-1, n * n)
        shown = np.concatenate([part, np.full((1, n * n), -1, np.float32)])  # as published: the whole's row comes last
        return np.stack([whole, *tiles]), shown, self._places(rows, columns), (rows, columns)

    def _fitted(self, picture, size):
        """The picture as large as it fits in the middle of a page, normalised after it is padded with black; and where
        on the page it is."""
        (h, w), (H, W) = picture.shape[:2], size
        scale = min(np.float32(H) / np.float32(h), np.float32(W) / np.float32(w))
        height, width = max(1, int(np.float32(h) * scale)), max(1, int(np.float32(w) * scale))
        x = pixels.resize_float(picture.astype(np.float32) / 255, (height, width), self.look.how).clip(0, 1)
        top, left = (H - height) // 2, (W - width) // 2
        inside = np.zeros(size, bool)
        inside[top : top + height, left : left + width] = True
        return pixels.standard(pixels.padded(x, size, (top, left)), self.look.mean, self.look.std), inside

    def _places(self, rows, columns):
        """Where the tokens of the crops stand in the prompt: as one grid without the overlaps, row by row."""
        n, before = self._tokens, self.margins[0] // 2
        spans = [[self._span(i, count) for i in range(count)] for count in (rows, columns)]
        places = np.full((rows, columns, n, n), -1)
        width = sum(size for size in spans[1])
        for i, high in enumerate(spans[0]):
            for j, wide in enumerate(spans[1]):
                top, left = before * (i > 0), before * (j > 0)
                y = sum(spans[0][:i]) + np.arange(high)
                x = sum(spans[1][:j]) + np.arange(wide)
                places[i, j, top : top + high, left : left + wide] = y[:, None] * width + x
        return places.reshape(-1, n, n)

    def _span(self, i, count):
        """Tokens along crop number i of `count` that are in the prompt: with a margin at the picture's ends."""
        return (self._window + self.margins[0] * (i == 0) + self.margins[1] * (i == count - 1) + 1) // 2

    def _order(self, places):
        """Which of the tokens, crop by crop, stands in each place of the prompt: the whole's first."""
        first = self._tokens**2
        flat = places.reshape(-1)
        order = np.zeros(flat.max() + 1, np.int32)
        order[flat[flat >= 0]] = first + np.nonzero(flat >= 0)[0]
        return np.concatenate([np.arange(first, dtype=np.int32), order])

    def _pieces(self, rows, columns) -> tuple[Piece, ...]:
        high, wide = ((n * self._window + sum(self.margins) + 1) // 2 for n in (rows, columns))
        pieces: list[Piece] = []
        for lines, width in ((self._tokens, self._tokens), (high, wide)):
            pieces += ["<im_start>", *(width, "<im_col>") * lines]
            pieces[-1] = "<im_col><im_end>"
        joint = pieces.index("<im_col><im_end>")
        return (*pieces[:joint], "<im_col><im_end><im_start>", *pieces[joint + 2 :])


def best_tiling(h: int, w: int, side: int, most: int) -> tuple[int, int]:
    """(rows, columns) of crops that enlarge a picture least, or shrink it least if all shrink it."""
    tilings = [(i, j) for i in range(1, most + 1) for j in range(1, most + 1) if i * j <= most]
    tilings.sort(key=lambda tiling: (tiling[0] * tiling[1], tiling[0]))
    with np.errstate(divide="ignore"):
        scales = (np.array(tilings, np.int32) * side).astype(np.float32) / np.array([h, w], np.float32)
    scales = scales.min(axis=1)
    if (scales < 1).all():
        return tilings[int(scales.argmax())]
    return tilings[int(np.where(scales < 1, 10e9, scales).argmin())]
