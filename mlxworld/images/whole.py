"""A picture as one square: CLIP, LLaVA-1.5, SigLIP, DINOv2, BiomedCLIP, idefics."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from . import pixels
from .prepared import Look, Piece, Prepared


@dataclass(frozen=True)
class Whole:
    side: int  # pixels of the square
    pieces: tuple[Piece, ...] = ()
    placeholder: str = "<image>"
    look: Look = field(default_factory=Look)
    edge: int = 0  # the shorter side is resized to it, then the middle is cut out; 0: the picture is stretched
    square: bool = False  # first made square with borders of the mean colour
    rounded: bool = False  # the middle as torchvision has it, see pixels.centre

    def __call__(self, pictures: Sequence[np.ndarray]) -> Prepared:
        x = np.stack([self.one(picture) for picture in pictures])
        return Prepared({"pixels": x}, (), [self.pieces] * len(pictures))

    def one(self, x: np.ndarray) -> np.ndarray:
        """uint8 (H, W, 3) -> float32 (side, side, 3)."""
        look = self.look
        if self.square:
            h, w = x.shape[:2]
            n, colour = max(h, w), np.array([int(c * 255) for c in look.mean], np.uint8)
            page = np.broadcast_to(colour, (n, n, 3)).copy()
            top, left = (n - h) // 2, (n - w) // 2
            page[top : top + h, left : left + w] = x
            x = page
        size = pixels.shortest_edge(x, self.edge) if self.edge else (self.side, self.side)
        x = pixels.resize(x, size, look.how)
        x = pixels.centre(x, (self.side, self.side), self.rounded) if self.edge else x
        return pixels.normalised(x, look.mean, look.std)
