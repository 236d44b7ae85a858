"""Losses of pictures. B batch, T frames, H, W pixels, C channels; video (B, T, H, W, C) in [0, 1]."""

from ... import ops
from ..arrays import Array


def motion(video: Array) -> Array:
    """How far each pixel is from the clip's mean picture, (B, T, H, W, 1): 0 to 1, which is a quarter of the range."""
    mean = video.mean(axis=1, keepdims=True)
    return ops.clip(4 * ops.max(ops.abs(video - mean), axis=-1, keepdims=True), 0.0, 1.0)


def motion_huber(prediction: Array, video: Array, edge: float, weight: float) -> Array:
    """Huber's loss over `edge` (Huber 1964): d^2 / (2 edge) where the difference d is below edge, d - edge / 2 above.
    A pixel that moves weighs up to 1 + weight. Below the edge a trace of noise in a wall pulls less than a ball that is
    missing; an absolute error pulls as hard at both."""
    d = ops.abs(prediction - video)
    d = ops.where(d < edge, 0.5 / edge * ops.square(d), d - 0.5 * edge)
    return (d * (1 + weight * motion(video))).mean()


def edges(prediction: Array, video: Array, scales: int = 3) -> Array:
    """Mean absolute difference of neighbouring pixels' differences, at so many scales, each half as large as the one
    before: what an eye sees before it sees brightness. H and W are at least 2^scales."""
    d, total = prediction - video, 0.0
    for scale in range(scales):
        if scale > 0:
            d = _halve(d)
        total = total + ops.abs(d[:, :, 1:] - d[:, :, :-1]).mean() + ops.abs(d[:, :, :, 1:] - d[:, :, :, :-1]).mean()
    return total / scales


def _halve(x):
    """Means of squares of four pixels; of an odd height or width the last row is left out."""
    B, T, H, W, C = x.shape
    x = x[:, :, : H // 2 * 2, : W // 2 * 2]
    return x.reshape(B, T, H // 2, 2, W // 2, 2, C).mean(axis=(3, 5))
