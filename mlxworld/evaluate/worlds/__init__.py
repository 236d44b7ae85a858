"""The figures that only one world has. The folder is the registry: `worlds/NAME.py` measures recordings of NAME.

A module has `report(clips) -> Report`: a row a figure, a value for each of `clips.candidates`. "real frames" is one of
them, so that every reader of pictures stands beside its ceiling; a reader that fails there says nothing about a dream.
"""

import importlib
import pkgutil
from collections.abc import Callable

from ..figures import Clips, Report


def figures_of(source: str) -> Callable[[Clips], Report] | None:
    """The `report` of a dataset's source: of "doom:deadly_corridor" that of doom.py. None where there is none."""
    name = source.partition(":")[0]
    if name not in {module.name for module in pkgutil.iter_modules(__path__)}:
        return None
    return importlib.import_module(f"{__name__}.{name}").report
