"""Latent hooks that join a world as it is loaded: files of a few hundred kB that were taught on it."""

import importlib
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from ..errors import MlxworldError
from ..files import hook_file


def join(
    package: ModuleType, model: Any, family: str, paths: Sequence[str | Path], precision: str, compiled: bool
) -> tuple[str, ...]:
    """Reads hooks and lets them join a model of that family, in this order; returns their names. precision, compiled:
    as the model was made ready. Raises MlxworldError for a file that holds none, and for a hook of another model."""
    engine, names = package.engine, []
    for path in paths:
        cfg, arrays = hook_file.load(Path(path))
        try:
            hooked = model.hooked()
            if cfg.family not in ("", family) or cfg.depth not in (0, len(hooked.blocks)):
                about = f"{cfg.depth} layers of width {cfg.dim} of the family {cfg.family}"
                here = f"{len(hooked.blocks)} of width {hooked.hook_width} of {family}"
                raise MlxworldError(f"{path}: this hook fits {about}, not {here}")
            rooms = importlib.import_module(f"{package.__name__}.models.blocks.hooks")
            with package.nn.limit(1000, 10 * sum(x.size for x in arrays.values()) + 10**6):
                hook = rooms.LatentNeuralHook(cfg)
            engine.load_parameters(hook, arrays, str(path))
            hooked.register_hook(engine.ready(hook, precision, compiled))
        except (ValueError, TypeError) as error:
            raise MlxworldError(f"{path}: {error}") from error
        names.append(cfg.name)
    return tuple(names)
