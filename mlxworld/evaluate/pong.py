"""Where the ball and the paddles stand in a picture of Atari's Pong, and in a dream of it.

Pong has four colours. A decoder's blur mixes them, and a resize does too, but both mix *linearly*: every pixel is
background + ball * (white - background) + player * (green - background) + enemy * (orange - background), three
unknowns in three colour values. Solving for them gives a picture of the ball alone and one of each paddle alone,
whatever lies side by side. The median of each row is taken off, which removes a wrong gain and the glow of the borders
(both are the same along a row). The ball is then the brightest small window, the paddle the best fit of a bar.

Positions are in pixels of 128 (x to the right, y down, of the centre), whatever the size of the picture.
"""

from typing import Literal

import numpy as np

BACKGROUND, WHITE = (144, 72, 17), (236, 236, 236)
GREEN, ORANGE = (92, 186, 92), (213, 130, 74)
ROWS, COLUMNS = 210, 160  # the console's picture; the rest of these are its pixels
TOP, BOTTOM = 34, 194  # the field lies between the borders
PADDLE_LEFT, PADDLE_WIDTH, PADDLE_HEIGHT = {"enemy": 16, "player": 140}, 4, 16
BALL_WIDTH, BALL_HEIGHT = 2, 4
BALL_SEEN = 0.25  # of the ball's light in the window where it is brightest
PADDLE_SEEN = 0.4  # of the colour of the bar that fits best
CHUNK = 256  # frames at once

_UNMIX = np.linalg.inv(np.array([WHITE, GREEN, ORANGE], np.float64) - BACKGROUND).astype(np.float32)


def ball(video: np.ndarray) -> np.ndarray:
    """Centre of the ball, (..., 2) of x and y in pixels of 128, for pictures (..., H, W, 3); nan where none is seen."""
    return _by_chunks(video, _ball)


def ball_in_play(video: np.ndarray) -> np.ndarray:
    """Whether a ball is seen: bool (...,) for pictures (..., H, W, 3). After a point there is none for a second."""
    return ~np.isnan(ball(video)[..., 0])


def paddle_y(video: np.ndarray, side: Literal["player", "enemy"] = "player") -> np.ndarray:
    """Centre of a paddle in pixels of 128, (...,) for pictures (..., H, W, 3); nan where there is none.

    The player's is the green one at the right. Of a bar that slides under a border the whole bar's centre is told.
    """
    return _by_chunks(video, lambda frames: _paddle(frames, side))


def _by_chunks(video: np.ndarray, find) -> np.ndarray:
    flat = video.reshape(-1, *video.shape[-3:])
    found = [find(flat[k : k + CHUNK]) for k in range(0, len(flat), CHUNK)]
    found = np.concatenate(found) if found else find(flat)
    return found.reshape(*video.shape[:-3], *found.shape[1:])


def _field(height: int) -> slice:
    """The rows of a picture that show nothing but the field."""
    return slice(int(np.ceil(TOP * height / ROWS)), int(np.floor(BOTTOM * height / ROWS)))


def _shares(pixels: np.ndarray, part: int) -> np.ndarray:
    """(T, rows, W, 3) -> (T, rows, W): how much of ball (0), player (1) or enemy (2) is in each pixel, without the
    row's median over the whole width."""
    share = (pixels.astype(np.float32) - np.float32(BACKGROUND)) @ _UNMIX[:, part]
    return share - np.median(share, -1, keepdims=True)


def _ball(frames: np.ndarray) -> np.ndarray:
    _, height, width, _ = frames.shape
    field = _field(height)
    share = _shares(frames[:, field], 0)
    h, w = 3, 3
    light = _windows(share, h, w)
    best = light.reshape(len(light), -1).argmax(-1)
    y, x = np.unravel_index(best, light.shape[1:])
    t = np.arange(len(frames))
    seen = light[t, y, x] >= BALL_SEEN * BALL_WIDTH * BALL_HEIGHT * height * width / (ROWS * COLUMNS)
    # The centroid of the light in a window one pixel wider than the brightest.
    dy, dx = np.mgrid[-1 : h + 1, -1 : w + 1]
    padded = np.pad(np.maximum(share, 0), ((0, 0), (1, 1), (1, 1)))
    patch = padded[t[:, None, None], (y[:, None, None] + dy + 1), (x[:, None, None] + dx + 1)]
    total = np.maximum(patch.sum((1, 2)), 1e-6)
    cy = y + field.start + 0.5 + (patch * dy).sum((1, 2)) / total
    cx = x + 0.5 + (patch * dx).sum((1, 2)) / total
    return np.where(seen[:, None], np.stack([cx * 128 / width, cy * 128 / height], -1), np.nan)


def _windows(share: np.ndarray, h: int, w: int) -> np.ndarray:
    """Sums over all h x w windows: (T, H, W) -> (T, H - h + 1, W - w + 1)."""
    rows, columns = share.shape[1] - h + 1, share.shape[2] - w + 1
    share = sum(share[:, k : k + rows] for k in range(h))  # type: ignore[assignment]
    return sum(share[:, :, k : k + columns] for k in range(w))  # type: ignore[return-value]


def _paddle(frames: np.ndarray, side: Literal["player", "enemy"]) -> np.ndarray:
    _, height, width, _ = frames.shape
    field = _field(height)
    left = PADDLE_LEFT[side] * width / COLUMNS
    right = left + PADDLE_WIDTH * width / COLUMNS
    columns = slice(int(left) - 1, int(np.ceil(right)) + 1)
    share = _shares(frames[:, field], 1 if side == "player" else 2)
    profile = share[:, :, columns].sum(-1) / (right - left)  # (T, rows): 1 where the bar is
    tops, bars = _bars(height)
    square = np.square(bars).sum(-1)
    overlap = profile @ bars.T  # (T, candidates)
    best = (square - 2 * overlap).argmin(-1)  # least squared error
    seen = overlap[np.arange(len(frames)), best] >= PADDLE_SEEN * square[best]
    return np.where(seen, (tops[best] + PADDLE_HEIGHT / 2) * 128 / ROWS, np.nan)


def _bars(height: int) -> tuple[np.ndarray, np.ndarray]:
    """Every place of a paddle in steps of a quarter of the console's pixel: its top there, and its profile over the
    rows of the field, cut by the borders."""
    field = _field(height)
    tops = np.arange(TOP - PADDLE_HEIGHT + 2, BOTTOM - 2 + 1e-6, 0.25)
    rows = np.arange(field.start, field.stop) * ROWS / height
    cover = np.minimum(rows + ROWS / height, tops[:, None] + PADDLE_HEIGHT) - np.maximum(rows, tops[:, None])
    return tops, (np.clip(cover, 0, None) * height / ROWS).astype(np.float32)
