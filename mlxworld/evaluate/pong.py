"""Where the ball and the paddles stand in a picture of Atari's Pong, and in a dream of it, and what the score is.

Pong has four colours. A decoder's blur mixes them, and a resize does too, but both mix *linearly*: every pixel is
background + ball * (white - background) + player * (green - background) + enemy * (orange - background), three
unknowns in three colour values. Solving for them gives a picture of the ball alone and one of each paddle alone,
whatever lies side by side. The median of each row is taken off, which removes a wrong gain and the glow of the borders
(both are the same along a row). The ball is then the brightest small window, the paddle the best fit of a bar.
Telling white from orange leans on small differences of colour and so amplifies noise; a plain projection on white does
not, but takes a paddle for a ball. A ball must be there by both, and twice as clearly where a paddle's colours, dreamt
a little wrong, could look like a bit of one.

Positions are in pixels of 128 (x to the right, y down, of the centre), whatever the size of the picture.
"""

from collections.abc import Callable
from typing import Literal, get_args

import numpy as np

Side = Literal["player", "enemy"]
BACKGROUND, WHITE = (144, 72, 17), (236, 236, 236)
GREEN, ORANGE = (92, 186, 92), (213, 130, 74)
ROWS, COLUMNS = 210, 160  # the console's picture; the rest of these are its pixels
TOP, BOTTOM = 34, 194  # the field lies between the borders
PADDLE_LEFT: dict[Side, int] = {"enemy": 16, "player": 140}
PADDLE_WIDTH, PADDLE_HEIGHT, PADDLE_LEAST = 4, 16, 4  # at least 4 rows stay out of the borders
BALL_WIDTH, BALL_HEIGHT = 2, 4
BALL_SEEN = 0.2  # of the ball's light in the window where it is brightest
PADDLE_DOUBT = 0.5  # what that light counts in the columns of a paddle
PADDLE_SEEN = 0.4  # of the colour of the bar that fits best
SCORE_LEFT: dict[Side, int] = {"enemy": 20, "player": 100}  # of the first digit
SCORE_TOP, CELL, DIGIT = 1, 4, 16  # a digit is 3 x 5 cells; the second one begins so much further
SCORE_DOUBT = 0.35  # of the digits' light that the best fit may leave unexplained
NUMBERS = 40  # a dream may count too far
GLYPHS = (  # of each digit the rows, a bit a cell
    *((7, 5, 5, 5, 7), (2, 2, 2, 2, 2), (7, 1, 7, 4, 7), (7, 1, 3, 1, 7), (5, 5, 7, 1, 1)),
    *((7, 4, 7, 1, 7), (4, 4, 7, 5, 7), (7, 1, 1, 1, 1), (7, 5, 7, 5, 7), (7, 5, 7, 1, 1)),
)
CHUNK = 256  # frames at once

_PARTS = np.array([WHITE, GREEN, ORANGE], np.float32) - np.array(BACKGROUND, np.float32)
_UNMIX = np.linalg.inv(_PARTS)  # (3 colours, 3 parts)
_PROJECT = _PARTS[0] / np.square(_PARTS[0]).sum()  # as if there were only white


def ball(video: np.ndarray) -> np.ndarray:
    """Centre of the ball, (..., 2) of x and y in pixels of 128, for pictures (..., H, W, 3); nan where none is seen."""
    return _by_chunks(video, _ball)


def ball_in_play(video: np.ndarray) -> np.ndarray:
    """Whether a ball is seen: bool (...,) for pictures (..., H, W, 3). After a point there is none for a second."""
    return ~np.isnan(ball(video)[..., 0])


def paddle_y(video: np.ndarray, side: Side = "player") -> np.ndarray:
    """Centre of a paddle in pixels of 128, (...,) for pictures (..., H, W, 3); nan where there is none.

    The player's is the green one at the right. Of a bar that slides under a border the whole bar's centre is told.
    """
    return _by_chunks(video, lambda frames: _paddle(frames, side))


def scores(video: np.ndarray) -> np.ndarray:
    """The score, (..., 2) int of enemy and player, for pictures (..., H, W, 3); -1 where it cannot be read."""
    return np.stack([_by_chunks(video, lambda frames, s=side: _score(frames, s)) for side in SCORE_LEFT], -1)


def _by_chunks(video: np.ndarray, find: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    flat = video.reshape(-1, *video.shape[-3:])
    found = [find(flat[k : k + CHUNK]) for k in range(0, len(flat), CHUNK)]
    found = np.concatenate(found) if found else find(flat)
    return found.reshape(video.shape[:-3] + found.shape[1:])


def _field(height: int) -> slice:
    """The rows of a picture that show nothing but the field."""
    return slice(int(np.ceil(TOP * height / ROWS)), int(np.floor(BOTTOM * height / ROWS)))


def _columns(side: Side, width: int) -> tuple[slice, float]:
    """The columns of a picture that a paddle touches and one more to each side, and the paddle's width there."""
    left, size = PADDLE_LEFT[side] * width / COLUMNS, PADDLE_WIDTH * width / COLUMNS
    return slice(int(left) - 1, int(np.ceil(left + size)) + 1), size


def _shares(pixels: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(T, rows, W, 3) -> (T, rows, W): how much of one thing is in each pixel, less the row's median."""
    share = (pixels.astype(np.float32) - np.array(BACKGROUND, np.float32)) @ weights
    return share - np.median(share, -1, keepdims=True)


def _ball(frames: np.ndarray) -> np.ndarray:
    _, height, width, _ = frames.shape
    field = _field(height)
    exact, plain = _shares(frames[:, field], _UNMIX[:, 0]), _shares(frames[:, field], _PROJECT)
    light = np.minimum(_windows(exact), _windows(plain))  # light[t, y, x] of the 3 x 3 pixels from (y, x) on
    for side in get_args(Side):
        columns, _ = _columns(side, width)
        light[:, :, max(columns.start - 2, 0) : columns.stop] *= PADDLE_DOUBT
    y, x = np.unravel_index(light.reshape(len(light), light.shape[1] * light.shape[2]).argmax(-1), light.shape[1:])
    t = np.arange(len(frames))
    seen = light[t, y, x] >= BALL_SEEN * BALL_WIDTH * BALL_HEIGHT * height * width / (ROWS * COLUMNS)
    # Its centre is the centroid of the light in the window and one pixel around.
    dy, dx = np.mgrid[-1:4, -1:4]
    padded = np.pad(np.maximum(np.minimum(exact, plain), 0), ((0, 0), (1, 1), (1, 1)))
    patch = padded[t[:, None, None], y[:, None, None] + dy + 1, x[:, None, None] + dx + 1]
    total = np.maximum(patch.sum((1, 2)), 1e-6)
    cx = x + 0.5 + (patch * dx).sum((1, 2)) / total
    cy = y + field.start + 0.5 + (patch * dy).sum((1, 2)) / total
    return np.where(seen[:, None], np.stack([cx * 128 / width, cy * 128 / height], -1), np.nan)


def _windows(share: np.ndarray) -> np.ndarray:
    """Sums over all windows of 3 x 3: (T, H, W) -> (T, H - 2, W - 2)."""
    share = share[:, :-2] + share[:, 1:-1] + share[:, 2:]
    return share[:, :, :-2] + share[:, :, 1:-1] + share[:, :, 2:]


def _paddle(frames: np.ndarray, side: Side) -> np.ndarray:
    _, height, width, _ = frames.shape
    field = _field(height)
    columns, size = _columns(side, width)
    share = _shares(frames[:, field], _UNMIX[:, 1 if side == "player" else 2])
    profile = share[:, :, columns].sum(-1) / size  # (T, rows): 1 where the bar is
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
    tops = np.arange(TOP - PADDLE_HEIGHT + PADDLE_LEAST, BOTTOM - PADDLE_LEAST + 0.25, 0.25)
    rows = np.arange(field.start, field.stop) * ROWS / height
    cover = np.minimum(rows + ROWS / height, tops[:, None] + PADDLE_HEIGHT) - np.maximum(rows, tops[:, None])
    return tops, (np.clip(cover, 0, None) * height / ROWS).astype(np.float32)


def _score(frames: np.ndarray, side: Side) -> np.ndarray:
    _, height, width, _ = frames.shape
    columns = slice(
        int((SCORE_LEFT[side] - CELL) * width / COLUMNS), int((SCORE_LEFT[side] + 2 * DIGIT) * width / COLUMNS)
    )
    rows = slice(0, int(TOP * height / ROWS) - int(10 * height / ROWS))  # to the border
    share = _shares(frames[:, rows], _UNMIX[:, 1 if side == "player" else 2])[:, :, columns].reshape(len(frames), -1)
    drawn = np.stack([_number(n, side, height, width)[rows, columns].reshape(-1) for n in range(NUMBERS)])
    square = np.square(drawn).sum(-1)
    left = np.square(share).sum(-1)[:, None] - 2 * share @ drawn.T + square
    best = left.argmin(-1)
    return np.where(left[np.arange(len(frames)), best] <= SCORE_DOUBT * square[best], best, -1)


def _number(number: int, side: Side, height: int, width: int) -> np.ndarray:
    """A number as it is drawn: (height, width) shares."""
    console = np.zeros((ROWS, COLUMNS), np.float32)
    for place, digit in enumerate(f"{number:2}"):
        if digit != " ":
            bits = np.array([[row >> k & 1 for k in (2, 1, 0)] for row in GLYPHS[int(digit)]], np.float32)
            left = SCORE_LEFT[side] + place * DIGIT
            console[SCORE_TOP : SCORE_TOP + 5 * CELL, left : left + 3 * CELL] = bits.repeat(CELL, 0).repeat(CELL, 1)
    return _shrink(_shrink(console, height).T, width).T


def _shrink(x: np.ndarray, n: int) -> np.ndarray:
    """(m, ...) -> (n, ...), each row the mean of those that it covers."""
    edges = np.arange(n + 1) * len(x) / n
    whole = np.concatenate([np.zeros_like(x[:1]), np.cumsum(x, 0)])
    below = edges.astype(int)
    part = (edges - below).reshape(-1, *[1] * (x.ndim - 1))
    at = whole[below] + part * (whole[np.minimum(below + 1, len(x))] - whole[below])
    return np.diff(at, axis=0) * (n / len(x))
