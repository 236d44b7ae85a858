"""What the goldens call things by: the one file to edit when a parameter, a setting, a class or a file is renamed.

The fixed numbers are kept under golden names, those that parameters and losses had when the numbers were taken. Random
weights are drawn from a parameter's golden name and shape alone, so neither order nor `init_weights` matters to them.
"""

import importlib
import re
import zlib
from types import ModuleType
from typing import Any

import numpy as np

from mlxworld import families
from mlxworld.files.layouts import openworld_1
from tests.models.small import SMALL, changed

PRESETS = ("nano", "nano-64", "play", "play-64", "small", "base", "large")
ONE_BLOCK = {
    "vision": {"depth": 1, "taps": (1,)},
    "decoder": {"depth": 1},
    "dynamics": {"depth": 2, "global_every": 2},  # one local layer, one global
}


def golden(name: str) -> str:
    """The golden name of a parameter ("dynamics.embed.weight") or of a loss ("pixel") that is called `name` today."""
    for theirs, ours in openworld_1.WEIGHTS.items():
        pattern = re.escape(ours).replace(r"\{\}", r"(\d+)")
        if match := re.fullmatch(pattern, name):
            return theirs.format(*match.groups())
    return name


def named(backend: ModuleType, net: Any, part: str = "") -> dict[str, str]:
    """{golden name: name today} of what is saved of `net`; part: what the whole model calls it, as in "dynamics."."""
    return {golden(part + name): name for name in arrays(backend, net)}


def trained(backend: ModuleType, net: Any, part: str = "") -> dict[str, str]:
    """As `named`, without buffers. The numbers of the tokenizer's training are of the first release with its mean frame
    (golden name "still") left untrained, as it is since it is a buffer: all else was the same parameters, then as now.
    """
    return {golden(part + name): name for name in backend.nn.parameters(net)}


def arrays(backend: ModuleType, net: Any) -> dict[str, Any]:
    """All that is saved of a model: parameters and buffers."""
    return backend.nn.parameters(net) | backend.nn.buffers(net)


def preset(name: str) -> Any:
    """The configuration of a preset, as wide as it is; of base and large only the first blocks."""
    cfg = families.preset("openworld", name)
    return changed(cfg, **ONE_BLOCK) if name in ("base", "large") else cfg


def small() -> Any:
    """The configuration that the training goldens are taken of."""
    return SMALL


def build(backend: ModuleType, cfg: Any) -> Any:
    """The whole model with golden weights."""
    net = families.model(backend, "openworld")(cfg)
    fresh = arrays(backend, net)
    weights = {today: drawn(name, fresh[today], backend) for name, today in named(backend, net).items()}
    backend.engine.load_parameters(net, weights, "the goldens")
    return net


def losses(backend: ModuleType) -> dict[str, Any]:
    """loss(part of the model, batch, key) -> loss, parts; by the part's golden name."""
    module = importlib.import_module(f"{backend.__name__}.models.openworld.losses")
    return {"tokenizer": module.tokenizer_loss, "dynamics": module.dynamics_loss}


def part(net: Any, name: str) -> Any:
    """The tokenizer or the dynamics of a whole model."""
    return getattr(net, name)


def drawn(name: str, fresh: Any, backend: ModuleType) -> np.ndarray:
    """Weights from a golden name, and from what the model begins with, `fresh`, where that matters. No part is near
    zero, and the stream of every transformer stays near 0.1, so small that the epsilon of a norm shows in the fourth
    digit."""
    draw = np.random.default_rng(zlib.crc32(name.encode())).random(fresh.shape, np.float32)
    draw -= np.float32(0.5)
    draw *= np.float32(12**0.5)  # mean 0, variance 1
    layer, kind = name.split(".")[-2:] if "." in name else ("", name)
    if kind in ("gate", "log_variance"):
        return backend.engine.numpy(fresh) + 0.1 * draw
    if kind == "still":
        return 0.5 + 0.1 * draw
    if (kind == "weight" and fresh.ndim == 1) or kind == "gain":
        return 1 + 0.1 * draw
    if kind == "weight" and not layer.startswith("embed_"):
        quiet = 0.1 if layer in ("embed", "bring", "qkv", "q", "kv", "down") else 1
        draw *= np.float32(quiet / np.prod(fresh.shape[1:]) ** 0.5)
        return draw
    return 0.1 * draw
