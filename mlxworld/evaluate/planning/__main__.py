"""Plans made in a dream, carried out in the real environment: `python -m mlxworld.evaluate.planning --world pong`.

Every `replan` steps a plan is made from the real frames so far, and its actions are carried out in the real
environment. Beam search, CEM and random shooting try equally many frames for a plan. The reward is read from pictures,
dreamt ones by the plan and real ones for the return, by the same reader. Beside them stand who does nothing, who plays
by chance, and a script that knows the game; with --truth also the same searches in the emulator itself, and how well
rewards are read.
"""

import json
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from ...cli import entry
from ...data import Source, Step, open_source
from ...data.envs.source import close
from ...errors import MlxworldError
from ...files import atomic
from ...play.plan import Search
from ...play.world import World
from . import reader
from .players import METHODS, Begins, Game, Settings, by_policy, dreamer, emulated, nothing, play
from .tasks import TASKS, Task


@dataclass(frozen=True)
class PlanningConfig:
    world: str = "pong"  # a shipped world or a folder
    env: str = "pong"  # pong or bounce: where the plans are carried out
    backend: str | None = None  # mlx or torch; the best one installed
    passes: int | None = None  # denoising passes a dreamt frame; what the world was made for
    games: int = 6
    steps: int = 400  # of a game, after those that the world begins from
    together: int = 1  # games that are planned in one batch; all of them fill a GPU
    worlds: int = 48  # dreamt at once, for each game
    horizon: int = 24  # frames of a plan
    hold: int = 4  # frames that an action is held
    every: int = 1  # frames from one whose reward is read to the next; hold is a multiple of it
    replan: int | None = None  # frames of a plan that are carried out, a multiple of hold; hold
    minutes: float | None = None  # no game is begun that would not end by then, as long as those before; one is played
    only: tuple[str, ...] = ()  # players, by their names in the table; all
    truth: bool = False  # also the same searches in the emulator, and how well rewards are read
    seed: int = 9000  # of the first game
    out: Path | None = None  # JSON of the figures, written after each game

    @property
    def search(self) -> dict[str, Any]:
        """Options of each plan."""
        return {"worlds": self.worlds, "horizon": self.horizon, "hold": self.hold, "every": self.every}


def main(argv: list[str] | None = None) -> None:
    """Plays, and prints the table."""
    cfg = tyro.cli(PlanningConfig, args=argv, description=__doc__, prog="python -m mlxworld.evaluate.planning")
    if cfg.out is not None:
        atomic.require_writable(cfg.out)
    options = {} if cfg.passes is None else {"steps": cfg.passes}
    print(table(measure(cfg, World.load(cfg.world, cfg.backend, **options))))


def measure(cfg: PlanningConfig, world: World) -> dict[str, Any]:
    """Of each player: "return" (mean reward of a real frame), its standard error over the games, the outcome, the
    seconds, and all of that of each game; "games" that everybody has played. What has been played is in --out already
    while more is played."""
    task, settings = _checked(cfg, world)
    figures: dict[str, Any] = {"env": cfg.env, "world": world.name, "device": world.device, "games": cfg.games}
    figures |= {"steps": cfg.steps, **cfg.search, "replan": settings.replan, "passes": world.steps, "players": {}}
    groups = [range(i, min(cfg.games, i + cfg.together)) for i in range(0, cfg.games, cfg.together)]
    with opened(cfg.env, min(cfg.games, cfg.together)) as sources, _progress() as bar:
        if tuple(sources[0].actions) != tuple(world.actions):
            raise MlxworldError(f"{world.name} has the actions {world.actions}, {cfg.env} has {sources[0].actions}")
        task_id = bar.add_task("", total=None)
        players = _players(cfg, settings, world, task, sources[0], lambda n: bar.advance(task_id, n))
        plans = cfg.games * math.ceil(cfg.steps / settings.replan)  # of a player
        bar.update(task_id, total=plans * sum(name.startswith(METHODS) for name in players))
        rows: dict[str, list[dict[str, float]]] = {name: [] for name in players}
        if cfg.truth:
            bar.update(task_id, description="reading rewards")
            figures["reader"] = _read(cfg, task, world, Game(sources[0], cfg.seed - 1))
        started = last = time.perf_counter()
        longest = 0.0
        for numbers in groups:
            if cfg.minutes is not None and last - started + longest > 60 * cfg.minutes and longest:
                break
            for name, begins in players.items():
                bar.update(task_id, description=f"{name}, game {numbers[0] + 1} of {cfg.games}")
                begun = time.perf_counter()
                games = [Game(source, cfg.seed + i) for source, i in zip(sources, numbers, strict=False)]
                played = play(games, begins, world.config.context_frames, cfg.steps, cfg.hold)
                seconds = (time.perf_counter() - begun) / len(games)
                rows[name] += [_row(task, steps) | {"seconds": seconds} for steps in played]
                figures["players"][name] = summary(rows[name]) | {"rows": rows[name]}
                figures["games"] = min(map(len, rows.values()))
                if cfg.out is not None:
                    atomic.write_text(cfg.out, json.dumps(figures, indent=1) + "\n")
            now = time.perf_counter()
            longest, last = max(longest, now - last), now
    return figures


def _checked(cfg: PlanningConfig, world: World) -> tuple[Task, Settings]:
    if cfg.env not in TASKS:
        raise MlxworldError(f"unknown --env {cfg.env!r}: choose one of {', '.join(TASKS)}")
    if min(cfg.games, cfg.steps, cfg.together) < 1:
        raise MlxworldError("--games, --steps and --together must be 1 or more")
    for method in METHODS:
        search = Search.read({"method": method, **cfg.search}, len(world.actions))
        replan, longest = cfg.hold if cfg.replan is None else cfg.replan, search.decisions * cfg.hold
        if not cfg.hold <= replan <= longest or replan % cfg.hold:
            raise MlxworldError(f"--replan must be a multiple of --hold, {cfg.hold} to {longest}, not {replan}")
    return TASKS[cfg.env], Settings(cfg.search, replan)


def _emulates(cfg: PlanningConfig, source: Source) -> bool:
    return cfg.truth and hasattr(source, "snapshot")


def _players(cfg: PlanningConfig, settings: Settings, world: World, task: Task, source: Source, planned: Any):
    """By name, who plays: those that need no time first, so that there is something to stand beside."""
    players: dict[str, Begins] = {"random": by_policy("random"), "nothing": nothing}
    players |= {"script": by_policy("scripted")} if cfg.env == "pong" else {}
    players |= {name: dreamer(settings, world, task, name, planned) for name in METHODS}
    if _emulates(cfg, source):
        players |= {f"{name}, emulator": emulated(settings, task, name, planned) for name in METHODS}
    for name in cfg.only:
        if name not in players:
            raise MlxworldError(f"nobody called {name!r} plays: choose of {'; '.join(players)}")
    return {name: begins for name, begins in players.items() if not cfg.only or name in cfg.only}


def _read(cfg: PlanningConfig, task: Task, world: World, game: Game) -> dict[str, Any]:
    """How well rewards are read, in a game that is played by chance."""
    begin = world.config.context_frames + world.config.receptive_field
    played = play([game], by_policy("random"), begin, cfg.horizon + 10 * reader.DREAMS, cfg.hold)[0]
    return {"real": reader.of_real(task, played), "dreams": reader.of_dreams(task, world, game, cfg.horizon)}


def _progress() -> Progress:
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("plans,")
    left = TimeElapsedColumn(), TextColumn("and"), TimeRemainingColumn(), TextColumn("left")
    return Progress(*columns, *left, console=Console(stderr=True), speed_estimate_period=600)


@contextmanager
def opened(name: str, count: int = 1) -> Iterator[list[Source]]:
    """Real environments, each for one game at a time."""
    sources = []
    try:
        for _ in range(count):
            sources.append(open_source(name))
        yield sources
    finally:
        for source in sources:
            close(source)


def _row(task: Task, steps: list[Step]) -> dict[str, float]:
    """The mean reward of the frames that were played, and the outcome."""
    return {"return": float(task.reward(np.stack([s.video for s in steps[1:]])).mean()), **task.outcome(steps)}


def summary(rows: list[dict[str, float]]) -> dict[str, float]:
    """Means over the games, and the standard error of the return."""
    error = np.std([r["return"] for r in rows], ddof=1) / np.sqrt(len(rows)) if len(rows) > 1 else float("nan")
    return {name: float(np.mean([r[name] for r in rows])) for name in rows[0]} | {"error": float(error)}


def table(figures: dict[str, Any]) -> str:
    """The figures as a table in Markdown. The gain is what a player's return is above that of chance, by that of random
    shooting; left is what it lacks of the best return there is, 0, by the same; s are the seconds of a game."""
    players = figures["players"]
    least, shot = (players[n]["return"] if n in players else math.nan for n in ("random", "shooting"))
    names = [n for n in next(iter(players.values())) if n not in ("return", "error", "seconds", "rows")]
    head = ["player", "return", "standard error", "gain", "left", *names, "s"]
    lines = [f"| {' | '.join(head)} |", f"|---|{'---:|' * (len(head) - 1)}"]
    for name, p in players.items():
        gain = (p["return"] - least) / (shot - least) + 0.0 if shot != least else float("nan")
        cells = [
            f"{p['return']:.4f}",
            f"{p['error']:.4f}",
            f"{gain:.2f}",
            f"{p['return'] / shot if shot else math.nan:.2f}",
        ]
        cells += [f"{p[n]:.3g}" for n in names]
        lines.append(f"| {name} | {' | '.join(cells)} | {p['seconds']:.0f} |")
    about = ", ".join(f"{name} {figures[name]}" for name in ("worlds", "horizon", "hold", "every", "replan", "passes"))
    games = f"{figures['games']} games of {figures['steps']} steps"
    head = f"{figures['world']} in {figures['env']}: {games}, {about} ({figures['device']})"
    return "\n".join([head, "", *lines, *_reading(figures.get("reader"))])


def _reading(figures: dict[str, Any] | None) -> list[str]:
    if figures is None:
        return []
    lines = [
        "",
        "| reward read from | correlation | error, pixels | last real frame's instead |",
        "|---|---:|---:|---:|",
    ]
    for name, p in {"real frames": figures["real"], **figures["dreams"]}.items():
        still = f"{p['still correlation']:.2f}, {p['still error']:.1f}" if "still error" in p else ""
        what = name if name == "real frames" else f"frame {name} of dreams"
        lines.append(f"| {what} | {p['correlation']:.2f} | {p['error']:.1f} | {still} |")
    return lines


if __name__ == "__main__":
    entry(main)
