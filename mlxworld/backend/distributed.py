"""Training on several machines or GPUs: one process each, started by mlx.launch. The twin of
`torch_backend/distributed.py`.

Data parallel: each rank differentiates its parts of the batch, and `mean` gives all the same gradients.
"""

import functools
import itertools
from typing import Any

import mlx.core as mx
from mlx.utils import tree_map

from ..errors import MlxworldError


@functools.cache
def _group() -> Any:
    """All processes; joins the others at its first call."""
    return mx.distributed.init()


def rank() -> int:
    """The number of this process, 0 first: rank 0 writes."""
    return _group().rank()


def ranks() -> int:
    """How many processes train together."""
    return _group().size()


def mean(x):
    """A tree of arrays, each the mean over all ranks, in float32; waits for the slowest. Of one rank: x itself."""
    if ranks() == 1:
        return x
    leaves: list[mx.array] = []
    tree_map(leaves.append, x)
    flat = mx.concatenate([leaf.astype(mx.float32).reshape(-1) for leaf in leaves])
    ends = list(itertools.accumulate(leaf.size for leaf in leaves))
    parts = iter(mx.split(mx.distributed.all_sum(flat, group=_group()) / ranks(), ends[:-1]))
    return tree_map(lambda leaf: next(parts).reshape(leaf.shape), x)


def shard(model):
    """Raises MlxworldError: MLX trains with the whole weights on every rank."""
    raise MlxworldError("MLX cannot shard a model's weights over ranks: leave out --shard, or use --backend torch")
