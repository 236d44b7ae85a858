"""A world's folder: `config.json` (what it is), `model.safetensors` (weights, one file or shards) and
`starts.safetensors` (clips in latent form to begin from), of any format that is read; checked, for it may be anyone's.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from .. import families
from ..configs.load import from_dict, to_dict
from ..configs.world import WorldConfig, require_world
from ..data.envs import sources
from ..data.episodes.format import MOST_ASPECT
from ..errors import MlxworldError
from ..files import checkpoint, hub, layouts
from ..files.reading import read_json, shown

SHIPPED = Path(__file__).parents[1] / "worlds"
MOST_STARTS = 1 << 30  # bytes of start clips
PICTURE, MOST_PIXELS = "thumbnail.png", 1 << 20


def worlds() -> list[str]:
    """Names of the worlds that come with the package."""
    return sorted(p.parent.name for p in SHIPPED.glob("*/config.json"))


def runs(folder: str | Path) -> list[str]:
    """Paths of the folders right inside this one that hold a world, those of trainings that still go on included; the
    one that changed last is first."""
    folders = [path for path in Path(folder).glob("*/config.json") if (path.parent / "model.safetensors").is_file()]
    return [str(path.parent) for path in sorted(folders, key=lambda path: path.stat().st_mtime, reverse=True)]


def version(name: str | Path) -> int:
    """A number that changes when the weights of a world do, as while it is trained; 0 where there are none to see."""
    folder = SHIPPED / str(name) if str(name) in worlds() else Path(name)
    try:
        return (folder / "model.safetensors").stat().st_mtime_ns
    except OSError:
        return 0


def thumbnail(name: str | Path) -> np.ndarray | None:
    """The small picture (H, W, 3) uint8 that lies in a world's folder; None where there is none that can be read."""
    path = (SHIPPED / str(name) if str(name) in worlds() else Path(name)) / PICTURE
    try:
        with Image.open(path) as picture:
            small = picture.width * picture.height <= MOST_PIXELS
            return np.asarray(picture.convert("RGB")) if small else None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None


def game(about: Mapping[str, Any]) -> str:
    """The game that a world was taught, as `record` calls it, from its config.json; its own name where none is told."""
    card = about.get("card")
    data = card.get("data") if isinstance(card, dict) else None
    source = data.get("source") if isinstance(data, dict) else None
    return source if isinstance(source, str) and source else about["name"]


def aspect(about: Mapping[str, Any]) -> float:
    """How many times as wide as high a pixel of a world is to be shown, from its config.json; where that says nothing,
    as those of its game are."""
    card = about.get("card")
    data = card.get("data") if isinstance(card, dict) else None
    told = data.get("aspect") if isinstance(data, dict) else None
    if isinstance(told, int | float) and 1 / MOST_ASPECT <= told <= MOST_ASPECT:
        return float(told)
    return sources.aspect(game(about))


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


def digest(cfg: WorldConfig, weights: Path | Mapping[str, np.ndarray]) -> str:
    """A hexadecimal digest of a configuration and of weights: arrays, a file, or a folder with all that is in it."""
    sha256 = hashlib.sha256(json.dumps(to_dict(cfg), sort_keys=True).encode())
    if isinstance(weights, Path):
        packed = sorted(p for p in weights.rglob("*") if p.is_file())
        blobs = [path.read_bytes() for path in packed or checkpoint.files(weights)]
    else:
        blobs = [x.tobytes() for _, x in sorted(weights.items())]
    for blob in blobs:
        sha256.update(blob)
    return sha256.hexdigest()
