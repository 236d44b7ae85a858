"""A picture stretched to a square, and a long one again in a few squares along its length: Gemma 3 (2025)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from . import pixels
from .prepared import Look, Piece, Prepared


@dataclass(frozen=True)
class PanAndScan:
    side: int = 896
    tokens: int = 256  # of a square
    most: int = 0  # crops of a picture; 0: none
    smallest: int = 256  # side of a crop, pixels
    ratio: float = 1.2  # of a picture's sides, from which it is cropped
    placeholder: str = "<start_of_image>"
    look: Look = field(default_factory=lambda: Look("bilinear", pixels.HALF, pixels.HALF))

    def __call__(self, pictures: Sequence[np.ndarray]) -> Prepared:
        squares, pieces = [], []
        for picture in pictures:
            parts = crops(picture, self.most, self.smallest, self.ratio)
            squares += [picture, *parts]
            pieces.append(self._pieces(len(parts)))
        x = np.stack([pixels.resize(x, (self.side, self.side), self.look.how) for x in squares])
        return Prepared({"pixels": pixels.normalised(x, self.look.mean, self.look.std)}, (), pieces)

    def _pieces(self, crops: int) -> tuple[Piece, ...]:
        one: tuple[Piece, ...] = ("\n\n<start_of_image>", self.tokens, "<end_of_image>\n\n")
        if not crops:
            return one
        more = [piece for i in range(crops) for piece in ((" ",) if i else ()) + one]
        told = ("Here is the original image ", *one, " and here are some crops to help you see better ", *more)
        return _joined(told)


def _joined(pieces: Sequence[Piece]) -> tuple[Piece, ...]:
    """Texts that follow each other as one."""
    joined: list[Piece] = []
    for piece in pieces:
        last = joined[-1] if joined else None
        if isinstance(piece, str) and isinstance(last, str):
            joined[-1] = last + piece
        else:
            joined.append(piece)
    return tuple(joined)


def crops(picture: np.ndarray, most: int, smallest: int, ratio: float) -> list[np.ndarray]:
    """The parts of a long picture, side by side along its length; none of a short one."""
    length, breadth = max(picture.shape[:2]), min(picture.shape[:2])
    if not most or length / breadth < ratio:
        return []
    n = min(math.floor(length / breadth + 0.5), length // smallest)
    n = min(max(2, n), most)
    step = math.ceil(length / n)
    if min(step, breadth) < smallest:
        return []
    wide = picture.shape[1] >= picture.shape[0]
    return [picture[:, i : i + step] if wide else picture[i : i + step] for i in range(0, step * n, step)]
