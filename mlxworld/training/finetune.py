"""A trained model as the beginning of another: what fits is taken, tables of actions are reordered, the rest is fresh.

The run keeps what it began from in its folder `parent/`, so that it can be resumed when the original has changed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import families
from ..configs.load import from_dict
from ..errors import MlxworldError
from ..files import checkpoint, layouts, model_folder, quantized
from ..files.reading import listed
from ..files.weights import shapes_of
from ..play.folder import read_config, read_weights
from .settings import TrainConfig

if TYPE_CHECKING:
    from .run import Run

KEPT = "parent"  # folder in a run's own
LEAST = 0.5  # share of a model's numbers that must come from its parent
Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Parent:
    """A model to begin from: its name, card and configuration, and its weights by today's names."""

    name: str
    card: Mapping[str, Any]
    config: Any
    weights: Mapping[str, np.ndarray]


def read_parent(package: ModuleType, cfg: TrainConfig) -> Parent:
    """The model that --from names; of a run that is resumed, what it began from. Raises MlxworldError."""
    folder, about, config = configuration(str(cfg.from_), cfg.out if cfg.resume else None)
    weights = read_weights(folder, about)
    if quantized.layers(weights):
        whole = families.built(package, config, weights)
        weights = quantized.plain(weights, _shapes(package, whole), str(folder))
    return Parent(about["name"], card(about), config, weights)


def card(about: Mapping[str, Any]) -> dict[str, Any]:
    """The card in a config.json, or nothing."""
    facts = about.get("card")
    return facts if isinstance(facts, dict) else {}


def configuration(name: str, resumed: Path | None = None) -> tuple[Path, dict[str, Any], Any]:
    """The folder, the config.json and the configuration of a shipped world, a folder or a hub's by name; of what a run
    of the folder `resumed` began from, if it says. Raises MlxworldError."""
    parent = resumed / KEPT if resumed is not None else None
    folder, about = read_config(parent if parent is not None and (parent / "config.json").is_file() else name)
    source, family = str(folder / "config.json"), str(about["model"].get("family", ""))
    settings = layouts.upgrade_config(about["format"], family, about["model"], source)
    return folder, about, from_dict(families.config(family), settings, source)


def require_fit(package: ModuleType, cfg: TrainConfig) -> None:
    """Raises MlxworldError where the model of these settings cannot begin from --from."""
    parent, model = read_parent(package, cfg), families.built(package, cfg.config)
    fitting(parent, cfg.config, _shapes(package, model))


def begin(run: "Run") -> None:
    """Gives a run's fresh model what fits of --from, says so in a line, and keeps that in the run's folder."""
    parent, nn = read_parent(run.package, run.cfg), run.package.nn
    arrays = fitting(parent, run.config, _shapes(run.package, run.model))
    parent_folder = run.out / KEPT
    if not (run.cfg.resume and parent_folder.is_dir()):
        model_folder.save(parent_folder, parent.name, parent.config, parent.weights, parent.card)
    fresh = [n for n in run.package.nn.parameters(run.model) if n not in arrays]
    new = [a for a in _actions(run.config) if a not in _actions(parent.config)]
    if run.cfg.adds and (fresh or new):
        raise MlxworldError(f"--hook and --lora take a model as it is: {parent.name} has no {listed(fresh + new, 3)}")
    for name, value in arrays.items():
        checkpoint.require_finite(name, value, parent.name)
    nn.assign(run.model, run.engine.array({n: _whole(x) for n, x in arrays.items()}))
    told = f", {len(fresh)} of other shapes begin fresh ({listed(fresh, 3)})" if fresh else ""
    told += f"; actions that it does not know: {', '.join(new)}" if new else ""
    run.monitor.say(f"begins from {parent.name}: {len(arrays)} arrays are taken{told}")


def fitting(parent: Parent, config: Any, shapes: Shapes) -> dict[str, np.ndarray]:
    """The arrays of the parent that a model with this configuration and these shapes can begin with, by name.

    Tables of actions (`config.action_tables`) follow the names of the actions, see `reordered`. Raises MlxworldError
    for another family, and where less than half of the model's numbers would come from the parent.
    """
    if parent.config.family != config.family:
        raise MlxworldError(f"--from {parent.name} is of the family {parent.config.family}, not {config.family}")
    weights, theirs = parent.weights, shapes_of(parent.weights)
    tables, arrays, taken = getattr(config, "action_tables", ()), {}, 0
    for name, shape in shapes.items():
        if name in tables and name in theirs:
            arrays[name] = reordered(weights[name], _actions(parent.config), _actions(config))
        elif theirs.get(name) == tuple(shape):
            arrays[name] = weights[name]
        taken += int(np.prod(shape)) if name in arrays else 0
    total = sum(int(np.prod(shape)) for shape in shapes.values())
    if taken < LEAST * total:
        first = next(n for n in shapes if n not in arrays)
        there = f"{theirs[first]} there" if first in theirs else "is not there"
        raise MlxworldError(
            f"--from {parent.name} does not fit: {taken / total:.0%} of this model's numbers have its shapes ({first} "
            f"is {tuple(shapes[first])} here, {there}); without --preset and --config the model is like its own"
        )
    return arrays


def reordered(table: np.ndarray, old: tuple[str, ...], new: tuple[str, ...]) -> np.ndarray:
    """A table (actions and more, C) for other actions: rows by name; a new name begins as the first row after the
    actions, of a hidden action, does, or where there is none as their mean. The rows after the actions stay."""
    more = table[len(old) :]
    unknown = more[0] if len(more) else table.mean(axis=0)
    rows = [table[old.index(name)] if name in old else unknown for name in new]
    return np.concatenate([np.stack(rows).astype(table.dtype), more])


def _actions(config: Any) -> tuple[str, ...]:
    return tuple(getattr(config, "actions", ()))


def _shapes(package: ModuleType, model: Any) -> dict[str, tuple[int, ...]]:
    """Of all that is saved of a model."""
    nn = package.nn
    return {n: tuple(x.shape) for n, x in (nn.parameters(model) | nn.buffers(model)).items()}


def _whole(x: np.ndarray) -> np.ndarray:
    """Numbers of any float type in float32."""
    return x if x.dtype.kind in "biu" else x.astype(np.float32)
