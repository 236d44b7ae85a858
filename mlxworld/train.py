"""From a folder of recorded episodes to a world that can be played, in one command.

Three stages: the tokenizer learns to see and to hear; the dynamics learns to foresee, on latents computed once, first
over short clips, then over long ones; last, if --forcing.steps asks for it, from its own dreams (self forcing).

A run folder explains itself: `config.json`, `model.safetensors`, `starts.safetensors` are a world that plays at any
time; `train.json` are the settings, `checkpoint.safetensors` all that `--resume` needs, `samples/` what it dreams,
`events/` what TensorBoard shows. Killed at any moment, `--resume` goes on to the same weights.
"""

import dataclasses
import json
import shutil
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tyro

from . import on
from .cli import entry
from .configs.openworld import OpenWorldConfig, preset
from .configs.optim import OptimConfig
from .data import FrameStore, open_frames
from .errors import MlxworldError
from .files import atomic
from .files.reading import read_json
from .play.world import preferred_backend
from .training.monitor import Monitor
from .training.stages import CONTEXT, STAGES, Run

SOURCES = ("pong", "doom", "bounce")  # datasets that are recorded if they are not there
# What may differ when a run is resumed: where things are, what is shown, how fast it goes. Rates, so that a training
# that diverged can go on more slowly.
MAY_CHANGE = {"data", "out", "resume", "backend", "compile", "record_steps", "sample_minutes", "save_minutes"}
MAY_CHANGE |= {"log_steps", *(f"{name}.lr" for name in STAGES)}


@dataclass(frozen=True)
class StageConfig:
    steps: int
    batch: int  # clips a step
    frames: tuple[int, ...]  # frames of a clip, one value for each equal part of the stage: the curriculum
    lr: float  # peak learning rate
    accumulate: int = 1  # parts that a batch is cut into


@dataclass(frozen=True)
class TrainConfig:
    data: str  # a dataset's folder, or pong, doom, bounce: then data/NAME, recorded first if it is not there
    out: Path  # run folder
    preset: str = "nano"  # the model's preset; --model.* change it
    backend: str | None = None  # mlx or torch; the best one installed
    resume: bool = False  # go on where the run in --out stopped
    precision: str = "float32"  # of the training step: float32, bfloat16 or float16
    compile: bool = False  # compile the training step
    seed: int = 0  # of the weights, of the order of the data and of all noise
    record_steps: int = 20000  # steps to record if the dataset is not there
    sample_minutes: float = 3.0  # between two pictures of what it dreams
    save_minutes: float = 2.0  # between two checkpoints
    log_steps: int = 20  # between two readings of the losses: samples and checkpoints are made then
    tokenizer: StageConfig = StageConfig(steps=4000, batch=32, frames=(8,), lr=1e-3)
    dynamics: StageConfig = StageConfig(steps=8000, batch=48, frames=(8, 16, 32), lr=1e-3)
    forcing: StageConfig = StageConfig(steps=0, batch=48, frames=(32,), lr=1e-4)  # off: it made Pong worse
    optim: OptimConfig = field(default_factory=lambda: OptimConfig(name="muon"))
    model: OpenWorldConfig = field(default_factory=lambda: preset("nano"))


@dataclass(frozen=True)
class _Optim(OptimConfig):
    """As flags, without what each stage sets for itself."""

    lr: tyro.conf.Suppress[float] = OptimConfig.lr


@dataclass(frozen=True)
class _Model(OpenWorldConfig):
    """As flags, without what the dataset decides and without what only one value has."""

    family: tyro.conf.Suppress[str] = OpenWorldConfig.family
    fps: tyro.conf.Suppress[int] = OpenWorldConfig.fps
    sample_rate: tyro.conf.Suppress[int] = OpenWorldConfig.sample_rate
    samples: tyro.conf.Suppress[int] = OpenWorldConfig.samples
    actions: tyro.conf.Suppress[tuple[str, ...]] = OpenWorldConfig.actions


def parse(argv: list[str]) -> TrainConfig:
    """Flags to a TrainConfig; the preset, wherever it stands among them, gives the model's defaults."""
    name = TrainConfig.preset
    for i, word in enumerate(argv):
        if word == "--preset" and i + 1 < len(argv):
            name = argv[i + 1]
        elif word.startswith("--preset="):
            name = word.removeprefix("--preset=")
    model = _Model(**vars(preset(name)))
    default = TrainConfig(data=tyro.MISSING, out=tyro.MISSING, preset=name, optim=_Optim(name="muon"), model=model)
    return tyro.cli(TrainConfig, args=argv, default=default, description=__doc__, prog="mlxworld train")


def main(argv: list[str] | None = None) -> None:
    """`mlxworld train`."""
    train(parse(sys.argv[1:] if argv is None else argv))


def train(cfg: TrainConfig) -> None:
    """Runs, or resumes, a whole training. Raises MlxworldError for what a person can put right."""
    check(cfg)
    package = on(cfg.backend or preferred_backend())
    new = claim(cfg)
    try:
        folder = dataset(cfg)
        cache = open_frames(folder, size=cfg.model.size)
        check_clips(cfg, folder, cache)
    except MlxworldError:
        if new:  # nothing has begun: the next try is not a second run
            (cfg.out / "train.json").unlink()
        raise
    begun = time.monotonic()
    with Monitor(cfg.out / "events") as monitor:
        Run(package, cfg, cache, monitor).go()
        monitor.say(f"done in {(time.monotonic() - begun) / 60:.1f} min: python -m apps.play --world {cfg.out}")


def claim(cfg: TrainConfig) -> bool:
    """Writes the settings into the run folder; whether this began a run. Raises MlxworldError if the folder holds one
    already, or on resuming if it holds none or one with other settings."""
    path = cfg.out / "train.json"
    settings = json.loads(json.dumps(dataclasses.asdict(cfg), default=str))
    if cfg.resume:
        if not path.is_file():
            raise MlxworldError(f"{cfg.out} holds no run to resume: leave out --resume to begin one")
        begun = read_json(path)
        if not isinstance(begun, dict):
            raise MlxworldError(f"{path} holds no settings")
        before, now = flags(begun), flags(settings)
        differ = [k for k in sorted(before.keys() | now.keys()) if before.get(k) != now.get(k) and k not in MAY_CHANGE]
        if differ:
            found = ", ".join(f"--{k.replace('_', '-')} was {before.get(k)}, not {now.get(k)}" for k in differ[:3])
            raise MlxworldError(f"{cfg.out} was begun with other settings, resume with the same: {found}")
    elif path.exists() or (cfg.out / "checkpoint.safetensors").exists():
        raise MlxworldError(f"{cfg.out} already holds a run: add --resume to go on, or choose another --out")
    atomic.write_text(path, json.dumps(settings, indent=1) + "\n")
    return not cfg.resume


def flags(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as {"optim.ema": 0.999, ...}."""
    flat = {}
    for name, value in settings.items():
        flat |= flags(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return flat


def dataset(cfg: TrainConfig) -> Path:
    """The dataset's folder; a named source is recorded first if its folder is not there."""
    folder = Path(cfg.data)
    if folder.is_dir():
        return folder
    if cfg.data not in SOURCES:
        raise MlxworldError(f"no dataset at {cfg.data}: give a folder, or {', '.join(SOURCES)}")
    folder = Path("data") / cfg.data
    if not folder.is_dir():
        from . import record

        part = folder.with_name(f".{folder.name}.part")  # or a killed recording would pass for a whole one
        shutil.rmtree(part, ignore_errors=True)
        size = str(cfg.model.size)
        record.main([cfg.data, "--out", str(part), "--steps", str(cfg.record_steps), "--size", size])
        part.rename(folder)
    return folder


def check(cfg: TrainConfig) -> None:
    """Raises MlxworldError for settings that cannot be."""
    if cfg.precision not in ("float32", "bfloat16", "float16"):
        raise MlxworldError(f"unknown precision {cfg.precision!r}: choose float32, bfloat16 or float16")
    if not 0 <= cfg.seed < 2**28:
        raise MlxworldError(f"--seed lies between 0 and {2**28 - 1}")
    if cfg.log_steps < 1 or cfg.record_steps < 2 or min(cfg.sample_minutes, cfg.save_minutes) < 0:
        raise MlxworldError("--log-steps must be >= 1, --record-steps >= 2, --sample-minutes and --save-minutes >= 0")
    for name in STAGES:
        stage: StageConfig = getattr(cfg, name)
        if stage.steps < 0 or stage.batch < 1 or not stage.frames or min(stage.frames) < 2 or not stage.lr >= 0:
            raise MlxworldError(f"--{name}: steps and lr must be >= 0, batch >= 1 and frames >= 2")
        if stage.accumulate < 1 or stage.batch % stage.accumulate:
            raise MlxworldError(f"--{name}.batch must be a multiple of --{name}.accumulate")


def check_clips(cfg: TrainConfig, folder: Path, cache: FrameStore) -> None:
    """Raises MlxworldError unless an episode is as long as the longest clip, and longer than a start clip."""
    stages = [(name, getattr(cfg, name)) for name in STAGES]
    wanted = {f"--{name}.frames {max(stage.frames)}": max(stage.frames) for name, stage in stages if stage.steps}
    wanted[f"a world's start clip ({CONTEXT} frames and one more)"] = CONTEXT + 1
    for what, frames in wanted.items():
        if frames > cache.longest:
            longest = f"the longest of {len(cache.names)} has {cache.longest} frames"
            raise MlxworldError(f"no episode of {folder} is long enough for {what}: {longest}")


if __name__ == "__main__":
    entry(main)
