"""A world of your own in one command: record an environment or take a film, train, and play what came of it.

The data is in data/NAME, the world in runs/NAME; runs/NAME/progress.html shows how it goes. Killed at any moment, the
same command goes on where it stopped.
"""

import contextlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

from . import on, record, train
from .bench import show
from .cli import entry, verb_main
from .data import make_policy, open_source
from .data.envs.source import close
from .data.envs.sources import SOURCES
from .data.episodes.films import add_film
from .data.episodes.pictures import read_frames
from .data.episodes.pixels import Scaler, fit, rgb
from .errors import MlxworldError
from .files import checkpoint
from .files.reading import read_json, shown
from .play.folder import worlds
from .play.world import World, preferred_backend
from .speed.estimate import estimate, report
from .training import finetune
from .training.page import Page
from .training.settings import From

SMALL = 64  # pixels: pictures up to this size get the preset of that size
LOOKED = 8  # pictures that the nearest world is chosen by


@dataclass(frozen=True)
class NewConfig:
    name: Annotated[str, tyro.conf.Positional]  # of the world: its folders are data/NAME and runs/NAME
    env: str | None = None  # what to record: a Gymnasium environment, or what `mlxworld record` knows
    video: tuple[Path, ...] = ()  # or films of it
    actions: tuple[Path, ...] = ()  # keys of each film, a csv: step, action; or time, action; or time, key, down
    from_: From = None  # a world to begin from; the nearest of the shipped ones. "none": fresh weights
    preset: str | None = None  # of the model; nano-64 where the pictures are that small, else that of --from
    minutes: float = 10.0  # of training
    steps: int = 20_000  # to record, of --env
    folder: Path = Path()  # where data/NAME and runs/NAME lie
    backend: str | None = None  # mlx or torch; the best one installed
    estimate: bool = False  # make nothing: say how long the recipe's own steps take here and on other machines
    play: bool = True  # open it in the browser at the end

    @property
    def data(self) -> Path:
        """The dataset."""
        return self.folder / "data" / self.name

    @property
    def run(self) -> Path:
        """The run folder, which is the world."""
        return self.folder / "runs" / self.name


def main(argv: list[str] | None = None) -> None:
    """`mlxworld new`."""
    new(tyro.cli(NewConfig, args=sys.argv[1:] if argv is None else argv, description=__doc__, prog="mlxworld new"))


def new(cfg: NewConfig) -> None:
    """All of it. Raises MlxworldError for what a person can put right."""
    check(cfg)
    pictures = look(cfg)
    package, parent = on(cfg.backend or preferred_backend()), _parent(cfg, pictures)
    settings = train.parse(_flags(cfg, _preset(cfg, pictures, parent), parent))
    settings.check()
    if cfg.estimate:
        stages = {name: (s.steps, s.batch) for name, s in settings.stages() if s.steps}
        print(report(estimate(package, settings.config, stages, show)))
        return
    if not finished(cfg.run):
        if parent is not None:
            finetune.require_fit(package, settings)
        with told(Page(cfg.run / "progress.html", cfg.name)) as page:
            gather(cfg, page, settings.config.size)
        train.train(settings)
    if cfg.play:
        verb_main("play")(["--world", str(cfg.run), "--open"])


def check(cfg: NewConfig) -> None:
    """Raises MlxworldError for flags that do not go together."""
    if not cfg.name or not cfg.name.isprintable() or Path(cfg.name).name != cfg.name or cfg.name.startswith((".", "-")):
        raise MlxworldError(f"{shown(cfg.name)} is no name of a world: it becomes the name of a folder")
    if (cfg.env is None) == (not cfg.video):
        raise MlxworldError("give either --env or --video: what the world is to be learnt from")
    if cfg.actions and len(cfg.actions) != len(cfg.video):
        raise MlxworldError(f"--actions are of the films, one each: {len(cfg.video)} films, {len(cfg.actions)} files")
    if len({film.name for film in cfg.video}) < len(cfg.video):
        raise MlxworldError("--video: two films have one name; they would be one file of the dataset")


def look(cfg: NewConfig) -> list[np.ndarray]:
    """A few pictures (H, W, 3) uint8 of what the world is to be learnt from. Raises MlxworldError."""
    if cfg.env is None:
        steps = read_frames(cfg.video[0], None, 30)
        pictures = [step.picture for step, _ in zip(steps, range(8 * LOOKED), strict=False)]
        return pictures[:: max(1, len(pictures) // LOOKED)]
    source = open_source(environment(cfg.env))
    try:
        policy, step = make_policy("sticky", source, 0), source.reset(0)
        pictures = [step.video]
        while len(pictures) < 8 * LOOKED and not step.done:
            step = source.step(policy.act(step))
            pictures.append(step.video)
    finally:
        close(source)
    chosen = pictures[:: max(1, len(pictures) // LOOKED)]
    side = max(chosen[0].shape[:2])  # as it is recorded: stretched to a square
    return [Scaler().resize(rgb(picture), (side, side)).to_ndarray() for picture in chosen]


def environment(name: str) -> str:
    """As `mlxworld record` calls it: "CarRacing-v3" is gym:CarRacing-v3."""
    kinds = {source.partition(":")[0] for source in SOURCES.split(", ")}
    return name if name.partition(":")[0] in kinds else f"gym:{name}"


def nearest(pictures: list[np.ndarray], backend: str | None) -> str | None:
    """The shipped world that shows these pictures again with the least error; None where there is none."""
    errors = {}
    for name in worlds():
        world, wrong = World.load(name, backend), []
        for picture in pictures:
            seen = world.reset(context=picture).video.astype(np.float32)
            wrong.append(np.abs(seen - fit(picture[..., :3], world.size)).mean())
        errors[name] = float(np.mean(wrong))
    return min(errors, key=errors.__getitem__) if errors else None


def gather(cfg: NewConfig, page: Page, size: int) -> None:
    """The dataset: recorded on where it was left, or the films put into its folder."""
    if cfg.env is not None:
        name = environment(cfg.env)
        page.say(f"recording {cfg.steps:,} steps of {name}")
        again = (cfg.data / record.INFO).exists()
        record.record(record.RecordConfig(name, cfg.data, steps=cfg.steps, size=size, append=again))
        return
    for i, film in enumerate(cfg.video):
        page.say(f"taking {film}")
        add_film(film, cfg.actions[i] if cfg.actions else None, cfg.data)
    if not cfg.actions:
        page.say("no --actions: it will go on by itself, and no key does anything")


@contextlib.contextmanager
def told(page: Page) -> Iterator[Page]:
    """The page, which is told what the body raises."""
    try:
        yield page
    except Exception as error:
        page.end(f"stopped: {error}")
        raise


def finished(run: Path) -> bool:
    """Whether a run has ended well."""
    path = run / "checkpoint.safetensors"
    if not path.is_file():
        return False
    state = checkpoint.open(path)
    return "place" in state and "steps" in state and int(state["place"][0]) == len(state["steps"])


def _parent(cfg: NewConfig, pictures: list[np.ndarray]) -> str | None:
    """The world to begin from; of a run that is there, the one that it began from."""
    begun = read_json(cfg.run / "train.json") if (cfg.run / "train.json").is_file() else None
    if isinstance(begun, dict):
        return begun.get("from_")
    if cfg.from_ is None:
        return nearest(pictures, cfg.backend)
    return None if cfg.from_ == "none" else cfg.from_


def _preset(cfg: NewConfig, pictures: list[np.ndarray], parent: str | None) -> str | None:
    """The preset to begin with; None: the parent's model, or what `mlxworld train` takes."""
    if cfg.preset is not None or max(pictures[0].shape[:2]) > SMALL:
        return cfg.preset
    resumed = cfg.run if (cfg.run / "train.json").is_file() else None
    fits = parent is not None and finetune.configuration(parent, resumed)[2].size <= SMALL
    return None if fits else "nano-64"


def _flags(cfg: NewConfig, preset: str | None, parent: str | None) -> list[str]:
    """Of `mlxworld train`."""
    flags = ["--data", str(cfg.data), "--out", str(cfg.run), "--minutes", str(cfg.minutes)]
    for name, value in (("preset", preset), ("from", parent), ("backend", cfg.backend)):
        flags += [f"--{name}", value] if value is not None else []
    return flags + (["--resume"] if (cfg.run / "train.json").is_file() else [])


if __name__ == "__main__":
    entry(main)
