"""Array operations on PyTorch, as `mlxworld/protocol.py` documents them; the twin of `mlxworld/ops.py`."""

import contextlib
import threading

import torch
import torch.nn.functional as F
from torch import (
    abs,  # noqa: A004
    broadcast_to,
    cos,
    exp,
    floor,
    log,
    rsqrt,
    sigmoid,
    sin,
    sqrt,
    square,
    tanh,
    where,
)
from torch.nn.functional import gelu, relu, silu

from . import decoding

# fmt: off
__all__ = [
    "abs", "broadcast_to", "cos", "exp", "floor", "log", "rsqrt", "sigmoid", "sin", "sqrt",
    "square", "stop_gradient", "tanh", "where", "gelu", "relu", "silu", "array", "arange", "zeros",
    "ones", "full", "cast", "float32", "int32", "uint8", "concat", "stack", "split", "take", "pad", "roll",
    "clip", "max", "rfft", "irfft", "rms_norm", "attention", "ring_write", "rotary", "value_and_gradient",
]
# fmt: on


def array(x, like=None):
    if like is not None:
        return torch.tensor(x, dtype=like.dtype, device=like.device)
    x = torch.tensor(x)
    return x.to({torch.int64: torch.int32, torch.float64: torch.float32}.get(x.dtype, x.dtype))


def arange(n, like=None):
    return torch.arange(n, dtype=torch.int32, device=None if like is None else like.device)


def zeros(shape, like=None):
    return torch.zeros(shape) if like is None else like.new_zeros(shape)


def ones(shape, like=None):
    return torch.ones(shape) if like is None else like.new_ones(shape)


def full(shape, value, like=None):
    return torch.full(shape, float(value)) if like is None else like.new_full(shape, value)


def cast(x, like):
    return x.to(like.dtype)


def float32(x):
    return x.to(torch.float32)


def int32(x):
    return x.to(torch.int32)


def uint8(x):
    return torch.clamp(torch.floor(x.float() + 0.5), 0, 255).to(torch.uint8)


def concat(xs, axis=0):
    return torch.cat(xs, dim=axis)


def stack(xs, axis=0):
    return torch.stack(xs, dim=axis)


def split(x, sizes, axis=-1):
    return torch.split(x, list(sizes), dim=axis)


def take(x, index, axis):
    if index.ndim == 1:
        return x.index_select(axis, index)
    axis %= x.ndim
    return x.index_select(axis, index.reshape(-1)).reshape(*x.shape[:axis], *index.shape, *x.shape[axis + 1 :])


def pad(x, widths, value=0.0):
    return F.pad(x, [n for pair in reversed(widths) for n in pair], value=value)


def roll(x, shift, axis):
    n = shift % x.shape[axis]
    return torch.cat([x.narrow(axis, x.shape[axis] - n, n), x.narrow(axis, 0, x.shape[axis] - n)], dim=axis)


def clip(x, low, high):
    return torch.clamp(x, low, high)


def max(x, axis, keepdims=False):  # noqa: A001
    return torch.amax(x, axis, keepdims)


def stop_gradient(x):
    return x.detach()


def rfft(x):
    y = torch.fft.rfft(x)
    return y.real, y.imag


def irfft(real, imag, n):
    return torch.fft.irfft(torch.complex(real, imag), n)


def rms_norm(x, eps=1e-5):
    return F.rms_norm(x, x.shape[-1:], None, eps)


def rotary(x, cos, sin, gains=None):
    x = x if gains is None else x * gains
    return x * cos + roll(x, x.shape[-1] // 2, -1) * sin


def attention(q, k, v, mask=None, scale=None):
    (B, H, Q, E), G = q.shape, k.shape[1]
    grouped = H != G
    if mask is not None and decoding.suits_attention(q, mask):
        scale = E**-0.5 if scale is None else scale
        return decoding.attention(q.reshape(B, G, H // G, E), k, v, mask, scale).reshape(B, H, 1, E)
    if grouped and Q == 1 and (mask is None or (mask.ndim == 4 and mask.shape[1] == 1)):
        # One query: a group's heads become its queries, so that no kernel has to repeat keys and values.
        y = F.scaled_dot_product_attention(q.reshape(B, G, H // G, E), k, v, attn_mask=mask, scale=scale)
        return y.reshape(B, H, 1, E)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale, enable_gqa=grouped)


def value_and_gradient(fn, x):
    with torch.no_grad():  # x alone is followed, not the parameters: attention has no kernel for both at once
        gradient, value = torch.func.grad_and_value(fn)(x.detach())
    return value.detach(), gradient.detach()


_here = threading.local()


@contextlib.contextmanager
def owning_rings():
    """Where whoever runs a step owns its state: rings are written in place, not copied whole for one frame."""
    outer = getattr(_here, "owned", False)
    _here.owned = True
    try:
        yield
    finally:
        _here.owned = outer


def ring_write(ring, new, slots):
    if getattr(_here, "owned", False) and not torch.compiler.is_compiling():
        return ring.index_copy_(2, slots.long(), new)
    for t in range(len(slots)):  # one by one, as Core ML's converter knows it
        ring = torch.ops.aten.index_put(ring, [None, None, slots[t : t + 1].long()], new[:, :, t : t + 1])
    return ring
