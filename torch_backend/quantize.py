"""Quantised weights on PyTorch, for play: the twin of `mlxworld/quantize.py`.

On the CPU int8 is made of PyTorch's own integer kernels: activations are rounded to bytes too, by their range in this
call, and a layer takes a third of its float32 time. Layers that narrow stay as they are there: what a gate lets through
has peaks of 20 to 40 times its mean, and rounding them made most of the error. All else is torchao's: weights are bytes
(int4: of sixteen values) that are widened when they are used, which saves memory and no time. Knows nothing of models.
"""

import importlib.util
import itertools
import logging
import warnings
from typing import Any
from weakref import WeakValueDictionary

import torch
from torch import nn

from mlxworld.errors import MlxworldError
from mlxworld.files import quantized

from .nn import roles

_NARROW = (
    torch.cpu.get_capabilities().get("avx512_vnni") is False
)  # x86 without: 16 bits overflow, activations give one
_numbers = itertools.count()  # not ids, which are used again
_layers: "WeakValueDictionary[int, BytesLinear]" = WeakValueDictionary()  # a compiled graph holds numbers, not packings


class BytesLinear(nn.Module):
    """Linear on the CPU: weights a byte each, with one scale a row; integer products; float in and out."""

    def __init__(self, layer: nn.Linear):
        super().__init__()
        weight, bias = layer.weight.detach().float(), layer.bias
        scale = weight.abs().amax(1).clamp(min=1e-12) / 127
        zero = torch.zeros(len(weight), dtype=torch.long)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # arrays of bytes are to leave PyTorch one day: `quantize` sees to that
            weight = torch.quantize_per_channel(weight, scale.double(), zero, 0, torch.qint8)
        bias = None if bias is None else bias.detach().float()
        self.packed = torch.ops.quantized.linear_prepack(weight, bias)
        self.number, self.out = next(_numbers), layer.out_features
        _layers[self.number] = self

    def __setstate__(self, state):
        """Of a copy, or from a pickle: a layer of its own, which outlives the one that it is of."""
        super().__setstate__(state)
        self.number = next(_numbers)
        _layers[self.number] = self

    def forward(self, x):
        return torch.ops.mlxworld.bytes_linear.default(x.float(), self.number, self.out).to(x.dtype)


torch.library.define("mlxworld::bytes_linear", "(Tensor x, int layer, int out) -> Tensor")


@torch.library.impl("mlxworld::bytes_linear", "CPU")
def _bytes_linear(x, layer, out):
    return torch.ops.quantized.linear_dynamic.default(x, _layers[layer].packed, _NARROW)


@torch.library.register_fake("mlxworld::bytes_linear")
def _(x, layer, out):
    return x.new_empty(*x.shape[:-1], out)


class BytesEmbedding(nn.Module):
    """Embedding on the CPU: rows of bytes, each with its scale and least value; only rows that are asked for widen."""

    rows: torch.Tensor

    def __init__(self, layer: nn.Embedding):
        super().__init__()
        self.dtype = layer.weight.dtype
        self.register_buffer("rows", torch.ops.quantized.embedding_bag_byte_prepack(layer.weight.detach().float()))

    @property
    def weight(self):
        """The whole table, widened anew."""
        return torch.ops.quantized.embedding_bag_byte_unpack(self.rows).to(self.dtype)

    def forward(self, index):
        return torch.ops.quantized.embedding_bag_byte_unpack(self.rows[index.long()]).to(self.dtype)


def packing(model, kind: str) -> dict[str, dict[str, Any]]:
    """How `kind` packs each layer of a model that it packs, by the layer's name: see `quantized.how`."""
    marks, layouts = roles(model), {}
    for name, layer in model.named_modules():
        if isinstance(layer, (nn.Linear, nn.Embedding)):
            table = isinstance(layer, nn.Embedding)
            layouts[name] = quantized.how(tuple(layer.weight.shape), kind, marks.get(f"{name}.weight"), table)
    return {name: layout for name, layout in layouts.items() if layout}


def quantize(model, kind: str):
    """The model itself, its matrices and tables now as `packing` tells for `kind`: for play, not for training.

    Raises MlxworldError for what PyTorch does not have (mxfp8) and, unless it is int8 on the CPU, without torchao.
    """
    if kind == "mxfp8":
        raise MlxworldError("mxfp8 weights are MLX's alone: choose int8 or int4 with PyTorch")
    chosen = {name: model.get_submodule(name) for name in packing(model, kind)}
    on_cpu = next(model.parameters()).device.type == "cpu"
    own = kind == "int8" and on_cpu and hasattr(torch, "quantize_per_channel")
    pack = _bytes if own else _torchao(kind)
    for name, layer in chosen.items():
        model.set_submodule(name, pack(layer))
    return model


def _bytes(layer):
    if isinstance(layer, nn.Embedding):
        return BytesEmbedding(layer)
    return layer if layer.in_features > layer.out_features else BytesLinear(layer)


def _torchao(kind: str):
    """A function of a layer that packs its weight and returns the layer."""
    if importlib.util.find_spec("torchao") is None:
        raise MlxworldError(f'{kind} weights here need torchao: pip install "mlxworld[quant]"')
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)  # it tells of kernels for other machines, which are not used here
    try:
        from torchao.quantization import Int8WeightOnlyConfig, IntxWeightOnlyConfig, MappingType, PerGroup, quantize_
    finally:
        logging.disable(level)
    group = PerGroup(quantized.KINDS[kind]["group_size"])
    whole = Int8WeightOnlyConfig(set_inductor_config=False)
    groups = IntxWeightOnlyConfig(getattr(torch, kind), group, MappingType.ASYMMETRIC)

    def pack(layer):
        by_row = kind == "int8" and isinstance(layer, nn.Linear)
        quantize_(layer, whole if by_row else groups, filter_fn=lambda *_: True)
        return layer

    return pack
