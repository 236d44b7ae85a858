"""Low-rank adapters (LoRA, Hu et al. 2022): small matrices beside a layer's own, which alone learn."""

from typing import Any

from ... import ops, random
from ...nn import Module
from ..arrays import Array


class LowRank(Module):
    """A Linear whose weight W is as if it were W + B A: A (rank, in) is drawn, B (out, rank) is 0 at first, so that it
    does at first what the Linear did. W and the bias keep their names."""

    def __init__(self, linear: Any, rank: int, key: Array):
        super().__init__()
        self.weight = linear.weight
        if getattr(linear, "bias", None) is not None:
            self.bias = linear.bias
        outputs, inputs = linear.weight.shape
        self.low = random.normal(key, (rank, inputs)) * inputs**-0.5
        self.high = ops.zeros((outputs, rank))

    def forward(self, x: Array) -> Array:
        """x (..., in) -> (..., out)."""
        low, high = (ops.cast(matrix, like=x) for matrix in (self.low, self.high))  # W may be of another type than they
        y = x @ self.weight.swapaxes(0, 1) + (x @ low.swapaxes(0, 1)) @ high.swapaxes(0, 1)
        return y + self.bias if hasattr(self, "bias") else y
