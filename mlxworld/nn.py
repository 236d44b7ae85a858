"""Layers on MLX: its own, and a Module whose body is `forward`. Documented in `mlxworld/protocol.py`."""

# isort: off
from .backend import blas as _blas  # noqa: F401  (a fast BLAS, before MLX is loaded)
import mlx.core as mx
import mlx.nn as _nn

# isort: on
from typing import Any

from mlx.nn import Conv1d, Conv2d, Embedding, LayerNorm, Linear, RMSNorm
from mlx.utils import tree_flatten, tree_unflatten

from .limits import count_module, count_numbers, limit, refuse_hidden_modules

# fmt: off
__all__ = [
    "Module", "Conv1d", "Conv2d", "Embedding", "LayerNorm", "Linear", "RMSNorm", "residual", "role", "roles",
    "parameters", "buffers", "assign", "checkpoint", "limit", "unembed",
]
# fmt: on


class Module(_nn.Module):
    def __init__(self):
        super().__init__()
        count_module()

    def __call__(self, *args, **kwargs) -> Any:
        return self.forward(*args, **kwargs)

    def forward(self, *args, **kwargs) -> Any:
        raise TypeError(f"{type(self).__name__} has no forward")

    def __setattr__(self, name, value):
        refuse_hidden_modules(self, name, value, _nn.Module)
        count_numbers(_sizes(name, value))
        super().__setattr__(name, value)

    def register_buffer(self, name, array):
        setattr(self, name, array)
        self.freeze(recurse=False, keys=[name])
        object.__setattr__(self, "_buffer_names", (*_buffer_names(self), name))


def _buffer_names(module):
    return module.__dict__.get("_buffer_names", ())


def _sizes(name, value):
    """Numbers of each parameter that an attribute brings; a Module of ours has counted its own."""
    if isinstance(value, mx.array):
        return [] if name.startswith("_") else [value.size]
    layers = value if isinstance(value, list) else [value]
    layers = [layer for layer in layers if isinstance(layer, _nn.Module) and not isinstance(layer, Module)]
    return [x.size for layer in layers for _, x in _arrays(layer.parameters())]


def _arrays(tree) -> list[tuple[str, Any]]:
    """The arrays of a tree with their dotted names."""
    return list(tree_flatten(tree))  # pyright: ignore[reportArgumentType,reportReturnType]


def residual(x, layer, y):
    if type(layer) is Linear and "bias" not in layer:
        return mx.addmm(x, y, layer.weight.T)
    return x + layer(y)


def unembed(table, x):
    return table.as_linear(x)


def role(module, kind, *names):
    object.__setattr__(module, "_roles", module.__dict__.get("_roles", {}) | dict.fromkeys(names or ("",), kind))
    return module


def roles(module):
    kinds = {}
    for path, owner in module.named_modules():
        marks = owner.__dict__.get("_roles", {})
        for name, value in owner.items():
            kind = marks.get(name, marks.get(""))
            if kind and isinstance(value, mx.array):
                kinds[f"{path}.{name}" if path else name] = kind
    return kinds


def parameters(module) -> dict[str, Any]:
    constant = set(buffers(module))
    return {name: x for name, x in _arrays(module.parameters()) if name not in constant}


def buffers(module) -> dict[str, Any]:
    owners = [(f"{path}." if path else "", owner) for path, owner in module.named_modules() if _buffer_names(owner)]
    return {path + name: owner[name] for path, owner in owners for name in _buffer_names(owner)}


def assign(module, arrays):
    module.update(tree_unflatten(list(arrays.items())))


def checkpoint(module, *args):
    """mlx.nn.utils.checkpoint looks for __call__ in the class's own dict only; this takes any Module."""
    names = list(parameters(module))

    @mx.checkpoint
    def run(values, *args):
        assign(module, dict(zip(names, values, strict=True)))
        return module(*args)

    weights = parameters(module)
    try:
        return run(list(weights.values()), *args)
    finally:
        assign(module, weights)
