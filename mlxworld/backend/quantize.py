"""Quantised weights on MLX, for play: the twin of `torch_backend/quantize.py`. Knows nothing of models."""

# isort: off
from . import blas as _blas  # noqa: F401  (a fast BLAS, before MLX is loaded)
import mlx.core as mx
from mlx import nn

# isort: on
from typing import Any

from ..files import quantized
from ..nn import roles


def packing(model, kind: str) -> dict[str, dict[str, Any]]:
    """How `kind` packs each layer of a model that it packs, by the layer's name: see `quantized.how`."""
    marks, layouts = roles(model), {}
    for name, layer in model.named_modules():
        if type(layer) in (nn.Linear, nn.Embedding):
            table = type(layer) is nn.Embedding
            layouts[name] = quantized.how(layer.weight.shape, kind, marks.get(f"{name}.weight"), table)
    return {name: layout for name, layout in layouts.items() if layout}


def quantize(model, kind: str):
    """The model itself, its matrices and tables now packed as `packing` tells for `kind`: for play, not training.

    What is packed already stays. Raises MlxworldError for a kind that is not in `quantized.KINDS`.
    """
    layouts = packing(model, kind)
    nn.quantize(model, class_predicate=lambda name, _: layouts.get(name, False))
    mx.eval(model.state)
    return model
