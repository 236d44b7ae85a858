"""InfoNCE between two views, and how far latents have collapsed. B rows, C width."""

from ... import ops
from ..arrays import Array


def info_nce(a: Array, b: Array, temperature: float = 0.07) -> Array:
    """a, b (B, C), row i of one belonging to row i of the other: the mean of both directions' cross entropies (van den
    Oord et al. 2018). ln B where latents say nothing."""
    scores = _unit(a) @ _unit(b).swapaxes(0, 1) / temperature
    own = (_unit(a) * _unit(b)).sum(axis=-1) / temperature
    return (_log_sum(scores) + _log_sum(scores.swapaxes(0, 1))).mean() / 2 - own.mean()


def spread(x: Array) -> Array:
    """x (B, C) -> 1 - the length of the mean unit vector: near 0 where all rows have collapsed to one direction."""
    mean = _unit(x).mean(axis=0)
    return 1 - ops.sqrt(ops.square(mean).sum())


def _unit(x):
    x = ops.float32(x)
    return x * ops.rsqrt(ops.square(x).sum(axis=-1, keepdims=True) + 1e-12)


def _log_sum(scores):
    """log sum exp over the last axis, (B,)."""
    top = ops.stop_gradient(ops.max(scores, axis=-1, keepdims=True))
    return ops.log(ops.exp(scores - top).sum(axis=-1)) + top[:, 0]
