"""Pictures and films at their own ratio, in patches: Qwen2-VL (Wang et al. 2024)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from . import pixels
from .prepared import Look, Piece, Prepared


@dataclass(frozen=True)
class Grids:
    least: int = 56 * 56  # pixels of a picture
    most: int = 28 * 28 * 1280
    least_of_film: int = 128 * 28 * 28  # pixels of a frame
    most_of_film: int = 768 * 28 * 28
    budget: float = 0.9 * 128000  # tokens of a film
    patch: int = 14
    merge: int = 2  # patches along the side of a token
    frames: int = 2  # of a patch
    placeholder: str = "<|image_pad|>"
    placeholder_of_film: str = "<|video_pad|>"
    look: Look = field(default_factory=Look)

    def __call__(self, pictures: Sequence[np.ndarray]) -> Prepared:
        films = [self._patches(picture[None], self.least, self.most) for picture in pictures]
        return self._prepared(films)

    def video(self, film: np.ndarray) -> Prepared:
        """uint8 frames (T, H, W, 3), in pairs; the last of an odd number is shown twice. The more frames, the smaller
        they are: a film has a budget of pixels, as in the authors' own reader of films."""
        share = int(self.budget * (self.patch * self.merge) ** 2) * self.frames // len(film)
        most = max(min(self.most_of_film, share), int(self.least_of_film * 1.05))
        return self._prepared([self._patches(film, self.least_of_film, most)])

    def _prepared(self, films):
        layout = tuple(grid for _, grid in films)
        tokens: list[tuple[Piece, ...]] = [(math.prod(grid) // self.merge**2,) for grid in layout]
        return Prepared({"pixels": np.concatenate([x for x, _ in films])}, layout, tokens)

    def _patches(self, film, least, most):
        """Patches in reading order (t * h * w, frames * patch * patch * 3) and their grid (t, h, w)."""
        h, w = film.shape[1:3]
        H, W = smart_size(h, w, self.patch * self.merge, least, most)
        frames = [pixels.resize(frame, (H, W), self.look.how) for frame in film]
        frames += frames[-1:] * (-len(frames) % self.frames)
        x = pixels.normalised(np.stack(frames), self.look.mean, self.look.std)
        t, h, w, p = len(x) // self.frames, H // self.patch, W // self.patch, self.patch
        x = x.reshape(t, self.frames, h, p, w, p, 3).transpose(0, 2, 4, 1, 3, 5, 6)
        return x.reshape(t * h * w, -1), (t, h, w)


def smart_size(h: int, w: int, unit: int, least: int, most: int) -> tuple[int, int]:
    """The size nearest to (h, w) whose sides are multiples of `unit` and which has `least` to `most` pixels."""
    pixels.require_ratio(h, w)
    H, W = round(h / unit) * unit, round(w / unit) * unit
    area = H * W
    if area > most:
        scale = math.sqrt(h * w / most)
        return max(unit, math.floor(h / scale / unit) * unit), max(unit, math.floor(w / scale / unit) * unit)
    if area < least:
        scale = math.sqrt(least / (h * w))
        return math.ceil(h * scale / unit) * unit, math.ceil(w * scale / unit) * unit
    return H, W
