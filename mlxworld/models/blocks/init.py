"""Fresh weights, the same on both backends: by the role that is said where a layer is made."""

import math
from typing import Any

from ... import nn, ops, random
from ..arrays import Array


def init_weights(model: Any, key: Array, depth: int) -> None:
    """Sets the parameters of a model, names in sorted order, one key each. depth: blocks of the residual stream.

    | parameter | from |
    |---|---|
    | matrix, convolution, first layer (role "input") | N(0, 1 / fan_in) |
    | what is added to the residual stream ("residual") | N(0, 1 / (2 * depth * fan_in)) |
    | table, learned token or code ("embedding") | N(0, 0.02^2) |
    | the last layer ("head") | N(0, 0.02^2 / fan_in) |
    | bias | 0 |
    | anything else (norms, gates, uncertainties) | as its module made it |
    """
    parameters: dict[str, Array] = nn.parameters(model)
    roles: dict[str, str] = nn.roles(model)
    fresh: dict[str, Array] = {}
    for name, part in zip(sorted(parameters), random.split(key, len(parameters)), strict=True):
        x, role = parameters[name], roles.get(name, "")
        fan_in = math.prod(x.shape[1:])
        if name.rpartition(".")[2] == "bias":
            fresh[name] = ops.zeros(x.shape)
        elif role == "embedding":
            fresh[name] = random.normal(part, x.shape) * 0.02
        elif len(x.shape) > 1:
            size = {"residual": (2 * depth) ** -0.5, "head": 0.02}.get(role, 1.0)
            fresh[name] = random.normal(part, x.shape) * (size * fan_in**-0.5)
    nn.assign(model, fresh)
