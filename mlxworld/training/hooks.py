"""A latent hook that is taught to a model which stays as it is: `mlxworld train --from pong --hook night ...`."""

import importlib
import re
from types import ModuleType
from typing import Any

from ..configs.hook import HookConfig
from ..errors import MlxworldError
from ..files import hook_file

TAKEN = ("model", "starts", "checkpoint")  # files of a run's folder


def require_name(name: str, parent: str | None) -> None:
    """Raises MlxworldError for a name that is no file's, and where there is no model to teach it to."""
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name) or name in TAKEN:
        raise MlxworldError(f"--hook {name!r}: a name of letters, digits, - and _, and not {' or '.join(TAKEN)}")
    if parent is None:
        raise MlxworldError("--hook needs --from: the model that it is taught to")


def add(package: ModuleType, hooked: Any, name: str, tokens: int, family: str, seed: int, gate: float = -4.0) -> None:
    """A fresh hook joins a stack of blocks at the first, the middle and the last of the layers that take hooks, its
    gates at b = `gate`."""
    rooms = importlib.import_module(f"{package.__name__}.models.blocks.hooks")
    depth, able = len(hooked.blocks), hooked.hookable
    layers = tuple(sorted({able[0], able[len(able) // 2], able[-1]}))
    cfg = HookConfig(name, tokens, hooked.hook_width, layers, gate, family=family, depth=depth)
    hooked.register_hook(rooms.LatentNeuralHook(cfg).init(package.random.key(seed)))


def save(package: ModuleType, hooked: Any, folder: Any) -> None:
    """Each hook of a stack, as it is now, as NAME.safetensors in a folder."""
    for hook in hooked.hooks:
        arrays = package.engine.numpy(package.nn.parameters(hook))
        hook_file.save(folder / f"{hook.cfg.name}.safetensors", hook.cfg, arrays)
