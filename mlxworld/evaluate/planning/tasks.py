"""What is wanted in an environment: rewards that are read from pictures, real and dreamt ones by the same reader; the
best there is is 0.

N worlds, T frames, H, W pixels.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ...data import Step
from .. import pong

CORNER = np.array([24.0, 24.0])  # of bounce's room, where the pushed ball is to be
SCORES, BALL, PADDLE = (13, 14), 54, 51  # places in Pong's RAM: lost and won, height of the ball and of the paddle
MIDDLE, ROWS = 2, 210  # rows from paddle to ball when it hits the middle, and of the console's picture


@dataclass(frozen=True)
class Task:
    """reward: of pictures (N, H, W, 3) -> (N,). exact: the same by the simulator's own state, (T,) of T steps, nan
    where there is nothing to reward. outcome: of the steps of a game, {name: number}."""

    reward: Callable[[np.ndarray], np.ndarray]
    exact: Callable[[Sequence[Step]], np.ndarray]
    outcome: Callable[[Sequence[Step]], dict[str, float]]


def follow(video: np.ndarray) -> np.ndarray:
    """Pong: 0 where the player's paddle is as high as the ball, down to -1 a whole picture away; 0 without a ball."""
    ball, paddle = pong.ball(video)[..., 1], pong.paddle_y(video)
    apart = np.abs(np.where(np.isnan(paddle), 0.0, paddle) - ball) / 128
    return -np.where(np.isnan(ball), 0.0, apart)


def height_apart(steps: Sequence[Step]) -> np.ndarray:
    """Pong: `follow` by the console's memory."""
    ram = np.stack([step.state["ram"] for step in steps]).astype(float)
    return np.where(ram[:, BALL] > 0, -np.abs(ram[:, BALL] - ram[:, PADDLE] - MIDDLE) / ROWS, np.nan)


def points(steps: Sequence[Step]) -> dict[str, float]:
    """Pong: points won and lost, as the console counts them."""
    first, last = (steps[i].state["ram"].astype(int) for i in (0, -1))
    lost, won = (float(last[place] - first[place]) for place in SCORES)
    return {"won": won, "lost": lost}


def to_the_corner(video: np.ndarray) -> np.ndarray:
    """Bounce: less the distance of the pushed (yellow) ball from the upper left corner, in widths of the picture; -1
    where it is not seen."""
    x = video.astype(np.float32)
    yellow = np.clip(np.minimum(x[..., 0], x[..., 1]) - x[..., 2] - 40, 0, None)
    total = yellow.sum(axis=(-2, -1))
    rows, columns = np.arange(video.shape[-3]) + 0.5, np.arange(video.shape[-2]) + 0.5
    y, across = yellow.sum(axis=-1) @ rows, yellow.sum(axis=-2) @ columns
    with np.errstate(invalid="ignore", divide="ignore"):
        place = np.stack([across / total * 128 / video.shape[-2], y / total * 128 / video.shape[-3]], axis=-1)
    apart = np.linalg.norm(place - CORNER, axis=-1) / 128
    return -np.where(total > 200, apart, 1.0)


def corner_apart(steps: Sequence[Step]) -> np.ndarray:
    """Bounce: `to_the_corner` by the simulator's own positions."""
    return -np.array([np.linalg.norm(step.state["position"][0] - CORNER) / 128 for step in steps])


def nearness(steps: Sequence[Step]) -> dict[str, float]:
    """Bounce: the distance from the corner by the simulator's own positions, mean over the game."""
    return {"distance": -float(corner_apart(steps).mean())}


TASKS = {"pong": Task(follow, height_apart, points), "bounce": Task(to_the_corner, corner_apart, nearness)}
