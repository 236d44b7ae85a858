"""A policy that has only ever played inside a dream, in the real game: `python -m mlxworld.evaluate.agent`.

The policy is a line through seven numbers that are read of each picture (`evaluate.pong`), the same of a dream and of
the game; its weights are found by the cross-entropy method, each candidate in a dream of its own, by the points and
returns that it reads there. Then it plays whole games of the real Pong, from 0 to 0, and nothing is learnt any more.
"""

import json
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from rich.console import Console
from rich.progress import track as progress

from ..cli import entry
from ..data import open_source
from ..data.envs.source import close
from ..errors import MlxworldError
from ..files import atomic
from ..play.world import World
from . import pong

NOOP, UP, DOWN = "noop", "up", "down"
FEATURES = 7
RETURN = 0.2  # what a returned ball is worth; a point is worth 1
NEAR = 90.0  # column beyond which a ball that turns was returned by the player
STEADY = 3  # frames that a score stands before it counts


@dataclass(frozen=True)
class AgentConfig:
    world: str = "pong"  # a shipped world's name, or a folder
    out: Path | None = None  # a JSON file for the figures and the policy
    candidates: int = 48  # policies, and dreams, of a generation
    generations: int = 16
    frames: int = 600  # of each dream
    games: int = 20  # real ones
    longest: int = 20_000  # steps of a real game, which is then left as it stands
    backend: str | None = None  # mlx or torch; the best one installed
    precision: str | None = None  # float32, float16 or bfloat16; the device's best
    seed: int = 0


class Reader:
    """What a policy knows: the ball, its speed, the paddle and its speed, of pictures one after another."""

    def __init__(self) -> None:
        self._ball, self._paddle = np.full(2, np.nan), np.nan

    def __call__(self, ball: np.ndarray, paddle: float) -> np.ndarray:
        """The ball (2,) and the paddle of a picture -> (FEATURES,), about in [-1, 1]; zeros where one is not seen."""
        speed, glide = ball - self._ball, paddle - self._paddle
        self._ball, self._paddle = ball, paddle
        if np.isnan(ball).any() or np.isnan(paddle):
            return np.zeros(FEATURES)
        speed, glide = np.nan_to_num(speed), float(np.nan_to_num(glide))
        comes = float(speed[0] > 0.2)
        steps = (112 - ball[0]) / max(speed[0], 0.5) if comes else 0.0
        arrives = _folded(ball[1] + steps * speed[1])
        numbers = [(ball[1] - paddle) / 32, comes * (arrives - paddle) / 32, speed[1] / 4, glide / 4]
        return np.clip([*numbers, comes, (70 - paddle) / 64, 1.0], -2, 2)


def _folded(height: float, top: float = 22.0, bottom: float = 117.0) -> float:
    """Where a ball is that is thrown back by the borders."""
    span = bottom - top
    place = (height - top) % (2 * span)
    return top + min(place, 2 * span - place)


def act(weights: np.ndarray, features: np.ndarray) -> int:
    """-1 up, 1 down, 0 neither."""
    push = float(weights @ features)
    return 0 if abs(push) < 0.5 else int(np.sign(push))


class Judge:
    """Counts what happens in a dream: points by the score, returns by the ball."""

    def __init__(self) -> None:
        self.reward, self._count = 0.0, 0
        self._standing: tuple[int, ...] | None = None
        self._candidate: tuple[int, ...] | None = None
        self._x, self._came = np.nan, False

    def __call__(self, x: float, score: tuple[int, ...]) -> None:
        """The ball's column and the score of the next picture."""
        self._count = self._count + 1 if score == self._candidate else 1
        self._candidate = score
        if min(score) >= 0 and self._count == STEADY and score != self._standing:
            if self._standing is not None:
                enemy, player = (b - a for a, b in zip(self._standing, score, strict=True))
                self.reward += {(1, 0): -1.0, (0, 1): 1.0}.get((enemy, player), 0.0)  # what skips is no point
            self._standing = score
        step = x - self._x
        if step < -0.3 and self._came and x > NEAR:
            self.reward += RETURN
        self._came = bool(step > 0.3) if abs(step) > 0.3 else self._came
        self._x = x


def dreamt(world: World, policies: np.ndarray, frames: int, seed: int) -> np.ndarray:
    """The reward (N,) of N policies (N, FEATURES), each in a dream of its own, all of them one batch."""
    keys = {0: NOOP, -1: UP, 1: DOWN}
    readers, judges = [Reader() for _ in policies], [Judge() for _ in policies]
    video = world.reset(seed).video.reshape(len(policies), *world.size, 3)
    balls = pong.ball(video)
    for _ in range(frames):
        seen = zip(policies, readers, balls, pong.paddle_y(video), strict=True)
        moves = [act(w, read(ball, float(paddle))) for w, read, ball, paddle in seen]
        video = world.step([keys[move] for move in moves]).video.reshape(len(policies), *world.size, 3)
        balls = pong.ball(video)
        for judge, ball, score in zip(judges, balls, pong.scores(video).tolist(), strict=True):
            judge(float(ball[0]), tuple(score))
    return np.array([judge.reward for judge in judges])


def train(world: World, cfg: AgentConfig) -> tuple[np.ndarray, list[float]]:
    """The policy (FEATURES,) that generations of dreams have led to, and the mean reward of each."""
    rng, mean, spread = np.random.default_rng(cfg.seed), np.zeros(FEATURES), np.ones(FEATURES)
    rewards = []
    for generation in progress(range(cfg.generations), "generations of dreams", console=Console(stderr=True)):
        policies = mean + spread * rng.standard_normal((cfg.candidates, FEATURES))
        returns = dreamt(world, policies, cfg.frames, cfg.seed + generation)
        best = policies[np.argsort(-returns)[: max(2, cfg.candidates // 5)]]
        mean, spread = best.mean(0), best.std(0) + 0.3 * 0.8**generation
        rewards.append(float(returns.mean()))
    return mean, rewards


def game(weights: np.ndarray, seed: int, size: tuple[int, int], longest: int) -> tuple[int, int]:
    """A real game of the policy: points of the player and of the console."""
    from PIL import Image

    source, read = open_source("atari:Pong"), Reader()
    step = source.reset(seed)
    for _ in range(longest):
        if step.done:
            break
        small = np.asarray(Image.fromarray(step.video).resize((size[1], size[0]), Image.Resampling.BOX))
        move = act(weights, read(pong.ball(small), float(pong.paddle_y(small))))
        step = source.step(source.actions.index({0: NOOP, -1: UP, 1: DOWN}[move]))
    enemy, player = (int(points) for points in step.state["ram"][13:15])
    return player, enemy


def agent(cfg: AgentConfig) -> dict[str, Any]:
    """Trains in dreams, plays real games: the figures."""
    world = World.load(cfg.world, cfg.backend, batch=cfg.candidates, precision=cfg.precision)
    if not {NOOP, UP, DOWN} <= set(world.actions):
        raise MlxworldError(f"{cfg.world} is not played with {NOOP}, {UP} and {DOWN}")
    close(open_source("atari:Pong"))  # what it needs is installed
    weights, rewards = train(world, cfg)
    games = {}
    for name, w in {"trained in dreams": weights, "untrained": np.zeros(FEATURES)}.items():
        with ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as pool:
            played = [pool.submit(game, w, cfg.seed + k, world.size, cfg.longest) for k in range(cfg.games)]
            scores = [p.result() for p in progress(played, f"real games, {name}", console=Console(stderr=True))]
        margins = np.array([player - enemy for player, enemy in scores])
        won = int((margins > 0).sum())
        games[name] = {"mean margin": float(margins.mean()), "won": won, "of": cfg.games, "scores": scores}
    return {"world": cfg.world, "policy": weights.tolist(), "rewards": rewards, "games": games}


def main(argv: list[str] | None = None) -> None:
    cfg = tyro.cli(AgentConfig, args=argv, description=__doc__, prog="python -m mlxworld.evaluate.agent")
    if min(cfg.candidates, cfg.generations, cfg.frames, cfg.games, cfg.longest) < 1:
        raise MlxworldError("--candidates, --generations, --frames, --games and --longest must be 1 or more")
    if cfg.out is not None:
        atomic.require_writable(cfg.out)
    outcome = agent(cfg)
    for name, figures in outcome["games"].items():
        print(f"{name}: {figures['mean margin']:+.1f} points a game, {figures['won']} of {figures['of']} games won")
    if cfg.out is not None:
        atomic.write(cfg.out, (json.dumps(outcome, indent=1) + "\n").encode())


if __name__ == "__main__":
    entry(main)
