"""Tasks of one model, each weighed by its learned uncertainty (Kendall et al. 2018)."""

from collections.abc import Mapping

from ... import ops
from ...nn import Module
from ..arrays import Array


class Uncertainty(Module):
    """Sum of exp(-s) L + s over tasks; s, the logarithm of a task's variance, is a parameter. At s = log L its slope is
    nothing, so a task whose loss is large weighs little, and none can be shut off."""

    def __init__(self, start: Mapping[str, float]):
        """start: {task: its s at first}. Near the logarithm of the loss that is hoped for, no task drowns another."""
        super().__init__()
        self.tasks = list(start)
        self.log_variance = ops.array([start[task] for task in self.tasks])

    def forward(self, losses: Mapping[str, Array]) -> Array:
        """{task: scalar loss} of all tasks -> the weighed sum, a scalar."""
        loss = ops.stack([losses[task] for task in self.tasks])
        return (ops.exp(-self.log_variance) * loss + self.log_variance).sum()
