"""Quantised weights on MLX, for play: the twin of `torch_backend/quantize.py`. Knows nothing of models."""

# isort: off
from . import blas as _blas  # noqa: F401  (a fast BLAS, before MLX is loaded)
import mlx.core as mx
from mlx import nn

# isort: on
from ..files import quantized


def quantize(model, kind: str):
    """The model itself, its matrices and tables now packed as `quantized.how` tells for `kind`: for play, not training.

    What is packed already stays. Raises MlxworldError for a kind that is not in `quantized.KINDS`.
    """

    def how(name, layer):
        plain = type(layer) in (nn.Linear, nn.Embedding)
        return (plain and quantized.how(name, layer.weight.shape, kind)) or False

    nn.quantize(model, class_predicate=how)
    mx.eval(model.state)
    return model
