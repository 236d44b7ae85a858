"""Model families that live outside the package: MLXWORLD_FAMILIES names a folder with configs/, models/ and recipes/.

The packages mlxworld.configs, mlxworld.models, mlxworld.recipes and torch_backend.models look there too, after their
own folder; what stands in the package hides what has its name outside.
"""

import os
from pathlib import Path

from .errors import MlxworldError


def folders(room: str) -> list[str]:
    """What the package of `room` ("configs", "models", "recipes") appends to its `__path__`: that folder outside, where
    there is one. Raises MlxworldError when MLXWORLD_FAMILIES names no folder."""
    outside = os.environ.get("MLXWORLD_FAMILIES")
    if not outside:
        return []
    if not Path(outside).is_dir():
        raise MlxworldError(f"MLXWORLD_FAMILIES names {outside!r}, which is no folder")
    folder = Path(outside).absolute() / room
    return [str(folder)] if folder.is_dir() else []
