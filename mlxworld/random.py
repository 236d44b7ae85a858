"""Counter-based random numbers on MLX, documented in `mlxworld/protocol.py`. `torch_backend/random.py`: same bits."""

# isort: off
from .backend import blas as _blas  # noqa: F401  (a fast BLAS, before MLX is loaded)
import mlx.core as mx

# isort: on
__all__ = ["key", "split", "uniform", "normal", "bernoulli", "randint"]


def key(seed, like=None):
    return mx.random.key(seed)


def split(key, num=2):
    return list(mx.random.split(key, num))


def uniform(key, shape, low=0.0, high=1.0):
    return mx.random.uniform(low, high, shape, key=key)


def normal(key, shape):
    return mx.random.normal(shape, key=key)


def bernoulli(key, p, shape):
    return mx.random.bernoulli(p, shape, key=key)


def randint(key, low, high, shape):
    return (mx.floor(mx.random.uniform(shape=shape, key=key) * (high - low)) + low).astype(mx.int32)
