"""Model families by name. The folder is the registry: `configs/F.py`, `models/F/` and `recipes/F.py` are family F.

MLXWORLD_FAMILIES in the environment names a folder of somebody's own families, with the same three rooms in it.
"""

import importlib
import os
import pkgutil
from pathlib import Path
from types import ModuleType
from typing import Any

from .errors import MlxworldError


def rooms(room: str) -> list[str]:
    """Folders that `mlxworld.ROOM` also looks into: those of a person's own families."""
    own = os.environ.get("MLXWORLD_FAMILIES")
    return [str(Path(folder) / room) for folder in own.split(os.pathsep)] if own else []


def names() -> list[str]:
    """The families that there are."""
    package = importlib.import_module("mlxworld.recipes")
    return sorted(module.name for module in pkgutil.iter_modules(package.__path__))


def config(family: str) -> Any:
    """The family's configuration class. Raises MlxworldError, listing the families, for one that there is not."""
    return _module("configs", family).Config


def preset(family: str, name: str) -> Any:
    """One of the family's configurations. Raises MlxworldError for a name that is not among its PRESETS."""
    presets = _module("configs", family).PRESETS
    if name not in presets:
        raise MlxworldError(f"unknown preset {name!r} of {family}: choose one of {', '.join(presets)}")
    return presets[name]


def recipe(family: str) -> Any:
    """How the family is trained: its class `Recipe`."""
    return _module("recipes", family).Recipe


def model(package: ModuleType, family: str) -> Any:
    """The family's model class on a backend."""
    _check(family)
    return importlib.import_module(f"{package.__name__}.models.{family}").Model


def _module(room: str, family: str) -> ModuleType:
    _check(family)
    return importlib.import_module(f"mlxworld.{room}.{family}")


def _check(family: str) -> None:
    if family not in names():
        raise MlxworldError(f"unknown model family {family!r}: choose one of {', '.join(names())}")
