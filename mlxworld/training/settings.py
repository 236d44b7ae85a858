"""The settings of a training, as flags and as `train.json`. A family's recipe adds its stages and its model."""

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
import tyro

from ..configs.optim import OptimConfig
from ..errors import MlxworldError
from .hooks import require_name

PRECISIONS = ("float32", "bfloat16", "float16")
# What may differ when a run is resumed: where things are, what is shown, how fast it goes. Rates, so that a training
# that diverged can go on more slowly.
MAY_CHANGE = {"data", "out", "resume", "backend", "compile", "cache", "record_steps", "sample_minutes", "save_minutes"}
MAY_CHANGE |= {"log_steps", "shard"}
ENDLESS = {"optim.clip", "sample_minutes", "save_minutes"}  # what may be infinite

From = Annotated[str | None, tyro.conf.arg(name="from")]


@dataclass(frozen=True)
class StageConfig:
    steps: int
    batch: int  # clips a step
    frames: tuple[int, ...]  # frames of a clip, one value for each equal part of the stage: the curriculum
    lr: float  # peak learning rate
    accumulate: int = 1  # parts that a batch is cut into; several ranks share them, at least one each
    share: float = 1.0  # of the time that --minutes gives, in proportion to the other stages


@dataclass(frozen=True)
class TrainConfig:
    data: str  # a dataset's folder, or the name of a world to record: then data/NAME, recorded first if it is not there
    out: Path  # run folder
    model: str = "openworld"  # the model's family
    preset: str = "nano"  # the model's preset; --config.* change it
    from_: From = None  # a world or a run to begin from, and its model if there is no --preset
    minutes: float | None = None  # the time there is: the steps of each stage are planned to end in it
    backend: str | None = None  # mlx or torch; the best one installed
    resume: bool = False  # go on where the run in --out stopped
    precision: str | None = None  # of the training step: float32, bfloat16 or float16; bfloat16 on a GPU
    compile: bool | None = None  # compile the training step; on a GPU
    shard: bool = False  # of several ranks (torchrun) each keeps a part of every layer, not all of it (FSDP2)
    seed: int = 0  # of the weights, of the order of the data and of all noise
    record_steps: int = 20000  # steps to record if the dataset is not there
    rare: float = 0.0  # share of the clips that hold a rare moment, where the dataset knows them: a game's end, a point
    cache: Path | None = None  # folder of the decoded dataset; inside the dataset's own
    sample_minutes: float = 3.0  # between two pictures of what it makes
    save_minutes: float = 2.0  # between two checkpoints
    log_steps: int = 20  # between two readings of the losses: samples and checkpoints are made then
    hook: str | None = None  # teach a latent hook of this name to --from, and nothing else
    hook_tokens: int = 16  # of that hook
    lora: int = 0  # or matrices of this rank beside those of its attention, and nothing else
    optim: OptimConfig = field(default_factory=lambda: OptimConfig(name="muon"))
    config: Any = None  # of the model, a family's own

    @property
    def adds(self) -> bool:
        """Whether something is taught to a model that stays as it is."""
        return self.hook is not None or self.lora > 0

    def stages(self) -> Iterator[tuple[str, StageConfig]]:
        """The stages of the family by name, in order."""
        for f in dataclasses.fields(self):
            if isinstance(value := getattr(self, f.name), StageConfig):
                yield f.name, value

    def resolved(self, on_gpu: bool) -> Self:
        """With what was left to the machine."""
        precision = self.precision or ("bfloat16" if on_gpu else "float32")
        return dataclasses.replace(self, precision=precision, compile=on_gpu if self.compile is None else self.compile)

    def check(self) -> None:
        """Raises MlxworldError for settings that cannot be."""
        rules = [
            (
                self.precision in (None, *PRECISIONS),
                f"unknown precision {self.precision!r}: choose float32, bfloat16 or float16",
            ),
            (0 <= self.seed < 2**28, f"--seed lies between 0 and {2**28 - 1}"),
            (self.log_steps >= 1 and self.record_steps >= 2, "--log-steps must be >= 1, --record-steps >= 2"),
            (min(self.sample_minutes, self.save_minutes) >= 0, "--sample-minutes and --save-minutes must be >= 0"),
            (0 <= self.rare <= 1, "--rare lies between 0 and 1"),
            (self.minutes is None or 0 < self.minutes < 1e6, "--minutes must lie between 0 and a million"),
            (1 <= self.hook_tokens <= 4096, "--hook-tokens lies between 1 and 4096"),
            (0 <= self.lora <= 4096, "--lora lies between 0 and 4096"),
            (self.hook is None or not self.lora, "--lora goes without --hook"),
            (not self.lora or self.from_ is not None, "--lora needs --from: the model that it is taught to"),
        ]
        defaults = {f.name: f.default for f in dataclasses.fields(self)}
        for name, stage in self.stages():
            sizes = min(stage.batch, stage.accumulate) >= 1 and min(stage.frames, default=0) >= 2
            usual = getattr(defaults[name], "steps", 0)  # 0: the stage is off, and any number of steps asks for it
            planned = self.minutes is None or not usual or stage.steps in (0, usual)
            rules += [
                (stage.steps >= 0 and stage.lr >= 0, f"--{name}: steps and lr must be >= 0"),
                (sizes, f"--{name}: batch and accumulate must be >= 1 and frames >= 2"),
                (0 < stage.share < 1e6, f"--{name}.share must lie between 0 and a million"),
                (
                    sizes and stage.batch % stage.accumulate == 0,
                    f"--{name}.batch must be a multiple of --{name}.accumulate",
                ),
                (planned, f"--minutes plans the steps: leave out --{name}.steps (0 leaves the stage out)"),
            ]
        for name, value in flags(dataclasses.asdict(self)).items():
            for x in np.atleast_1d(value):
                finite = not isinstance(x, float) or math.isfinite(x) or (x > 0 and name in ENDLESS)
                rules.append((finite, f"--{name.replace('_', '-')} must be a finite number, not {x}"))
        for holds, line in rules:
            if not holds:
                raise MlxworldError(line)
        if self.hook is not None:
            require_name(self.hook, self.from_)


def flags(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as {"optim.ema": 0.999, ...}."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        flat |= flags(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return flat
