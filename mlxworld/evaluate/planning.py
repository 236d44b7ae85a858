"""Plans made in a dream, carried out in the real environment: `python -m mlxworld.evaluate.planning --world pong`.

Every `hold` steps the world begins from the real frames of late, a plan is made, and its first action is held in the
real environment. Beam search, CEM and random shooting dream equally many frames for a plan. The reward is read from
pictures, dreamt ones by the plan and real ones for the return, by the same reader; beside it stand who does nothing,
who plays by chance, and a script that knows the game.

N worlds, T frames, H, W pixels, S samples of a frame.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from rich.console import Console
from rich.progress import Progress

from mlxworld.cli import entry
from mlxworld.data import Policy, Source, Step, make_policy, open_source
from mlxworld.data.envs.source import close
from mlxworld.data.episodes.pixels import Scaler, rgb
from mlxworld.errors import MlxworldError
from mlxworld.files import atomic
from mlxworld.play.world import Clip, World

from . import pong

METHODS = ("beam", "cem", "shooting")
CORNER = np.array([24.0, 24.0])  # of bounce's room, where the pushed ball is to be


@dataclass(frozen=True)
class Task:
    """What is wanted in an environment: reward of pictures (N, H, W, 3) -> (N,), and what the state says at the end of
    a game, {name: number}."""

    reward: Callable[[np.ndarray], np.ndarray]
    outcome: Callable[[list[Step]], dict[str, float]]


def follow(video: np.ndarray) -> np.ndarray:
    """Pong: 0 where the player's paddle is as high as the ball, down to -1 a whole picture away; 0 without a ball."""
    ball, paddle = pong.ball(video)[..., 1], pong.paddle_y(video)
    apart = np.abs(np.where(np.isnan(paddle), 0.0, paddle) - ball) / 128
    return -np.where(np.isnan(ball), 0.0, apart)


def points(steps: list[Step]) -> dict[str, float]:
    """Pong: points won and lost, as the console counts them."""
    first, last = steps[0].state["ram"].astype(int), steps[-1].state["ram"].astype(int)
    return {"won": float(last[14] - first[14]), "lost": float(last[13] - first[13])}


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


def nearness(steps: list[Step]) -> dict[str, float]:
    """Bounce: the same distance by the simulator's own positions, mean over the game."""
    away = [np.linalg.norm(step.state["position"][0] - CORNER) / 128 for step in steps]
    return {"distance": float(np.mean(away))}


TASKS = {"pong": Task(follow, points), "bounce": Task(to_the_corner, nearness)}


@dataclass(frozen=True)
class PlanningConfig:
    world: str = "pong"  # a shipped world or a folder
    env: str = "pong"  # pong or bounce: where the plans are carried out
    backend: str | None = None  # mlx or torch; the best one installed
    games: int = 6
    steps: int = 400  # of a game, after those that the world begins from
    worlds: int = 48  # dreamt at once
    horizon: int = 24  # frames of a plan
    hold: int = 4  # frames that an action is held, and between two plans
    seed: int = 9000  # of the first game
    out: Path | None = None  # JSON of the figures


def main(argv: list[str] | None = None) -> None:
    """Plays, and prints the table."""
    cfg = tyro.cli(PlanningConfig, args=sys.argv[1:] if argv is None else argv, description=__doc__)
    print(table(measure(cfg, World.load(cfg.world, cfg.backend))))


def measure(cfg: PlanningConfig, world: World) -> dict[str, Any]:
    """Of each player: "return" (mean reward of a real frame), its standard error over the games, and the outcome. Those
    that are done are in --out already while others play."""
    if cfg.env not in TASKS:
        raise MlxworldError(f"unknown --env {cfg.env!r}: choose one of {', '.join(TASKS)}")
    if min(cfg.games, cfg.steps, cfg.worlds, cfg.horizon, cfg.hold) < 1:
        raise MlxworldError("--games, --steps, --worlds, --horizon and --hold must be 1 or more")
    players = {name: planner(cfg, world, name) for name in METHODS} | others(cfg)
    figures: dict[str, Any] = {"env": cfg.env, "world": world.name, "device": world.device, "games": cfg.games}
    figures |= {"steps": cfg.steps, "worlds": cfg.worlds, "horizon": cfg.horizon, "hold": cfg.hold, "players": {}}
    with opened(cfg.env) as source, Progress(console=Console(stderr=True)) as bar:
        if tuple(source.actions) != tuple(world.actions):
            raise MlxworldError(f"{world.name} has the actions {world.actions}, {cfg.env} has {source.actions}")
        for name, player in players.items():
            begun, rows = time.perf_counter(), []
            for game in bar.track(range(cfg.games), description=name):
                rows.append(play(source, world, player(source, cfg.seed + game), cfg, cfg.seed + game))
            figures["players"][name] = summary(rows) | {"seconds": time.perf_counter() - begun}
            if cfg.out is not None:
                atomic.write_text(cfg.out, json.dumps(figures, indent=1) + "\n")
    return figures


@contextmanager
def opened(name: str) -> Iterator[Source]:
    """A real environment."""
    source = open_source(name)
    try:
        yield source
    finally:
        close(source)


Player = Callable[[list[Step], list[int]], int]  # what happened, and the actions that led to it -> the next action


def planner(cfg: PlanningConfig, world: World, method: str) -> Callable[[Source, int], Player]:
    """A player that plans by dreams."""
    reward, scaler = TASKS[cfg.env].reward, Scaler()
    keep = world.config.context_frames + world.config.receptive_field

    def begun(source: Source, seed: int) -> Player:
        def act(steps: list[Step], actions: list[int]) -> int:
            video = [scaler.resize(rgb(step.video), world.size).to_ndarray() for step in steps[-keep:]]
            audio = np.stack([step.audio for step in steps[-keep:]])
            world.reset(seed=seed, context=Clip(np.stack(video), audio, np.array(actions[-keep:], np.int32)))
            options = {"worlds": cfg.worlds, "horizon": cfg.horizon, "hold": cfg.hold, "seed": len(steps)}
            return world.plan(lambda frame: reward(frame.video), method=method, **options).actions[0]

        return act

    return begun


def others(cfg: PlanningConfig) -> dict[str, Callable[[Source, int], Player]]:
    """Who plays without a dream: by chance, not at all, and by a script where there is one."""

    def by_policy(name: str) -> Callable[[Source, int], Player]:
        def begun(source: Source, seed: int) -> Player:
            policy: Policy = make_policy(name, source, seed)
            return lambda steps, actions: policy.act(steps[-1])

        return begun

    players = {"random": by_policy("random"), "nothing": lambda source, seed: lambda steps, actions: 0}
    return players | ({"script": by_policy("scripted")} if cfg.env == "pong" else {})


def play(source: Source, world: World, player: Player, cfg: PlanningConfig, seed: int) -> dict[str, float]:
    """One game: the mean reward of its frames, and its outcome. It begins with as much of nothing as a world sees."""
    task, steps, actions = TASKS[cfg.env], [source.reset(seed)], [0]
    begin, chosen = world.config.context_frames, 0
    while len(steps) < begin + cfg.steps and not steps[-1].done:
        if len(steps) >= begin and (len(steps) - begin) % cfg.hold == 0:
            chosen = player(steps, actions)
        steps.append(source.step(chosen))
        actions.append(chosen)
    if len(steps) <= begin:
        raise MlxworldError(f"{cfg.env}: a game ended before it was played")
    played = steps[begin:]
    video = np.stack([step.video for step in played])
    return {"return": float(task.reward(video).mean()), **task.outcome(steps[begin - 1 :])}


def summary(rows: list[dict[str, float]]) -> dict[str, float]:
    """Means over the games, and the standard error of the return."""
    error = np.std([r["return"] for r in rows], ddof=1) / np.sqrt(len(rows)) if len(rows) > 1 else float("nan")
    return {name: float(np.mean([r[name] for r in rows])) for name in rows[0]} | {"error": float(error)}


def table(figures: dict[str, Any]) -> str:
    """The figures as a table in Markdown. The gain is what a player's return is above that of chance, by that of random
    shooting."""
    players = figures["players"]
    least, shot = players["random"]["return"], players["shooting"]["return"]
    names = [n for n in next(iter(players.values())) if n not in ("return", "error", "seconds")]
    head = ["player", "return", "standard error", "gain", *names, "s"]
    lines = [f"| {' | '.join(head)} |", f"|---|{'---:|' * (len(head) - 1)}"]
    for name, p in players.items():
        gain = (p["return"] - least) / (shot - least) + 0.0 if shot != least else float("nan")
        cells = [f"{p['return']:.4f}", f"{p['error']:.4f}", f"{gain:.2f}", *(f"{p[n]:.3g}" for n in names)]
        lines.append(f"| {name} | {' | '.join(cells)} | {p['seconds']:.0f} |")
    about = (
        f"{figures['games']} games of {figures['steps']} steps, {figures['worlds']} worlds, {figures['horizon']} frames"
    )
    return "\n".join([f"{figures['world']} in {figures['env']}: {about} ({figures['device']})", "", *lines])


if __name__ == "__main__":
    entry(main)
