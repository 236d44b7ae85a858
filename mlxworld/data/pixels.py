"""Pictures as numbers: area averaging, and the colour planes of a video file.

H.264 that every player shows keeps colour at half the resolution (4:2:0), which smears a ball of 2x2 pixels into its
background by up to 80 of 255 levels. So files written here show each pixel as a block of 2x2: every pixel then has a
colour sample of its own, and what is read back differs by a level or two.
"""

from functools import lru_cache

import numpy as np

DOUBLE = 2  # picture file pixels per pixel, along each axis

# BT.601, limited range: rows R, G, B; columns Y, Cb, Cr.
_YUV = np.array(
    [[0.299, -0.168736, 0.5], [0.587, -0.331264, -0.418688], [0.114, 0.5, -0.081312]], np.float32
) * np.array([219 / 255, 224 / 255, 224 / 255], np.float32)
_RGB = np.linalg.inv(_YUV).astype(np.float32)
_ZERO = np.array([16.0, 128.0, 128.0], np.float32)


@lru_cache(maxsize=64)
def _taps(source: int, target: int) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    """Area weights of one axis: for each tap the source index (target,) and its weight (target,)."""
    edges = np.arange(target + 1) * (source / target)
    low, high = edges[:-1, None], edges[1:, None]
    cell = np.floor(low + 1e-9).astype(int) + np.arange(int(np.ceil(source / target)) + 1)
    weight = np.clip(np.minimum(high, cell + 1) - np.maximum(low, cell), 0, None)
    weight = (weight / weight.sum(1, keepdims=True)).astype(np.float32)
    cell = np.minimum(cell, source - 1)
    return tuple((cell[:, i], weight[:, i]) for i in range(cell.shape[1]) if weight[:, i].max() > 1e-6)


def resize(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(H, W, 3) uint8 -> (*size, 3) uint8: each new pixel is the mean of the area it covers (stretched to `size`)."""
    H, W = image.shape[:2]
    if size == (H, W):
        return image
    rows = [image[index] * weight[:, None, None] for index, weight in _taps(H, size[0])]
    tall = sum(rows[1:], rows[0])
    columns = [tall[:, index] * weight[None, :, None] for index, weight in _taps(W, size[1])]
    return (sum(columns[1:], columns[0]) + 0.5).astype(np.uint8)


def to_planes(image: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 -> (3 H, 2 W) uint8: planes Y, Cb, Cr of the doubled picture, as yuv420p lays them out."""
    H, W = image.shape[:2]
    yuv = (image.reshape(-1, 3).astype(np.float32) @ _YUV + (_ZERO + 0.5)).astype(np.uint8)
    planes = np.empty((3 * H, DOUBLE * W), np.uint8)
    planes[: 2 * H].reshape(H, 2, W, 2)[:] = yuv[:, 0].reshape(H, 1, W, 1)
    colour = planes[2 * H :].reshape(2, H * W)
    colour[0], colour[1] = yuv[:, 1], yuv[:, 2]
    return planes


def from_planes(planes: np.ndarray) -> np.ndarray:
    """The inverse of `to_planes`: (3 H, 2 W) uint8 -> (H, W, 3) uint8."""
    H, W = planes.shape[0] // 3, planes.shape[1] // 2
    yuv = np.empty((H * W, 3), np.float32)
    y = planes[: 2 * H].reshape(H, 2, W, 2).astype(np.uint16)
    yuv[:, 0] = (y[:, 0, :, 0] + y[:, 0, :, 1] + y[:, 1, :, 0] + y[:, 1, :, 1]).reshape(-1) * np.float32(0.25)
    yuv[:, 1:] = planes[2 * H :].reshape(2, H * W).T
    rgb = (yuv - _ZERO) @ _RGB + 0.5
    return np.clip(rgb, 0, 255).astype(np.uint8).reshape(H, W, 3)
