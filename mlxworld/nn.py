"""Layers on MLX: its own, and a Module whose body is `forward`. Documented in `mlxworld/protocol.py`."""

# isort: off
from .backend import blas as _blas  # noqa: F401  (a fast BLAS, before MLX is loaded)
import mlx.core as mx
import mlx.nn as _nn

# isort: on
from typing import Any

from mlx.nn import Conv1d, Conv2d, Embedding, LayerNorm, Linear, RMSNorm
from mlx.utils import tree_flatten, tree_unflatten

# fmt: off
__all__ = [
    "Module", "Conv1d", "Conv2d", "Embedding", "LayerNorm", "Linear", "RMSNorm", "residual", "parameters", "assign",
    "checkpoint",
]
# fmt: on


class Module(_nn.Module):
    def __call__(self, *args, **kwargs) -> Any:
        return self.forward(*args, **kwargs)

    def forward(self, *args, **kwargs) -> Any:
        raise TypeError(f"{type(self).__name__} has no forward")


def residual(x, layer, y):
    if type(layer) is Linear and "bias" not in layer:
        return mx.addmm(x, y, layer.weight.T)
    return x + layer(y)


def parameters(module):
    return dict(tree_flatten(module.parameters()))


def assign(module, arrays):
    module.update(tree_unflatten(list(arrays.items())))


def checkpoint(module, *args):
    """mlx.nn.utils.checkpoint looks for __call__ in the class's own dict only; this takes any Module."""
    names = list(parameters(module))

    @mx.checkpoint
    def run(values, *args):
        assign(module, dict(zip(names, values, strict=True)))
        return module(*args)

    held = parameters(module)
    try:
        return run(list(held.values()), *args)
    finally:
        assign(module, held)
