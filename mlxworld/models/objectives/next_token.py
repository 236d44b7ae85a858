"""The objective of a language model."""

from ... import ops
from ..arrays import Array


def next_token(logits: Array, tokens: Array) -> Array:
    """Mean cross-entropy in nats of each token but the first, given those before it.

    logits (B, T, V): those at t are of token t + 1. tokens (B, T), integers in 0 .. V - 1, T at least 2.
    """
    return ops.cross_entropy(logits[:, :-1], tokens[:, 1:])
