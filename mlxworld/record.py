"""mlxworld record WORLD --out FOLDER: play a world and keep what is seen, heard and done as a dataset.

A game is played by one process from its own seed and cut into episodes; games are committed in their order, each file
whole, so that the result does not depend on the number of processes and a killed recording leaves a valid dataset.
"""

import os
import re
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from .cli import entry
from .configs.world import LARGEST
from .data.envs.crew import Crew, Game
from .data.envs.policies import make_policy
from .data.envs.source import action_space, close
from .data.envs.sources import aspect, open_source
from .data.envs.trial import require_readable
from .data.episodes.actions import actions_file, read_names
from .data.episodes.format import DatasetInfo, episodes, read_info, write_info
from .errors import MlxworldError
from .files.lock import writer

SEEDS = 1_000_000  # game g of seed s is played from s * SEEDS + g: different seeds never share a game
WORK = ".recording"
INFO = "dataset.json"
_NAME = re.compile(r"(\d{6})-\d{2}\.(mp4|actions\.csv|state\.npz|srt)")


@dataclass(frozen=True)
class RecordConfig:
    """Record a world as a dataset: pong, jumper, doom, doom:SCENARIO, bounce, bounce:SCENE, scenes, mujoco, atari:GAME,
    gym:ENVIRONMENT, or hybrid:ENVIRONMENT, with buttons and axes all at once."""

    world: Annotated[str, tyro.conf.Positional]
    """what to record, for example pong, doom:basic, atari:Breakout, gym:CarRacing-v3, gym:mymodule:Mine-v0"""
    out: Path
    """folder of the dataset"""
    steps: int = 20_000
    """steps to record; the last episode may end a little later"""
    seed: int = 0
    """recordings with different seeds share no game: one for training, another to hold out"""
    policy: str = "mixed"
    """who plays: random, sticky, a player that the world has (scripted, or other: one to hold out), or mixed"""
    size: int = 128
    """height and width of the pictures, pixels"""
    episode: int = 1000
    """longest episode (one file), steps; longer games are cut"""
    game: int = 4000
    """longest game, steps"""
    across: bool = False
    """a game that ends is followed by the next one in the same episode, so that ends and beginnings are learnt"""
    workers: int = 0
    """processes; 0: one for each core"""
    patience: float = 60.0
    """seconds after which a world that does not answer is ended"""
    append: bool = False
    """go on with this dataset until it holds --steps steps"""
    force: bool = False
    """replace the recording that is there"""


def record(config: RecordConfig) -> Path:
    """Record; returns the folder. Raises MlxworldError for bad settings, a full disk, a world that fails or hangs."""
    _check(config)
    source = open_source(config.world)
    try:
        make_policy(config.policy, source, 0)
        settings = {key: getattr(config, key) for key in ("policy", "seed", "episode", "game")}
        settings |= {"across": True} if config.across else {}
        size = (config.size, config.size)
        info = DatasetInfo(source.fps, source.samples, size, source.actions, source.name, source.licence, settings)
        space = action_space(source)
        info = replace(info, buttons=space.buttons, axes=space.axes, aspect=aspect(config.world))
    finally:
        close(source)
    require_readable(info)
    with writer(config.out, "is being recorded"):
        return _record(config, info)


def _check(config: RecordConfig) -> None:
    """Raises MlxworldError for settings that no recording can have."""
    if min(config.steps, config.episode, config.game, config.size) < 2 or config.workers < 0 or config.seed < 0:
        raise MlxworldError("--steps, --episode, --game and --size must be 2 or more, --workers and --seed 0 or more")
    if config.size > LARGEST:
        raise MlxworldError(f"--size must be at most {LARGEST}")
    if not config.patience > 0:
        raise MlxworldError("--patience must be above 0")
    inside = next((folder for folder in config.out.resolve().parents if (folder / INFO).exists()), None)
    if inside:
        raise MlxworldError(
            f"{config.out} lies inside the dataset {inside}, which would read it too: choose another --out"
        )


def _record(config: RecordConfig, info: DatasetInfo) -> Path:
    """Record into a folder that is ours alone."""
    done, first = _prepare(config, info)
    print(f"{info.source}: {len(info.actions)} actions: {', '.join(info.actions)}", file=sys.stderr)
    columns = (
        TextColumn("[bold]{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("steps"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[rate]}"),
    )
    start, new = time.monotonic(), 0
    try:
        with Progress(*columns, console=Console(stderr=True)) as bar:
            task = bar.add_task(f"recording {escape(info.source)}", total=config.steps, completed=done, rate="")

            def show(steps: int) -> None:
                rate = f"{steps / (time.monotonic() - start + 1e-9):,.0f}/s"
                bar.update(task, completed=min(done + steps, config.steps), rate=rate)

            new = _run(config, info, first, config.steps - done, show)
    finally:
        shutil.rmtree(config.out / WORK, ignore_errors=True)
    seconds = time.monotonic() - start
    print(
        f"recorded {new:,} steps in {seconds:.1f} s ({new / seconds:,.0f} steps/s); {config.out} holds {done + new:,} "
        f"steps in {len(episodes(config.out))} episodes, {(done + new) / info.fps / 60:.1f} minutes"
    )
    return config.out


def _run(config: RecordConfig, info: DatasetInfo, first: int, need: int, show: Callable[[int], None]) -> int:
    """Play games from number `first` on until `need` steps are added; returns how many were."""
    longest = min(max(config.game, config.episode), config.steps)
    work = config.out / WORK / str(os.getpid())  # a player of a recording that was killed may still write to its own
    plan = Game(config.world, config.policy, info.size, config.episode, longest, work, config.across)
    added = 0
    with Crew(plan, config.workers, config.patience) as crew:
        for game, lengths in crew.play(first, need, config.seed * SEEDS, show):
            if not added:
                _begin(config, info, first)
            for part, steps in enumerate(lengths):
                if added < need:
                    _commit(work, config.out, f"{game:06d}-{part:02d}")
                    added += steps
    return added


def _begin(config: RecordConfig, info: DatasetInfo, first: int) -> None:
    """There is a first game to keep: what it replaces goes, so that a world that fails at once costs no recording."""
    if first == 0:
        for path in _files(config.out):
            path.unlink()
        shutil.rmtree(config.out / ".cache", ignore_errors=True)
    write_info(config.out, info)


def _commit(work: Path, folder: Path, name: str) -> None:
    """Move a finished episode into the dataset; its video comes last."""
    for suffix in ("srt", "state.npz", "actions.csv", "mp4"):
        part = work / f"{name}.{suffix}"
        if part.exists():
            part.replace(folder / part.name)


def _files(folder: Path) -> list[Path]:
    """Files of recorded episodes, those of one that was never finished included."""
    return [path for path in folder.iterdir() if _NAME.fullmatch(path.name)]


def _prepare(config: RecordConfig, info: DatasetInfo) -> tuple[int, int]:
    """What the folder holds: (steps, number of the next game). Raises MlxworldError unless it may be recorded to.

    A recording without an episode, as one leaves that was killed at once, counts as none.
    """
    out = config.out
    shutil.rmtree(out / WORK, ignore_errors=True)
    if not any(not path.name.startswith(".") for path in out.iterdir()):
        return 0, 0
    old = read_info(out)
    if old is None or not old.recording:
        raise MlxworldError(f"{out}: holds files that are no recording; choose another --out")
    if config.force or not episodes(out):
        return 0, 0
    if not config.append:
        raise MlxworldError(f"{out}: holds a recording; --append goes on with it, --force replaces it")
    if old != replace(info, recording=old.recording, aspect=old.aspect) or old.recording != info.recording:
        raise MlxworldError(f"{out}: was recorded with other settings ({old.source}, {old.recording}); see {INFO}")
    films = [path for path in _files(out) if path.suffix == ".mp4"]
    steps = sum(len(read_names(actions_file(path))) for path in films)
    return steps, max((int(path.name[:6]) + 1 for path in films), default=0)


def main(argv: list[str] | None = None) -> None:
    """`mlxworld record`."""
    record(tyro.cli(RecordConfig, args=argv, prog="mlxworld record"))


if __name__ == "__main__":
    entry(main)
