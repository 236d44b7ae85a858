"""The fixed encoder "pyramid-1": what a frame shows, how it moves and how it sounds, as 64 numbers each.

Nothing in it is learnt, so it favours no model and is the same for everybody. A picture is seen at three scales; at
each, edges of four directions are averaged over a grid of 4 x 4, beside the grid's colours (240 numbers), and a fixed
orthonormal projection, drawn from a seed, keeps 64. Motion is the same of the change since the frame before. Sound is
the mean and the peak of 32 mel bands over the frame.
"""

import math

import numpy as np

from . import audio as sound

NAME = "pyramid-1"
WIDTH = 64
GRID, SCALES = 4, (1, 2, 4)
BANDS = 32
CHUNK = 128  # frames at once


def pictures(video: np.ndarray) -> np.ndarray:
    """(..., H, W, 3) uint8 -> (..., 64) float32."""
    return _by_chunks(video, lambda frames: _encode(frames.astype(np.float32) / 255))


def motion(video: np.ndarray) -> np.ndarray:
    """(..., T, H, W, 3) uint8 -> (..., T - 1, 64) float32, of each frame's change since the one before."""

    def change(clip: np.ndarray) -> np.ndarray:
        return np.concatenate(
            [
                _encode(np.abs(np.diff(clip[k : k + CHUNK + 1].astype(np.float32) / 255, axis=0)))
                for k in range(0, len(clip) - 1, CHUNK)
            ]
        )

    clips = video.reshape(-1, *video.shape[-4:])
    return np.stack([change(clip) for clip in clips]).reshape(*video.shape[:-4], -1, WIDTH)


def sounds(audio: np.ndarray, sample_rate: int) -> np.ndarray:
    """(..., S) float -> (..., 64) float32, each frame heard alone; a step of 1 is 20 dB."""
    size = 2 ** max(5, int(math.log2(audio.shape[-1])) - 1)
    filters = sound.mel_filters(sample_rate, size, BANDS).T
    flat = audio.reshape(-1, audio.shape[-1])
    parts = []
    for k in range(0, len(flat), CHUNK):
        power = np.square(sound.stft(flat[k : k + CHUNK], size, size // 2)) @ filters
        level = 0.5 * np.log10(np.maximum(power, sound.MEL_FLOOR))
        parts.append(np.concatenate([level.mean(1), level.max(1)], -1))
    return np.concatenate(parts).astype(np.float32).reshape(*audio.shape[:-1], WIDTH)


def pool(x: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Means over a grid: (N, H, W, ...) -> (N, rows, columns, ...), whatever H and W are."""
    for axis, cells in ((1, rows), (2, columns)):
        edges = np.linspace(0, x.shape[axis], cells + 1).astype(int)
        sizes = np.diff(edges).reshape([-1 if a == axis else 1 for a in range(x.ndim)])
        x = np.add.reduceat(x, edges[:-1], axis) / sizes.astype(np.float32)
    return x


def _encode(frames: np.ndarray) -> np.ndarray:
    """(N, H, W, 3) in [0, 1] -> (N, 64)."""
    parts, luma = [pool(frames, GRID, GRID)], frames.mean(-1)
    for scale in SCALES:
        small = pool(luma, max(8, luma.shape[1] // scale), max(8, luma.shape[2] // scale)) if scale > 1 else luma
        for axis in (1, 2):
            step = np.diff(small, axis=axis)
            parts += [pool(np.maximum(sign * step, 0), GRID, GRID)[..., None] for sign in (1, -1)]
    flat = np.concatenate([p.reshape(len(frames), -1) for p in parts], -1)
    return np.sqrt(flat) @ _projection(flat.shape[-1])


def _projection(width: int) -> np.ndarray:
    """(width, 64) with orthonormal columns, always the same."""
    drawn = np.random.default_rng(1).standard_normal((width, WIDTH))
    q, r = np.linalg.qr(drawn)
    return (q * np.sign(np.diagonal(r))).astype(np.float32)


def _by_chunks(video: np.ndarray, encode) -> np.ndarray:
    flat = video.reshape(-1, *video.shape[-3:])
    parts = [encode(flat[k : k + CHUNK]) for k in range(0, len(flat), CHUNK)]
    return np.concatenate(parts).reshape(*video.shape[:-3], WIDTH)
