"""Model families by name. The folder is the registry: `configs/F.py`, `models/F/` and `recipes/F.py` are family F.

MLXWORLD_FAMILIES in the environment names a folder of somebody's own families, with the same three rooms in it.
"""

import importlib
import math
import os
import pkgutil
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from .errors import MlxworldError
from .files.reading import shown
from .files.weights import shapes_of

MOST = 1 << 13, 1 << 40  # modules and numbers of a model without weights
ROOMS = ("mlxworld.configs", "mlxworld.models", "mlxworld.recipes", "torch_backend.models")


def names() -> list[str]:
    """The families that there are."""
    _look_into_own_rooms()
    return sorted(module.name for module in pkgutil.iter_modules(importlib.import_module("mlxworld.recipes").__path__))


def config(family: str) -> Any:
    """The family's configuration class. Raises MlxworldError, listing the families, for one that there is not."""
    return _module("mlxworld.configs", family).Config


def preset(family: str, name: str) -> Any:
    """One of the family's configurations. Raises MlxworldError for a name that is not among its PRESETS."""
    presets = _module("mlxworld.configs", family).PRESETS
    if not presets:
        raise MlxworldError(f"{family} has no presets: it begins --from the folder of a published model")
    if name not in presets:
        raise MlxworldError(f"unknown preset {name!r} of {family}: choose one of {', '.join(presets)}")
    return presets[name]


def recipe(family: str) -> Any:
    """How the family is trained: its class `Recipe`."""
    return _module("mlxworld.recipes", family).Recipe


def model(package: ModuleType, family: str) -> Any:
    """The family's model class on a backend."""
    return _module(f"{package.__name__}.models", family).Model


def built(package: ModuleType, config: Any, weights: Mapping[str, Any] | None = None) -> Any:
    """The model of a configuration; for weights (by name) it is no larger than they can make it, and its layers have no
    first values. Raises MlxworldError for a configuration of sizes that its weights, or any machine, do not have."""
    make = model(package, config.family)
    if weights is None:
        with package.nn.limit(*MOST):
            return make(config)
    shapes = shapes_of(weights)
    with package.nn.limit(4 * len(shapes) + 100, 10 * sum(map(math.prod, shapes.values())) + 10**6):
        return package.engine.build(lambda: make(config))


def _module(room: str, family: str) -> ModuleType:
    if family not in names():
        raise MlxworldError(f"unknown model family {shown(family)}: choose one of {', '.join(names())}")
    return importlib.import_module(f"{room}.{family}")


def _look_into_own_rooms() -> None:
    """Packages of families are also looked for in the rooms that MLXWORLD_FAMILIES names."""
    for folder in filter(None, os.environ.get("MLXWORLD_FAMILIES", "").split(os.pathsep)):
        for room in ROOMS:
            path, places = str(Path(folder) / room.rpartition(".")[2]), importlib.import_module(room).__path__
            if path not in places:
                places.append(path)
