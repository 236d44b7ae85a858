"""What an image processor gives, and what all processors share."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from ..errors import MlxworldError
from ..files.reading import shown
from .pixels import BY_NUMBER, CLIP_MEAN, CLIP_STD, Filter

LONGEST = 1 << 14  # side of a square, pixels
Piece = str | int  # text, or so many tokens that pictures fill


@dataclass(frozen=True)
class Prepared:
    """Pictures as a model takes them: `arrays` and `layout` by the names that the model gives them.

    pieces: for each picture what stands in the prompt in its place.
    """

    arrays: dict[str, np.ndarray]
    layout: tuple[tuple[int, ...], ...]
    pieces: list[tuple[Piece, ...]]

    @property
    def tokens(self) -> list[int]:
        """How many tokens of the prompt each picture fills."""
        return [sum(piece for piece in pieces if isinstance(piece, int)) for pieces in self.pieces]


def joined(pieces: Sequence[Piece]) -> tuple[Piece, ...]:
    """Pieces whose texts that follow each other are one."""
    done: list[Piece] = []
    for piece in pieces:
        last = done[-1] if done else None
        if isinstance(piece, str) and isinstance(last, str):
            done[-1] = last + piece
        else:
            done.append(piece)
    return tuple(done)


class Processor(Protocol):
    @property
    def placeholder(self) -> str:
        """What a prompt writes where a picture is."""
        ...

    def __call__(self, pictures: Sequence[np.ndarray]) -> Prepared:
        """Pictures uint8 (H, W, 3), at least one. Raises MlxworldError for one of a shape that the model cannot see."""
        ...


@dataclass(frozen=True)
class Look:
    """How pixels become numbers."""

    how: Filter = "bicubic"
    mean: tuple[float, ...] = CLIP_MEAN
    std: tuple[float, ...] = CLIP_STD

    @classmethod
    def of(cls, settings: Mapping[str, Any], **defaults: Any) -> "Look":
        """From a preprocessor's published settings, and what holds where those say nothing."""
        look = cls(**defaults)
        how = settings.get("resample")
        if how is not None and how not in BY_NUMBER:
            raise ValueError(f"resample {how} is not read")
        mean, std = (
            tuple(map(float, settings.get(f"image_{n}") or d)) for n, d in (("mean", look.mean), ("std", look.std))
        )
        if not all(len(x) == 3 and all(map(math.isfinite, x)) for x in (mean, std)) or min(std) <= 0:
            raise ValueError(f"no three numbers: image_mean {mean}, image_std {std}")
        return cls(look.how if how is None else BY_NUMBER[how], mean, std)


def between(least: int, value: Any, most: int, name: str) -> int:
    """A setting as a whole number. Raises MlxworldError unless it is one of least .. most."""
    if not isinstance(value, int | float) or not least <= value <= most or int(value) != value:
        raise MlxworldError(f"the image processor's {name} is {shown(value)}: {least} to {most} are read")
    return int(value)


def side(size: Any, source: str = "size") -> int:
    """The side of a square, from what configurations give for one."""
    numbers = [size] if isinstance(size, int) else size
    if isinstance(size, dict):
        numbers = [size[name] for name in ("shortest_edge", "height", "width") if name in size]
    numbers = list(numbers) if isinstance(numbers, list | tuple) else []
    if not numbers or any(n != numbers[0] or not isinstance(n, int) or not 1 <= n <= LONGEST for n in numbers):
        raise MlxworldError(f"the image processor's {source} is no square of at most {LONGEST} pixels: {shown(size)}")
    return numbers[0]
