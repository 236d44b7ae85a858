"""A pure step as a module that owns its cache: buffers at fixed addresses, written at the end of every call.

One wrapper for Core ML states and Core AI states. Counters are kept as floats, because a Core ML state must be float16;
they stay below 2048, up to where float16 counts exactly. The cache is any tree of tensors: nothing here knows what is
in it.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch.utils._pytree import tree_flatten_with_path, tree_unflatten


def named(tree: Any) -> dict[str, torch.Tensor]:
    """The leaves of a tree by where they lie: {"rings": [(k, v)]} gives rings_0_0 and rings_0_1."""
    leaves, _ = tree_flatten_with_path(tree)
    return {"_".join(str(getattr(k, "key", getattr(k, "idx", k))) for k in path): leaf for path, leaf in leaves}


class Stateful(torch.nn.Module):
    """`call(model, cache, **inputs) -> output, cache` as a module of the inputs alone: forward(**inputs) -> output."""

    def __init__(self, model: torch.nn.Module, cache: Any, call: Callable[..., Any]):
        """cache: the tree to begin with; every later one has its shapes."""
        super().__init__()
        self.model, self.call = model, call
        self.tree = tree_flatten_with_path(cache)[1]
        self.kinds = {name: leaf.dtype for name, leaf in named(cache).items()}
        for name, leaf in named(cache).items():
            self.register_buffer(name, leaf.detach().clone() if leaf.is_floating_point() else leaf.float())

    def state(self) -> dict[str, torch.Tensor]:
        """The buffers by name, floats of fixed addresses."""
        return {name: self.get_buffer(name) for name in self.kinds}

    def forward(self, **inputs):
        held = self.state()
        cache = tree_unflatten([held[name].to(kind) for name, kind in self.kinds.items()], self.tree)
        output, cache = self.call(self.model, cache, **inputs)
        for name, leaf in named(cache).items():
            held[name].copy_(leaf.to(held[name].dtype))  # cast first: Core AI does not, inside copy_
        return output
