"""A world's folder: `config.json` (what it is), `model.safetensors` (weights, one file or shards) and
`starts.safetensors` (clips in latent form to begin from), of any format that is read; checked, for it may be anyone's.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .. import families
from ..configs.load import from_dict
from ..configs.world import WorldConfig, require_world
from ..errors import MlxworldError
from ..files import checkpoint, hub, layouts
from ..files.reading import read_json, shown

SHIPPED = Path(__file__).parents[1] / "worlds"
MOST_STARTS = 1 << 30  # bytes of start clips


def worlds() -> list[str]:
    """Names of the worlds that come with the package."""
    return sorted(p.parent.name for p in SHIPPED.glob("*/config.json"))


def read_config(name: str | Path) -> tuple[Path, dict[str, Any]]:
    """The folder of a world (a shipped name, a path, or hf://owner/name) and its config.json. Raises MlxworldError."""
    folder = SHIPPED / str(name) if str(name) in worlds() else Path(name)
    if str(name).startswith(hub.SCHEME):
        folder = hub.folder(str(name))
    path = folder / "config.json"
    if not path.is_file():
        if (folder / "train.json").is_file():
            raise MlxworldError(f"{folder} is a run that has no world yet: train on, with --resume if it has stopped")
        known = ", ".join(worlds()) or "none"
        raise MlxworldError(f"unknown world {str(name)!r}: shipped are {known}; else a folder with config.json")
    about = read_json(path)
    check_about(about, str(path))
    return folder, about


def check_about(about: Any, source: str) -> None:
    """Raises MlxworldError unless this is the config.json of a world, of a format that is read."""
    if not isinstance(about, dict) or not isinstance(about.get("model"), dict):
        raise MlxworldError(f"{source} is not the config of a world: it has no settings of a model")
    number = about.get("format")
    if type(number) is not int or not 1 <= number <= layouts.FORMAT:
        known = f"1 to {layouts.FORMAT} are read"
        raise MlxworldError(f"{source} is not the config of a world of a known format: {known}, not {shown(number)}")
    if not isinstance(about.get("name"), str):
        raise MlxworldError(f'{source} has no name: add one, as in {{"name": "pong", ...}}')
    if not about["name"].isprintable():
        raise MlxworldError(f"{source}: the name {shown(about['name'])} cannot be printed")


def model_config(folder: Path, about: Mapping[str, Any]) -> WorldConfig:
    """The configuration of the model in what `read_config` gave, of any format that is read. Raises MlxworldError for
    one that is no world."""
    source, family = str(folder / "config.json"), _family(about)
    settings = layouts.upgrade_config(about["format"], family, about["model"], source)
    cfg = require_world(from_dict(families.config(family), settings, source), source)
    for name in cfg.actions:
        if not name.isprintable():
            raise MlxworldError(f"{source}: the action {shown(name)} cannot be printed")
    return cfg


def read_weights(folder: Path, about: Mapping[str, Any]) -> Mapping[str, np.ndarray]:
    """The weights of a world by the names of today's layers, each read when it is asked for. about: its config.json.
    Raises MlxworldError."""
    path = folder / "model.safetensors"
    return layouts.upgrade_weights(about["format"], _family(about), checkpoint.open(path), str(path))


def _family(about: Mapping[str, Any]) -> str:
    return str(about["model"].get("family", ""))


def read_starts(path: Path, cfg: WorldConfig) -> dict[str, np.ndarray]:
    """The start clips of a world: finite latents of its model z (N, T, K, D), with actions (N, T, ...) that it has.

    Their shapes are looked at before they are read. Raises MlxworldError for others.
    """
    weights = checkpoint.open(path)
    z, actions = (weights.shapes.get(name, ()) for name in ("z", "actions"))
    fits = len(z) == 4 and 0 not in z and z[2:] == cfg.latent_shape and actions == z[:2] + cfg.action_space.shape
    if fits and weights.entries["z"].nbytes > MOST_STARTS:
        raise MlxworldError(f"{path} is too large: start clips take at most {MOST_STARTS:,} bytes")
    starts = {name: checkpoint.plain(weights[name]) for name in ("z", "actions")} if fits else {}
    if not fits or not np.isfinite(starts["z"]).all() or not cfg.action_space.holds(starts["actions"]):
        raise MlxworldError(f"{path} does not fit this model")
    return starts
