"""What two clips' latents say of their order in time. B rows, C width."""

from ... import ops
from ...nn import Linear, Module
from ..arrays import Array


class Order(Module):
    """How likely clip a comes before clip b: w . (z_a - z_b), antisymmetric, so no constant answer wins."""

    def __init__(self, dim: int):
        super().__init__()
        self.weigh = Linear(dim, 1, bias=False)

    def forward(self, a: Array, b: Array) -> Array:
        """a, b (B, C) -> logits (B,): positive where a is said to come first."""
        return ops.float32(self.weigh(a - b))[:, 0]


def order_loss(logits: Array, first: Array) -> Array:
    """Cross entropy of logits (B,), first (B,) 1 where a does come first."""
    return (ops.relu(logits) - logits * first + ops.log(1 + ops.exp(-ops.abs(logits)))).mean()
