"""python -m docs.hooks --out runs/hooks: what a latent hook teaches a shipped Pong whose keys are exchanged.

The dataset is Pong in which "up" and "down" mean each other. A hook alone, LoRA of equal size, the whole dynamics (full
fine-tuning), each with the same time, and nothing: of each, where the dreamt paddle goes on games that training never
saw, with the true keys, and with keys of other clips. It ends in --minutes, recording and measuring included; what is
there already is not made again.
"""

import json
import math
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from mlxworld import World, bench_hooks, record
from mlxworld import train as training
from mlxworld.cli import entry
from mlxworld.data import open_frames
from mlxworld.data.episodes.actions import read_names, write_names
from mlxworld.errors import MlxworldError
from mlxworld.evaluate.held_out import rows
from mlxworld.evaluate.pong import paddle_y
from mlxworld.files import atomic, checkpoint, hook_file
from mlxworld.files.reading import read_json
from mlxworld.play.dream import dream
from mlxworld.training import lora

SEEN, FRAMES, NEAR = 16, 48, 4.0  # frames of a clip that are seen, and all; pixels of 128
COLUMNS = ("paddle within 4 px", "paddle, pixels off", "moves as it should", "within 4 px, other keys")
TRAININGS, SPARE, LEAST = 3, 20.0, 30.0  # how many; seconds that are left over, and that a training needs


@dataclass(frozen=True)
class HooksConfig:
    out: Path  # folder of the datasets, the runs and the table
    world: str = "pong"
    minutes: float = 10.0  # of all; what recording and measuring leave is shared by the three trainings
    record_steps: int = 20000  # to train on; a fifth as many are held out
    clips: int = 32  # that a row is measured on
    backend: str = "torch"
    hook_lr: float = 0.01
    lora_lr: float = 0.003
    full_lr: float = 0.001
    flags: tuple[str, ...] = ()  # more flags of mlxworld train, for all: name=value


def exchanged(source: Path, out: Path, first: str, second: str) -> Path:
    """A copy of a dataset in which two actions have each other's names."""
    shutil.copytree(source, out, ignore=shutil.ignore_patterns(".*"))
    names = {first: second, second: first}
    for path in out.glob("*.actions.csv"):
        film = path.with_name(path.name.removesuffix(".actions.csv") + ".mp4")
        write_names(film, [names.get(name, name) for name in read_names(path)])
    return out


def data(cfg: HooksConfig) -> tuple[Path, Path]:
    """The dataset to train on and the one that is held out, recorded now where they are not there."""
    made = []
    for name, seed, steps in (("train", 0, cfg.record_steps), ("held", 1, cfg.record_steps // 5)):
        plain, other = cfg.out / f"{name}-plain", cfg.out / name
        if not plain.is_dir():
            record.main(["pong", "--out", str(plain), "--steps", str(steps), "--seed", str(seed)])
        made.append(other if other.is_dir() else exchanged(plain, other, "up", "down"))
    return made[0], made[1]


def train(cfg: HooksConfig, source: Path, minutes: float, name: str, lr: float, *flags: str) -> Path:
    """The folder of a training that begins from the world, trained now where it is not done."""
    out = cfg.out / name
    if not (out / "samples/final.png").exists():
        argv = ["--data", str(source), "--out", str(out), "--from", cfg.world, "--backend", cfg.backend]
        argv += ["--minutes", str(minutes), "--sample-minutes", "1e5", "--dynamics.lr", str(lr), *flags]
        argv += ["--dynamics.frames", "16"]  # one length of clips: compiled once
        argv += [word for flag in cfg.flags for word in f"--{flag}".split("=", 1)]
        training.main([*argv, "--resume"] if (out / "checkpoint.safetensors").exists() else argv)
    return out


def shared(cfg: HooksConfig, begun: float, row: float) -> float:
    """Minutes of each training; row: seconds that a row takes to be measured. Once a training is done its minutes are
    those of all, so that a comparison that goes on gives each the same. Raises MlxworldError where nothing is left."""
    path = cfg.out / "minutes.json"
    if path.is_file() and any(cfg.out.glob("*/samples/final.png")):
        return float(read_json(path))
    left = 60 * cfg.minutes - (time.monotonic() - begun) - (TRAININGS + 1) * row - SPARE
    if left < TRAININGS * LEAST:
        raise MlxworldError(f"--minutes {cfg.minutes:g} is too little: {left:.0f} s are left to train three times")
    minutes = left / TRAININGS / 60
    atomic.write_text(path, f"{minutes}\n")
    return minutes


def measure(cfg: HooksConfig, held: Path, world: str | Path, hooks: tuple[Path, ...] = ()) -> dict[str, float]:
    """Where the dreamt paddle goes on held-out clips: the figures of COLUMNS."""
    played = World.load(world, cfg.backend, precision="float32", compile=False, hooks=hooks)
    store = open_frames(held, size=played.config.size)
    index = rows(store, cfg.clips, FRAMES)
    video, audio, actions = store.video[index], store.sound(index), store.actions[index]
    other = np.concatenate([actions[:, :SEEN], np.roll(actions, 1, axis=0)[:, SEEN:]], axis=1)
    truth, dreams = paddle_y(video), []
    for keys in (actions, other):
        dreams.append(paddle_y(dream(played.package, played.model, video, audio, keys, SEEN)[0]))
    off, off_other = (np.nan_to_num(np.abs(y - truth)[:, SEEN:], nan=128.0) for y in dreams)
    moved, wanted = ((y[:, SEEN + 8 :] - y[:, SEEN:-8]) for y in (dreams[0], truth))  # in 8 frames
    clear = np.abs(wanted) > NEAR
    same = (np.sign(moved) == np.sign(wanted)) & (np.abs(moved) > 1)
    values = (np.mean(off <= NEAR), np.median(off), np.mean(same[clear]), np.mean(off_other <= NEAR))
    return dict(zip(COLUMNS, map(float, values), strict=True))


def compare(cfg: HooksConfig) -> None:
    """All rows, then the table, on paper and in table.json, and the attention that the hook gets, mass.png."""
    begun = time.monotonic()
    source, held = data(cfg)
    figures: dict[str, Any] = {"nothing, keys as they were": measure(cfg, cfg.out / "held-plain", cfg.world)}
    second = time.monotonic()
    figures["nothing"] = measure(cfg, held, cfg.world)
    minutes = shared(cfg, begun, time.monotonic() - second)
    stack = World.load(cfg.world, cfg.backend, precision="float32", compile=False).model.hooked()
    hook = train(cfg, source, minutes, "hook", cfg.hook_lr, "--hook", "exchanged") / "exchanged.safetensors"
    learnt = sum(x.size for x in hook_file.load(hook)[1].values())
    figures["a hook"] = measure(cfg, held, cfg.world, (hook,)) | {"numbers": learnt}
    rank = max(1, learnt // lora.numbers(stack, 1))
    low = train(cfg, source, minutes, "lora", cfg.lora_lr, "--lora", str(rank))
    figures[f"LoRA of rank {rank}"] = measure(cfg, held, low) | {"numbers": lora.numbers(stack, rank)}
    tuned = train(cfg, source, minutes, "full", cfg.full_lr, "--tokenizer.steps", "0", "--physics.steps", "0")
    learnt = sum(
        math.prod(shape)
        for name, shape in checkpoint.open(tuned / "model.safetensors").shapes.items()
        if name.startswith("dynamics.")
    )
    figures["all of the dynamics"] = measure(cfg, held, tuned) | {"numbers": learnt}
    atomic.write_text(cfg.out / "table.json", json.dumps({"minutes": minutes, "rows": figures}, indent=1) + "\n")
    print(table(figures))
    argv = ["--world", cfg.world, "--hook", str(hook), "--data", str(held), "--backend", cfg.backend]
    bench_hooks.main([*argv, "--picture", str(cfg.out / "mass.png")])


def table(figures: dict[str, dict[str, float]]) -> str:
    """Markdown: a row for what learned, and how many numbers it is."""
    columns = ("numbers", *COLUMNS)
    lines = [f"| what learned | {' | '.join(columns)} |", f"|---|{'---:|' * len(columns)}"]
    for name, row in figures.items():
        cells = [f"{row.get('numbers', 0):,.0f}", *(f"{row[c]:.2f}" for c in COLUMNS)]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    entry(lambda: compare(tyro.cli(HooksConfig, prog="hooks")))
