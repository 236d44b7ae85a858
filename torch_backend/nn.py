"""Layers on PyTorch that read as MLX's: channels last, MLX's epsilons, lists hold children, `_x` is an unsaved buffer.

Documented in `mlxworld/protocol.py`; the twin of `mlxworld/nn.py`.
"""

import torch
import torch.nn.functional as F
import torch.utils.checkpoint
from torch import nn as _nn
from torch.nn import Embedding

from mlxworld.limits import count_module, count_numbers, limit, refuse_hidden_modules

from . import decoding

# fmt: off
__all__ = [
    "Module", "Conv1d", "Conv2d", "Embedding", "LayerNorm", "Linear", "RMSNorm", "residual", "role", "roles",
    "parameters", "buffers", "assign", "checkpoint", "limit", "unembed",
]
# fmt: on


class Module(_nn.Module):
    """Lists hold children, public arrays are parameters, `_private` arrays are buffers that are not saved."""

    def __init__(self):
        super().__init__()
        count_module()

    def __setattr__(self, name, value):
        refuse_hidden_modules(self, name, value, _nn.Module)
        count_numbers(_sizes(name, value))
        if isinstance(value, list) and all(isinstance(v, _nn.Module) for v in value):
            value = _nn.ModuleList(value)
        elif type(value) is torch.Tensor and name not in self._buffers and name not in self._parameters:
            if name.startswith("_"):
                return self.register_buffer(name, value, persistent=False)
            value = _nn.Parameter(value, requires_grad=value.is_floating_point())
        super().__setattr__(name, value)


def _sizes(name, value):
    """Numbers of each parameter that an attribute brings; a Module of ours has counted its own."""
    if isinstance(value, torch.Tensor):
        return [] if name.startswith("_") else [value.numel()]
    layers = value if isinstance(value, list) else [value]
    layers = [layer for layer in layers if isinstance(layer, _nn.Module) and not isinstance(layer, Module)]
    return [x.numel() for layer in layers for x in layer.parameters()]


def _product(x, weight, bias=None):
    if decoding.suits_product(x, weight):
        return decoding.product(x, weight, bias)
    return F.linear(x, weight, bias)


class Linear(_nn.Linear):
    def forward(self, input):  # noqa: A002  (torch's name)
        return _product(input, self.weight, self.bias)


class RMSNorm(_nn.RMSNorm):
    def __init__(self, dims, eps=1e-5):
        super().__init__(dims, eps=eps)

    def forward(self, x):
        return F.rms_norm(x, self.normalized_shape, self.weight.to(x.dtype), self.eps)  # one dtype: the fused kernel


class LayerNorm(_nn.LayerNorm):
    def __init__(self, dims, eps=1e-5, affine=True, bias=True):
        super().__init__(dims, eps=eps, elementwise_affine=affine, bias=bias)


class _Conv(_nn.Module):
    """A convolution over channels-last input, its weight stored (out, *kernel, in) as MLX does; permutes are views."""

    def __init__(self, space, in_channels, out_channels, kernel_size, stride, padding, dilation, bias):
        super().__init__()
        kernel = (kernel_size,) * space if isinstance(kernel_size, int) else tuple(kernel_size)
        self.stride, self.padding, self.dilation = stride, padding, dilation
        scale = (in_channels * torch.Size(kernel).numel()) ** -0.5
        self.weight = _nn.Parameter(torch.empty(out_channels, *kernel, in_channels).uniform_(-scale, scale))
        if bias:
            self.bias = _nn.Parameter(torch.zeros(out_channels))
        else:
            self.register_parameter("bias", None)

    def _apply_conv(self, convolve, x):
        y = convolve(x.movedim(-1, 1), self.weight.movedim(-1, 1), self.bias, self.stride, self.padding, self.dilation)
        return y.movedim(1, -1)


class Conv1d(_Conv):
    def __init__(self, in_channels, out_channels, kernel_size, stride=1, padding=0, dilation=1, bias=True):
        super().__init__(1, in_channels, out_channels, kernel_size, stride, padding, dilation, bias)

    def forward(self, x):
        return self._apply_conv(F.conv1d, x)


class Conv2d(_Conv):
    def __init__(self, in_channels, out_channels, kernel_size, stride=1, padding=0, dilation=1, bias=True):
        super().__init__(2, in_channels, out_channels, kernel_size, stride, padding, dilation, bias)

    def forward(self, x):
        return self._apply_conv(F.conv2d, x)


def residual(x, layer, y):
    return x + layer(y)


def unembed(table, x):
    return _product(x, table.weight)


def role(module, kind, *names):
    module._roles = getattr(module, "_roles", {}) | dict.fromkeys(names or ("",), kind)
    return module


def roles(module):
    kinds = {}
    for path, owner in module.named_modules():
        marks: dict[str, str] = getattr(owner, "_roles", {})
        for name, _ in owner.named_parameters(recurse=False):
            if kind := marks.get(name, marks.get("")):
                kinds[f"{path}.{name}" if path else name] = kind
    return kinds


def parameters(module):
    return dict(module.named_parameters())


def buffers(module):
    kept = {}
    for path, owner in module.named_modules():
        for name, x in owner.named_buffers(recurse=False):
            if name not in owner._non_persistent_buffers_set:
                kept[f"{path}.{name}" if path else name] = x
    return kept


def assign(module, arrays):
    with torch.no_grad():
        own = parameters(module) | buffers(module)
        for name, value in arrays.items():
            own[name].copy_(value)


def checkpoint(module, *args):
    return torch.utils.checkpoint.checkpoint(module, *args, use_reentrant=False)
