"""Pixels: read, resized, cut and normalised as the published image processors do. uint8 or float32 (H, W, 3).

Resampling is Pillow's, whose filters widen where a picture shrinks; but for `bicubic_plain`, which is torch's.
"""

import os
from typing import BinaryIO, Literal

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from ..errors import MlxworldError

Filter = Literal["nearest", "lanczos", "bilinear", "bicubic"]
_FILTERS = {name: Image.Resampling[name.upper()] for name in ("nearest", "lanczos", "bilinear", "bicubic")}
BY_NUMBER: dict[int, Filter] = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}  # as configurations say it

CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
HALF = (0.5, 0.5, 0.5)
THINNEST = 200


def read(file: str | os.PathLike | BinaryIO) -> np.ndarray:
    """A picture file, by its path or open, as it is shown: uint8 (H, W, 3); of 16 bits the upper 8, and transparency is
    left out.

    Raises MlxworldError for one that is absent, broken, no picture, or whose numbers have no scale.
    """
    name = os.fspath(file) if isinstance(file, str | os.PathLike) else "the picture"
    try:
        with Image.open(file) as image:
            shown = ImageOps.exif_transpose(image)
            if shown.mode in ("I", "F"):
                raise MlxworldError(f"{name}: its pixels are numbers of 32 bits, of which none is white")
            if shown.mode.startswith("I;16"):  # which Pillow would cut at 255
                return np.repeat((np.array(shown).astype(np.uint16) >> 8).astype(np.uint8)[..., None], 3, axis=2)
            has_alpha = shown.mode == "P" and "transparency" in shown.info
            return np.array((shown.convert("RGBA") if has_alpha else shown).convert("RGB"))
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        reason = "is no picture that can be read" if isinstance(error, UnidentifiedImageError) else error
        raise MlxworldError(f"{name}: {reason}") from None


def require(picture: np.ndarray) -> None:
    """Raises MlxworldError for what is no picture uint8 (H, W, 3), and no film (T, H, W, 3), of a pixel at least."""
    shape = getattr(picture, "shape", None)
    if shape is None or picture.dtype != np.uint8 or len(shape) not in (3, 4) or shape[-1] != 3 or not picture.size:
        what = type(picture).__name__ if shape is None else f"{picture.dtype} {tuple(shape)}"
        raise MlxworldError(f"a picture is uint8 (height, width, 3), a film has an axis of frames before, not {what}")


def resize(picture: np.ndarray, size: tuple[int, int], how: Filter) -> np.ndarray:
    """uint8 (H, W, 3) -> size (h, w)."""
    return np.array(Image.fromarray(picture).resize((size[1], size[0]), _FILTERS[how]))


def resize_float(picture: np.ndarray, size: tuple[int, int], how: Filter) -> np.ndarray:
    """float32 (H, W, 3) -> size (h, w), without rounding to bytes."""
    channels = [Image.fromarray(np.ascontiguousarray(picture[..., c])) for c in range(3)]
    return np.stack([np.array(channel.resize((size[1], size[0]), _FILTERS[how])) for channel in channels], axis=-1)


def bicubic_plain(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """float32 (H, W, C) -> size (h, w) by cubic convolution of a = -0.75 that does not widen (torch's interpolate)."""
    down, across = (_cubic_matrix(old, new) for old, new in zip(picture.shape, size, strict=False))
    return np.einsum("hH,HWc,wW->hwc", down, picture, across, optimize=True).astype(np.float32)


def _cubic_matrix(old: int, new: int) -> np.ndarray:
    """(new, old): what each new pixel takes of the old ones."""
    places = (np.arange(new) + 0.5) * old / new - 0.5
    matrix, rows = np.zeros((new, old)), np.arange(new)
    for step in range(-1, 3):
        column = np.floor(places) + step
        x = np.abs(places - column)
        near, far = ((1.25 * x - 2.25) * x * x) + 1, (((x - 5) * x + 8) * x - 4) * -0.75
        np.add.at(matrix, (rows, np.clip(column, 0, old - 1).astype(int)), np.where(x <= 1, near, far))
    return matrix


def require_ratio(h: int, w: int) -> None:
    """Raises MlxworldError for a picture that is longer than THINNEST times its other side."""
    if max(h, w) > THINNEST * min(h, w):
        raise MlxworldError(f"a picture of {h} x {w} is too thin: at most {THINNEST} to 1")


def shortest_edge(picture: np.ndarray, edge: int) -> tuple[int, int]:
    """The size (h, w) whose shorter side is `edge`, at the picture's own ratio. MlxworldError over THINNEST to 1."""
    h, w = picture.shape[:2]
    require_ratio(h, w)
    return (edge, int(edge * w / h)) if h <= w else (int(edge * h / w), edge)


def centre(picture: np.ndarray, size: tuple[int, int], rounded: bool = False) -> np.ndarray:
    """The middle (h, w) of a picture, black where it is smaller. An odd pixel goes below and to the right, or, rounded,
    as torchvision rounds."""
    for axis in (0, 1):
        have, want = picture.shape[axis], size[axis]
        if have < want:
            before = (want - have) // 2 if rounded else -((have - want) // 2)
            widths = [(0, 0)] * 3
            widths[axis] = before, want - have - before
            picture = np.pad(picture, widths)
        else:
            first = round((have - want) / 2) if rounded else (have - want) // 2
            picture = picture.take(range(first, first + want), axis)
    return picture


def normalised(picture: np.ndarray, mean: tuple[float, ...], std: tuple[float, ...]) -> np.ndarray:
    """uint8 in 0..255 -> float32, (x / 255 - mean) / std."""
    return standard(picture.astype(np.float32) / 255, mean, std)


def standard(picture: np.ndarray, mean: tuple[float, ...], std: tuple[float, ...]) -> np.ndarray:
    """float32 in 0..1 -> (x - mean) / std."""
    return (picture - np.array(mean, np.float32)) / np.array(std, np.float32)


def padded(picture: np.ndarray, size: tuple[int, int], corner: tuple[int, int], value: float = 0) -> np.ndarray:
    """The picture with its first pixel at `corner` of a page (h, w) of one value, in the picture's dtype."""
    page = np.full((*size, 3), value, picture.dtype)
    page[corner[0] : corner[0] + picture.shape[0], corner[1] : corner[1] + picture.shape[1]] = picture
    return page


def cut(picture: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """(rows * h, columns * w, 3) -> tiles (rows * columns, h, w, 3), row by row."""
    H, W, C = picture.shape
    x = picture.reshape(rows, H // rows, columns, W // columns, C).swapaxes(1, 2)
    return np.ascontiguousarray(x.reshape(rows * columns, H // rows, W // columns, C))
