"""World models with picture and sound, written once, running on MLX and on PyTorch.

Importing this package imports neither framework. `on("mlx")` is the package whose models run on MLX, `on("torch")`
the one whose models run on PyTorch; both hold the same four modules (nn, ops, random, engine) and the same models.
"""

import importlib
import importlib.util
from types import ModuleType
from typing import TYPE_CHECKING

from .errors import MlxworldError

if TYPE_CHECKING:
    from .play.agents import agent
    from .play.folder import runs, thumbnail, version, worlds
    from .play.moments import load_snapshot, read_snapshot, save_snapshot
    from .play.physics import Physics
    from .play.real import Real
    from .play.translator import Translator, is_translator
    from .play.world import Clip, Frame, Snapshot, World

__version__ = "0.1.0"
__all__ = [
    "BACKENDS",
    "Clip",
    "Frame",
    "MlxworldError",
    "Physics",
    "Real",
    "Snapshot",
    "Translator",
    "World",
    "agent",
    "installed",
    "is_translator",
    "load_snapshot",
    "on",
    "read_snapshot",
    "runs",
    "save_snapshot",
    "thumbnail",
    "version",
    "worlds",
]

_LAZY = {  # read when they are asked for: they need a framework
    **dict.fromkeys(("Clip", "Frame", "Snapshot", "World"), "world"),
    **dict.fromkeys(("runs", "thumbnail", "version", "worlds"), "folder"),
    **dict.fromkeys(("load_snapshot", "read_snapshot", "save_snapshot"), "moments"),
    **dict.fromkeys(("Translator", "is_translator"), "translator"),
    **{"Physics": "physics", "Real": "real", "agent": "agents"},
}

BACKENDS = {"mlx": ("mlxworld", "mlx.core"), "torch": ("torch_backend", "torch")}
INSTALL = {
    "mlx": 'pip install "mlxworld[mlx-cpu]" (on a Mac: pip install mlx)',
    "torch": 'pip install "mlxworld[torch]"',
}


def installed() -> list[str]:
    """Names of the backends whose framework is installed here, the preferred one first."""
    return [name for name, (_, framework) in BACKENDS.items() if _found(framework)]


def on(backend: str) -> ModuleType:
    """The package whose `nn`, `ops`, `random`, `engine` and `models` run on `backend`, "mlx" or "torch".

    Raises MlxworldError for an unknown backend, and for one that is not installed (it says what to install).
    """
    if backend not in BACKENDS:
        raise MlxworldError(f"unknown backend {backend!r}: choose one of {', '.join(BACKENDS)}")
    package, framework = BACKENDS[backend]
    if not _found(framework):
        raise MlxworldError(f"backend {backend!r} is not installed: {INSTALL[backend]}")
    for module in ("nn", "ops", "random", "engine"):
        importlib.import_module(f"{package}.{module}")
    return importlib.import_module(package)


def _found(framework: str) -> bool:
    try:
        return importlib.util.find_spec(framework) is not None
    except ModuleNotFoundError:
        return False


def __getattr__(name: str):
    if name in _LAZY:
        return getattr(importlib.import_module(f".play.{_LAZY[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
