"""What two clips' latents say of their order and of their distance in time. B rows, C width."""

from ... import nn, ops
from ...nn import Linear, Module
from ..arrays import Array

DISTANCES = 4  # classes: below 10 seconds, below 60, up to 300, and above


class Order(Module):
    """How likely clip a comes before clip b: w . (z_a - z_b), antisymmetric, so no constant answer wins."""

    def __init__(self, dim: int):
        super().__init__()
        self.weigh = Linear(dim, 1, bias=False)

    def forward(self, a: Array, b: Array) -> Array:
        """a, b (..., C) -> logits (...): positive where a is said to come first."""
        return ops.float32(self.weigh(a - b))[..., 0]


class Apart(Module):
    """How far apart two clips are, whichever comes first: a function of |W (z_a - z_b)|, symmetric."""

    def __init__(self, dim: int, outputs: int):
        super().__init__()
        self.apart = Linear(dim, dim, bias=False)
        self.up = Linear(dim, dim)
        self.head = nn.role(Linear(dim, outputs), "head")

    def forward(self, a: Array, b: Array) -> Array:
        """a, b (..., C) -> logits (..., outputs)."""
        return ops.float32(self.head(ops.silu(self.up(ops.abs(self.apart(a - b))))))


def distance_class(seconds: Array) -> Array:
    """The class of each distance in seconds, int32: 0 below 10, 1 below 60, 2 up to 300, 3 above."""
    d = ops.abs(ops.float32(seconds))
    return ops.int32(d >= 10) + ops.int32(d >= 60) + ops.int32(d > 300)


def logistic_loss(logits: Array, true: Array) -> Array:
    """Cross entropy of logits, true 1 where what they are of holds, else 0; the mean."""
    return (ops.relu(logits) - logits * true + ops.log(1 + ops.exp(-ops.abs(logits)))).mean()


def class_loss(logits: Array, classes: Array) -> Array:
    """Cross entropy of logits (..., K) and the numbers of the right classes (...); the mean."""
    logits = logits - ops.stop_gradient(ops.max(logits, axis=-1, keepdims=True))
    right = ops.float32(classes[..., None] == ops.arange(logits.shape[-1], like=classes))
    return (ops.log(ops.exp(logits).sum(axis=-1)) - (logits * right).sum(axis=-1)).mean()
