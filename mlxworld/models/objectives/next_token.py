"""Cross entropy of the next token."""

from ... import ops
from ..arrays import Array


def next_token(logits: Array, ids: Array, counted: Array) -> Array:
    """The mean over tokens that count. logits (B, T, V) of tokens ids (B, T); counted (B, T) float32, 1 or 0."""
    logits = ops.float32(logits)
    top = ops.stop_gradient(ops.max(logits, axis=-1, keepdims=True))
    whole = ops.log(ops.exp(logits - top).sum(axis=-1)) + top[..., 0]
    one_hot = ops.float32(ids[..., None] == ops.arange(logits.shape[-1], like=ids))
    return ((whole - (logits * one_hot).sum(axis=-1)) * counted).sum() / (counted.sum() + 1e-6)
