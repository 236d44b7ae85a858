"""Array operations on MLX. `mlxworld/protocol.py` documents each; the torch twin is `torch_backend/ops.py`.

Only what the two frameworks spell differently is here: shared methods (reshape, swapaxes, moveaxis, flatten, mean, sum,
cumsum, indexing, arithmetic, `@`) are used directly.
"""

import math

# isort: off
from .backend import blas as _blas  # noqa: F401  (a fast BLAS, before MLX is loaded)
import mlx.core as mx

# isort: on
from mlx.core import (
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
    stop_gradient,
    tanh,
    where,
)

# fmt: off
__all__ = [
    "abs", "broadcast_to", "cos", "exp", "floor", "log", "rsqrt", "sigmoid", "sin", "sqrt",
    "square", "stop_gradient", "tanh", "where", "gelu", "relu", "silu", "array", "arange", "zeros",
    "ones", "full", "cast", "float32", "int32", "uint8", "concat", "stack", "split", "take", "pad", "roll",
    "clip", "max", "rfft", "irfft", "rms_norm", "attention", "ring_write", "rotary", "value_and_gradient",
]
# fmt: on


# Those of mlx.nn are compiled one by one, and what MLX has compiled has no gradient beside an inner gradient.
def gelu(x):
    return x * (1 + mx.erf(x / math.sqrt(2))) / 2


def relu(x):
    return mx.maximum(x, 0)


def silu(x):
    return x * mx.sigmoid(x)


def array(x, like=None):
    x = mx.array(x, dtype=None if like is None else like.dtype)
    return x.astype(mx.int32) if like is None and x.dtype == mx.int64 else x


def arange(n, like=None):
    return mx.arange(n, dtype=mx.int32)


def zeros(shape, like=None):
    return mx.zeros(shape, mx.float32 if like is None else like.dtype)


def ones(shape, like=None):
    return mx.ones(shape, mx.float32 if like is None else like.dtype)


def full(shape, value, like=None):
    return mx.full(shape, value, mx.float32 if like is None else like.dtype)


def cast(x, like):
    return x.astype(like.dtype)


def float32(x):
    return x.astype(mx.float32)


def int32(x):
    return x.astype(mx.int32)


def uint8(x):
    return mx.clip(mx.floor(x.astype(mx.float32) + 0.5), 0, 255).astype(mx.uint8)


def concat(xs, axis=0):
    return mx.concatenate(xs, axis)


def stack(xs, axis=0):
    return mx.stack(xs, axis)


def split(x, sizes, axis=-1):
    ends = [sum(sizes[: i + 1]) for i in range(len(sizes) - 1)]
    return mx.split(x, ends, axis)


def take(x, index, axis):
    return mx.take(x, index, axis)


def pad(x, widths, value=0.0):
    return mx.pad(x, widths, constant_values=value)


def clip(x, low, high):
    return mx.clip(x, low, high)


def roll(x, shift, axis):
    n = x.shape[axis]
    return mx.take(x, mx.array([(i - shift) % n for i in range(n)]), axis)  # one kernel; mx.roll is several copies


def max(x, axis, keepdims=False):  # noqa: A001
    return mx.max(x, axis, keepdims)


def rfft(x):
    y = mx.fft.rfft(x, axis=-1)
    return mx.real(y), mx.imag(y)


def irfft(real, imag, n):
    return mx.fft.irfft(real + 1j * imag, n, axis=-1)


def rms_norm(x, eps=1e-5):
    return mx.fast.rms_norm(x, None, eps)


def rotary(x, cos, sin, gains=None):
    halves, cos, sin = (a.reshape(*a.shape[:-1], 2, a.shape[-1] // 2) for a in (x, cos, sin))
    if gains is not None:  # in the order of PyTorch's, or sounds, which sum up phases, would drift apart
        halves = halves * gains.reshape(*gains.shape[:-1], 2, gains.shape[-1] // 2)
    return (halves * cos + halves[..., ::-1, :] * sin).reshape(x.shape)  # views and one kernel


def attention(q, k, v, mask=None, scale=None):
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    return mx.fast.scaled_dot_product_attention(q, k, v, scale=scale, mask=mask)


def value_and_gradient(fn, x):
    value, gradient = mx.value_and_grad(fn)(mx.stop_gradient(x))
    return mx.stop_gradient(value), mx.stop_gradient(gradient)


def ring_write(ring, new, slots):
    frames = [(t, new[:, :, t : t + 1]) for t in range(len(slots))]
    if mx.default_device() == mx.cpu:
        for t, frame in frames:
            ring = mx.slice_update(ring, frame, slots[t : t + 1], [2])
        return ring
    here = mx.arange(ring.shape[2])[:, None] == slots  # (W, T)
    for t, frame in frames:  # all in one kernel; a slice update takes three each
        ring = mx.where(here[:, t, None, None], frame, ring)
    return ring
