"""Training on several GPUs: one process a GPU, started by torchrun. `mlxworld/backend/distributed.py` is the twin.

Data parallel: each rank differentiates its parts of the batch, and `mean` gives all the same gradients. `shard` (FSDP2,
Zhao et al. 2023) keeps the weights of each layer in parts, one a rank: a layer is put together when it is called.
Distributed tensors take half a second to import: only where weights are in parts.
"""

import atexit
import functools
import os
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeGuard

import torch
import torch.distributed as dist

from .arrays import device, tree_map

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor

_BUCKET = 1 << 24  # numbers that are averaged at once
_PATIENCE = timedelta(days=1)  # the first rank may record or encode a dataset while the others wait


@functools.cache
def _world() -> tuple[int, int]:
    """This process's rank, and how many there are; joins the others at its first call."""
    if not dist.is_torchelastic_launched() or int(os.environ["WORLD_SIZE"]) == 1:
        return 0, 1
    if device() == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl" if device() == "cuda" else "gloo", timeout=_PATIENCE)
    atexit.register(dist.destroy_process_group)
    return dist.get_rank(), dist.get_world_size()


def rank() -> int:
    """The number of this process, 0 first: rank 0 writes."""
    return _world()[0]


def ranks() -> int:
    """How many processes train together."""
    return _world()[1]


@torch.no_grad()
def mean(x):
    """A tree of tensors, each the mean over all ranks, in float32; waits for the slowest. Of one rank: x itself."""
    if ranks() == 1:
        return x
    leaves: list[torch.Tensor] = []
    tree_map(leaves.append, x)
    buckets: list[list[torch.Tensor]] = [[]]
    for leaf in leaves:
        if sum(t.numel() for t in buckets[-1]) > _BUCKET:
            buckets.append([])
        buckets[-1].append(leaf)
    averages: list[torch.Tensor] = []
    for bucket in buckets:
        flat = torch.cat([t.detach().float().flatten() for t in bucket])
        dist.all_reduce(flat)
        parts = (flat / ranks()).split([t.numel() for t in bucket])
        averages += [part.view(t.shape) for part, t in zip(parts, bucket, strict=True)]
    results = iter(averages)
    return tree_map(lambda _: next(results), x)


def shard(model):
    """The model itself; the weights of its layers, the modules of its lists that are made of others, are now in parts,
    one a rank. A layer must be called, not reached into. All else stays whole on every rank."""
    from torch.distributed.fsdp import fully_shard

    lists = [x for x in model.modules() if isinstance(x, torch.nn.ModuleList)]
    for layer in (layer for x in lists for layer in x):
        if any(True for child in layer.children() for _ in child.parameters()):
            fully_shard(layer, reshard_after_forward=True)
    return model


def _in_parts(x: Any) -> "TypeGuard[DTensor]":
    """Whether a tensor is one of torch.distributed.tensor."""
    return hasattr(x, "to_local")


class Shards:
    """Which parameters are in parts. A part, and what has its shape (gradient, average, moment), is a plain tensor."""

    def __init__(self, weights: Mapping[str, Any]):
        self._layouts = {name: w for name, w in weights.items() if _in_parts(w)}

    def __contains__(self, name: object) -> bool:
        return name in self._layouts

    def local(self, name: str, weight: torch.nn.Parameter) -> torch.nn.Parameter:
        """The parameter as it is here: of one in parts, a parameter that shares the memory of this rank's part."""
        if name not in self:
            return weight
        return torch.nn.Parameter(self._layouts[name].to_local().detach(), weight.requires_grad)

    def gradient(self, name: str, weight: torch.nn.Parameter) -> torch.Tensor | None:
        """The gradient of a parameter, as it is here."""
        return weight.grad.to_local() if _in_parts(weight.grad) else weight.grad

    @torch.no_grad()
    def whole(self, name: str, x: torch.Tensor) -> torch.Tensor:
        """Put together from all ranks, which must all ask for it."""
        if name not in self:
            return x
        from torch.distributed.tensor import DTensor

        w = self._layouts[name]
        parts = DTensor.from_local(x, w.device_mesh, w.placements, run_check=False, shape=w.shape, stride=w.stride())
        return parts.full_tensor()

    @torch.no_grad()
    def part(self, name: str, x: torch.Tensor) -> torch.Tensor:
        """This rank's part of what is whole on every rank."""
        if name not in self:
            return x
        from torch.distributed.tensor import distribute_tensor

        w = self._layouts[name]
        return distribute_tensor(x, w.device_mesh, w.placements, src_data_rank=None).to_local()

    def norm(self, gradients: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """The norm of all gradients, those parts included that other ranks hold."""
        own = [g for n, g in gradients.items() if n not in self]
        norm = torch.nn.utils.get_total_norm(own or [torch.zeros((), device=device())])
        if self._layouts:
            parts_norm = torch.nn.utils.get_total_norm([g for n, g in gradients.items() if n in self])
            norm = (norm.square() + ranks() * mean(parts_norm.square())).sqrt()
        return norm
