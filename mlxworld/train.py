"""From a folder of recorded episodes to a model that can be used, in one command.

A run folder explains itself: `config.json`, `model.safetensors` and what its family adds are a model that can be used
at any time; `train.json` are the settings, `checkpoint.safetensors` all that `--resume` needs, `samples/` what it
makes; `progress.html` shows how it goes in a browser, `events/` in TensorBoard. Killed at any moment, `--resume` goes
on to the same weights.
"""

import contextlib
import dataclasses
import json
import sys
import time
import typing
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import tyro

from . import families, on
from .cli import entry
from .configs.optim import OptimConfig
from .errors import MlxworldError
from .files import atomic, pretrained
from .files.lock import writer
from .files.reading import read_json, shown_name
from .play.world import preferred_backend
from .training import finetune
from .training.monitor import Monitor
from .training.page import Page
from .training.recipe import Recipe
from .training.run import Run
from .training.settings import MAY_CHANGE, TrainConfig, flags
from .training.together import agreed


def parse(argv: list[str]) -> TrainConfig:
    """Flags to the settings of a family's recipe. The preset, wherever it stands, gives the model's defaults; with
    --from and no preset, the model that is begun from.

    Raises MlxworldError for a family or a preset that there is not.
    """
    family, name, config = _model(argv)
    recipe = families.recipe(family)
    config = config and _without_flags(config, recipe.from_data)
    optim = _without_flags(OptimConfig(name="muon"), ("lr",))  # each stage has its own
    default = recipe.Settings(
        data=tyro.MISSING, out=tyro.MISSING, model=family, preset=name, optim=optim, config=config
    )
    about = f"{__doc__}\n\n{sys.modules[recipe.__module__].__doc__}"
    return tyro.cli(recipe.Settings, args=argv, default=default, description=about, prog="mlxworld train")


def _model(argv: list[str]) -> tuple[str, str, Any]:
    """The family, the preset and the configuration that the flags begin with."""
    family, name, parent = (_value(argv, flag, None) for flag in ("model", "preset", "from"))
    published = family or (pretrained.family(parent) if parent else None)
    if parent and published in families.names() and families.recipe(published).published:
        if name:
            raise MlxworldError(f"--preset {name}: {parent} is a published model, and is what it is")
        return published, families.recipe(published).Settings.preset, None
    if name or not parent:
        family = family or TrainConfig.model
        name = name or families.recipe(family).Settings.preset
        return family, name, families.preset(family, name)
    resumed = Path(_value(argv, "out", "")) if "--resume" in argv else None
    _, about, config = finetune.configuration(parent, resumed)
    if family not in (None, config.family):
        raise MlxworldError(f"--from {parent} is of the family {config.family}, not {family}")
    name = finetune.card(about).get("preset")
    return config.family, name if isinstance(name, str) else families.recipe(config.family).Settings.preset, config


def _value(argv: list[str], flag: str, default: Any) -> Any:
    for i, word in enumerate(argv):
        if word == f"--{flag}" and i + 1 < len(argv):
            return argv[i + 1]
        if word.startswith(f"--{flag}="):
            return word.partition("=")[2]
    return default


def _without_flags(config: Any, names: tuple[str, ...]) -> Any:
    """The configuration, its fields of these dotted names hidden from the command line."""
    kinds, own = typing.get_type_hints(type(config)), [n for n in names if "." not in n]
    hidden = [(n, tyro.conf.Suppress[kinds[n]], dataclasses.field(default=getattr(config, n))) for n in own]
    for part, _, name in (n.partition(".") for n in names if "." in n):
        value = _without_flags(getattr(config, part), (name,))
        config = dataclasses.replace(config, **{part: value})
        hidden.append((part, type(value), dataclasses.field(default=value)))
    kind = dataclasses.make_dataclass(type(config).__name__, hidden, bases=(type(config),), frozen=True)
    return kind(**{f.name: getattr(config, f.name) for f in dataclasses.fields(config)})


def main(argv: list[str] | None = None) -> None:
    """`mlxworld train`."""
    train(parse(sys.argv[1:] if argv is None else argv))


def train(cfg: TrainConfig) -> None:
    """Runs, or resumes, a whole training. Raises MlxworldError for what a person can put right."""
    begun = time.monotonic()
    cfg.check()
    package = on(cfg.backend or preferred_backend())
    cfg = cfg.resolved(on_gpu=package.engine.device() != "cpu")
    if package.engine.rank() > 0:
        return _follow(package, cfg, begun)
    require_run(cfg)
    if cfg.from_ is not None and not families.recipe(cfg.model).published:
        finetune.require_fit(package, cfg)
    page = Page(cfg.out / "progress.html", cfg.out.resolve().name)
    with writer(cfg.out, "is being trained"), claimed(cfg) as recipe, Monitor(cfg.out / "events", page=page) as monitor:
        agreed(package.engine, 0)  # the other ranks open the data now
        Run(package, cfg, recipe, monitor, begun).go()
        monitor.say(f"done in {(time.monotonic() - begun) / 60:.1f} min: {recipe.use.format(out=cfg.out)}")


def _follow(package: ModuleType, cfg: TrainConfig, begun: float) -> None:
    """What every rank but the first does: the same steps, once the first has claimed the run and opened the data."""
    agreed(package.engine, 0)
    with Monitor(None, quiet=True) as monitor:
        Run(package, cfg, families.recipe(cfg.model)(cfg), monitor, begun).go()


def require_run(cfg: TrainConfig) -> None:
    """Raises MlxworldError if --out holds a run already, or on resuming if it holds none or one of other settings."""
    path = cfg.out / "train.json"
    if not cfg.resume:
        if path.exists() or (cfg.out / "checkpoint.safetensors").exists():
            raise MlxworldError(f"{cfg.out} already holds a run: add --resume to go on, or choose another --out")
        return
    if not path.is_file():
        raise MlxworldError(f"{cfg.out} holds no run to resume: leave out --resume to begin one")
    begun = read_json(path)
    if not isinstance(begun, dict):
        raise MlxworldError(f"{path} holds no settings")
    before, after = flags(begun), flags(settings(cfg))
    free = MAY_CHANGE | {f"{name}.lr" for name, _ in cfg.stages()}
    free |= {"minutes"} if cfg.minutes and before.get("minutes") else set()
    before = {f.name: f.default for f in dataclasses.fields(TrainConfig) if f.name in after} | before  # older runs
    differ = [k for k in sorted(before.keys() | after.keys()) if before.get(k) != after.get(k) and k not in free]
    if differ:
        names = [shown_name(k.rstrip("_").replace("_", "-")) for k in differ[:3]]
        values = [f"{shown_name(str(before.get(k)))}, not {after.get(k)}" for k in differ[:3]]
        changes = ", ".join(f"--{name} was {value}" for name, value in zip(names, values, strict=True))
        raise MlxworldError(f"{cfg.out} was begun with other settings, resume with the same: {changes}")


@contextlib.contextmanager
def claimed(cfg: TrainConfig) -> Iterator[Recipe]:
    """Writes the settings into the run folder, and opens the data. What raises MlxworldError before there is a
    checkpoint leaves no run: the same command may be given again, put right."""
    require_run(cfg)  # another process may have begun meanwhile
    path = cfg.out / "train.json"
    atomic.write_text(path, json.dumps(settings(cfg), indent=1) + "\n")
    try:
        yield families.recipe(cfg.model)(cfg)
    except MlxworldError:
        if not cfg.resume and not (cfg.out / "checkpoint.safetensors").exists():
            path.unlink()
        raise


def settings(cfg: TrainConfig) -> dict[str, Any]:
    """The settings as plain values."""
    return json.loads(json.dumps(dataclasses.asdict(cfg), default=str))


if __name__ == "__main__":
    entry(main)
