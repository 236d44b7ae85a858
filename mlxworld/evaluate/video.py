"""How far two videos are apart, and the dull predictions that a model must beat.

Every distance is returned per frame, shape (...,) for pictures (..., H, W, 3) in levels 0..255, so that the caller
chooses the horizon and the mean. `moving_mask` says where something happens: in a game nearly all pixels are
background, and a plain mean hides whether the ball was drawn at all.
"""

from collections.abc import Iterable

import numpy as np

from mlxworld.errors import MlxworldError

LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # BT.601
PSNR_CEILING = 100.0  # dB, for equal pictures: a mean over frames stays finite


def psnr(real: np.ndarray, dream: np.ndarray) -> np.ndarray:
    """Peak signal-to-noise ratio of each frame in dB, at most 100 (equal pictures)."""
    square = np.square(_difference(real, dream)).mean((-3, -2, -1), dtype=np.float64)
    return np.minimum(10 * np.log10(255**2 / np.maximum(square, 1e-12)), PSNR_CEILING)


def l1(real: np.ndarray, dream: np.ndarray) -> np.ndarray:
    """Mean absolute difference of each frame in levels (0..255)."""
    return np.abs(_difference(real, dream)).mean((-3, -2, -1), dtype=np.float64)


def ssim(real: np.ndarray, dream: np.ndarray) -> np.ndarray:
    """Structural similarity of each frame, 1 for equal pictures.

    Wang et al. 2004: luma, gaussian window of 11 x 11 with sigma 1.5, K = (0.01, 0.03), mean over the positions
    where the window fits. Raises MlxworldError for pictures smaller than the window.
    """
    _same_shape(real, dream)
    if min(real.shape[-3:-1]) < 11:
        raise MlxworldError(f"SSIM needs pictures of at least 11x11, not {real.shape[-3]}x{real.shape[-2]}")
    pictures = zip(real.reshape(-1, *real.shape[-3:]), dream.reshape(-1, *dream.shape[-3:]), strict=True)
    return np.array([_ssim(a.astype(np.float32) @ LUMA, b.astype(np.float32) @ LUMA) for a, b in pictures]).reshape(
        real.shape[:-3]
    )


def _ssim(x: np.ndarray, y: np.ndarray) -> float:
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    x, y = x.astype(np.float64), y.astype(np.float64)
    mean_x, mean_y, xx, yy, xy = (_gaussian(p) for p in (x, y, x * x, y * y, x * y))
    numerator = (2 * mean_x * mean_y + c1) * (2 * (xy - mean_x * mean_y) + c2)
    denominator = (mean_x**2 + mean_y**2 + c1) * (xx - mean_x**2 + yy - mean_y**2 + c2)
    return float((numerator / denominator).mean())


def _gaussian(x: np.ndarray) -> np.ndarray:
    """(H, W) -> (H - 10, W - 10): the weighted local mean."""
    w = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)
    w /= w.sum()
    h, v = x.shape[0] - 10, x.shape[1] - 10
    x = sum(w[k] * x[k : k + h] for k in range(11))  # type: ignore[assignment]
    return sum(w[k] * x[:, k : k + v] for k in range(11))  # type: ignore[return-value]


def detail(video: np.ndarray) -> np.ndarray:
    """Energy of the finest detail of each frame, (...,) for pictures (..., H, W, 3).

    It is the mean square, in levels, of what a blur of 3 x 3 (binomial weights) takes away of the luma. It needs no
    truth at the same place, so a dream that left its clip can be told sharp or smeared: see `detail_ratio`.
    """
    x = video.astype(np.float32) @ LUMA
    across = (x[..., :, :-2] + 2 * x[..., :, 1:-1] + x[..., :, 2:]) / 4
    smooth = (across[..., :-2, :] + 2 * across[..., 1:-1, :] + across[..., 2:, :]) / 4
    return np.square(x[..., 1:-1, 1:-1] - smooth).mean((-2, -1), dtype=np.float64)


def detail_ratio(real: np.ndarray, dream: np.ndarray) -> float:
    """Energy of the finest detail of a dream over that of real frames, each a mean over all frames: 1 as sharp, below
    smeared, above noisy. The two may show different moments."""
    return float(detail(dream).mean() / max(detail(real).mean(), 1e-12))


def moving_mask(video: np.ndarray, threshold: int = 24, grow: int = 1) -> np.ndarray:
    """Where something moves: bool (..., T, H, W) for a real video (..., T, H, W, 3).

    A pixel moves when one of its colours is more than `threshold` levels from the clip's background (the median over
    its frames) or from the frame before; the mask is then grown by `grow` pixels to every side.
    """
    clips = video.reshape(-1, *video.shape[-4:])
    return np.stack([_moving(clip, threshold, grow) for clip in clips]).reshape(video.shape[:-1])


def _moving(clip: np.ndarray, threshold: int, grow: int) -> np.ndarray:
    values = clip.astype(np.int16)
    middle = len(clip) // 2
    background = np.partition(np.ascontiguousarray(np.moveaxis(clip, 0, -1)), middle, -1)[..., middle].astype(np.int16)
    mask: np.ndarray = np.any(np.abs(values - background) > threshold, axis=-1)
    mask[1:] |= (np.abs(values[1:] - values[:-1]) > threshold).any(-1)
    for _ in range(grow):
        for axis in (1, 2):
            wide = np.pad(mask, [(1, 1) if a == axis else (0, 0) for a in range(3)])
            n = mask.shape[axis]
            mask = mask | wide.take(range(n), axis) | wide.take(range(2, n + 2), axis)
    return mask


def moving_error(real: np.ndarray, dream: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Mean absolute difference of each frame over its moving pixels, in levels; nan where nothing moves."""
    difference = np.abs(_difference(real, dream)).mean(-1)
    count = mask.sum((-2, -1))
    return np.where(count, (difference * mask).sum((-2, -1), dtype=np.float64) / np.maximum(count, 1), np.nan)


def repeat_last(video: np.ndarray, context: int) -> np.ndarray:
    """The baseline that freezes: frames from `context` on are frame context - 1. Axis -4 is T; the input is kept."""
    frozen = video.copy()
    frozen[..., context:, :, :, :] = video[..., context - 1 : context, :, :, :]
    return frozen


def mean_frame(videos: np.ndarray | Iterable[np.ndarray]) -> np.ndarray:
    """The mean picture (H, W, 3) uint8 of a dataset: an array (..., H, W, 3) or an iterable of them, read once."""
    total, count = 0.0, 0
    for video in videos if not isinstance(videos, np.ndarray) else (videos,):
        flat = video.reshape(-1, *video.shape[-3:])
        total = total + flat.sum(0, dtype=np.float64)
        count += len(flat)
    if not count:
        raise MlxworldError("the mean frame of no video does not exist: give at least one frame")
    return np.rint(total / count).astype(np.uint8)


def _difference(real: np.ndarray, dream: np.ndarray) -> np.ndarray:
    _same_shape(real, dream)
    return real.astype(np.float32) - dream.astype(np.float32)


def _same_shape(real: np.ndarray, dream: np.ndarray) -> None:
    if real.shape != dream.shape:
        raise MlxworldError(f"two videos of one shape are compared, not {real.shape} and {dream.shape}")
