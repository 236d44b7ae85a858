"""`python -m mlxworld.train`: from a folder of recorded episodes to a world that can be played, in one command.

Three stages: the tokenizer learns to see and to hear; the dynamics learns to foresee, on latents computed once, first
over short clips, then over long ones; last it learns from its own dreams (self forcing), which stops drift.

A run folder explains itself: `config.json`, `model.safetensors`, `starts.safetensors` are a world that plays at any
time; `train.json` are the settings, `checkpoint.safetensors` all that `--resume` needs, `samples/` what it dreams.
"""

import dataclasses
import json
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import tyro

from . import checkpoint, config, on
from .cli import entry
from .data import open_cache
from .errors import MlxworldError
from .monitor import Monitor
from .stages import Run


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
    seed: int = 0
    record_steps: int = 20000  # steps to record if the dataset is not there
    sample_minutes: float = 3.0  # between two pictures of what it dreams
    save_minutes: float = 2.0  # between two checkpoints
    log_steps: int = 20  # between two readings of the losses
    tokenizer: StageConfig = StageConfig(steps=8000, batch=32, frames=(8,), lr=4e-4)
    dynamics: StageConfig = StageConfig(steps=12000, batch=64, frames=(8, 16, 32), lr=6e-4)
    forcing: StageConfig = StageConfig(steps=1000, batch=64, frames=(32,), lr=1e-4)
    optim: config.OptimConfig = field(default_factory=config.OptimConfig)
    model: config.OpenWorldConfig = field(default_factory=lambda: config.preset("nano"))


def parse(argv: list[str]) -> TrainConfig:
    """Flags to a TrainConfig; the preset, wherever it stands among them, gives the model's defaults."""
    name = "nano"
    for i, word in enumerate(argv):
        if word == "--preset" and i + 1 < len(argv):
            name = argv[i + 1]
        elif word.startswith("--preset="):
            name = word.removeprefix("--preset=")
    default = TrainConfig(data=tyro.MISSING, out=tyro.MISSING, preset=name, model=config.preset(name))
    return tyro.cli(TrainConfig, args=argv, default=default, description=__doc__)


def main(argv: list[str] | None = None) -> None:
    cfg = parse(sys.argv[1:] if argv is None else argv)
    train(cfg)


def train(cfg: TrainConfig) -> None:
    """Runs, or resumes, a whole training. Raises MlxworldError for what a person can put right."""
    _check(cfg)
    from .world import preferred_backend

    backend = cfg.backend or preferred_backend()
    package = on(backend)
    settings = cfg.out / "train.json"
    text = json.dumps(dataclasses.asdict(cfg) | {"out": None, "resume": None}, indent=1, default=str) + "\n"
    if cfg.resume:
        if not settings.is_file():
            raise MlxworldError(f"{cfg.out} holds no run to resume")
        if settings.read_text() != text:
            raise MlxworldError(f"{settings} differs from these flags: resume with the flags of the first start")
    elif settings.exists():
        raise MlxworldError(f"{cfg.out} already holds a run: add --resume to go on, or choose another --out")
    folder = dataset(cfg)
    cache = open_cache(folder, size=cfg.model.size)
    model = dataclasses.replace(
        cfg.model,
        actions=tuple(cache.info.actions),
        fps=cache.info.fps,
        sample_rate=cache.info.sample_rate,
        samples=cache.info.samples,
    )
    checkpoint.write_text(settings, text)
    with Monitor(cfg.out / "events") as monitor:
        run = Run(package, cfg, model, cache, monitor)
        begun = time.time()
        run.go()
        monitor.say(f"done in {(time.time() - begun) / 60:.1f} min: python -m apps.play --world {cfg.out}")


def dataset(cfg: TrainConfig) -> Path:
    """The dataset's folder; a named source is recorded first if its folder is not there."""
    folder = Path(cfg.data)
    if folder.is_dir():
        return folder
    if cfg.data not in ("pong", "doom", "bounce"):
        raise MlxworldError(f"no dataset at {cfg.data}: give a folder, or pong, doom or bounce")
    folder = Path("data") / cfg.data
    if not folder.is_dir():
        from . import record

        record.main([cfg.data, "--out", str(folder), "--steps", str(cfg.record_steps), "--size", str(cfg.model.size)])
    return folder


def _check(cfg: TrainConfig) -> None:
    if cfg.precision not in ("float32", "bfloat16", "float16"):
        raise MlxworldError(f"unknown precision {cfg.precision!r}: choose float32, bfloat16 or float16")
    for name in ("tokenizer", "dynamics", "forcing"):
        stage = getattr(cfg, name)
        if stage.steps < 0 or stage.batch < 1 or not stage.frames or min(stage.frames) < 2:
            raise MlxworldError(f"--{name}: steps must be >= 0, batch >= 1 and frames >= 2")
        if stage.batch % stage.accumulate:
            raise MlxworldError(f"--{name}.batch must be a multiple of --{name}.accumulate")


if __name__ == "__main__":
    entry(main)
