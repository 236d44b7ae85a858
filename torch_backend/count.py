"""What a function computes on PyTorch: it is run once, eagerly, and every operation that does work is written down.

`mlxworld/count.py` gives the same records of MLX's graph. Views cost nothing and are left out. FLOPs are those of
matrix products, convolutions and attention, two for a multiplication with its addition; all else is judged by its
bytes. A broadcast axis is read once; of a gather's table only the rows that are taken count.
"""

from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

PRODUCTS = {"mm": 0, "bmm": 0, "addmm": 1, "baddbmm": 1, "_int_mm": 0, "_scaled_mm": 0, "mv": 0, "dot": 0}
PRODUCTS |= {"_weight_int8pack_mm": 0, "_weight_int4pack_mm": 0, "_weight_int4pack_mm_for_cpu": 0}  # name: left factor
BYTES = "bytes_linear"  # of quantize.py: its weights, a byte each, are out of sight
PACKED = "_linear_pointwise"  # of packed.py: its weights, two bytes each, are in oneDNN's layout
PRODUCTS[PACKED] = 0
GATHERS = {"embedding", "gather", "index", "index_select"}
NO_WORK = {"empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "_local_scalar_dense"}
KINDS = {"_softmax": "softmax", **dict.fromkeys(("clone", "copy_", "_to_copy"), "pointwise")}
KINDS |= dict.fromkeys(("mean", "sum", "amax", "amin", "_fused_rms_norm", "native_layer_norm"), "reduction")


def count(fn, *args) -> list[tuple[str, str, int, dict, dict]]:
    """The operations of fn(*args), in order: (name, kind, FLOPs, {array: bytes} read, {array: bytes} written).

    kind: "product" (has FLOPs), "pointwise" and "reduction" (compilers fuse these with their neighbours), "softmax" or
    "other".
    """
    with record() as recorder, torch.no_grad():
        fn(*args)
    return recorder.ops


class record(TorchDispatchMode):
    """While it lasts, operations are written down in `ops`, those of a backward pass too."""

    def __init__(self):
        super().__init__()
        self.ops: list[tuple[str, str, int, dict, dict]] = []
        self._ids: dict[int, int] = {}
        self._kept: list[torch.Tensor] = []  # or an address could be another tensor's later

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        found: Any = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        given, made = _tensors((args, kwargs)), _tensors(found)
        if name in NO_WORK or (not func._schema.is_mutable and self._views(made, given)):
            return found
        self._kept += made
        flops = _flops(name, args, made)
        kind = "pointwise" if torch.Tag.pointwise in func.tags else KINDS.get(name, "other")
        read, written = self._bytes(given), self._bytes(made)
        if name == BYTES:
            read[BYTES, args[1]] = args[0].shape[-1] * args[2]
        if name == PACKED:
            read[PACKED, id(args[1])] = 2 * args[1].numel()
        if name in GATHERS:
            read[self._id(given[0])] = sum(written.values())
        self.ops.append((name, "product" if flops else kind, flops, read, written))
        return found

    def _views(self, made, given) -> bool:
        held = {t.untyped_storage()._cdata for t in given}
        return bool(made) and all(t.untyped_storage()._cdata in held for t in made)

    def _id(self, t) -> int:
        return self._ids.setdefault(t.untyped_storage()._cdata, len(self._ids))

    def _bytes(self, tensors) -> dict:
        sizes: dict = {}
        for t in tensors:
            sizes[self._id(t)] = sizes.get(self._id(t), 0) + _bytes(t)
        return sizes


def _tensors(tree) -> list[torch.Tensor]:
    return [x for x in tree_leaves(tree) if isinstance(x, torch.Tensor) and not x.is_mkldnn]


def _bytes(t) -> int:
    size = t.element_size()
    for n, stride in zip(t.shape, t.stride(), strict=True):
        size *= n if stride or n == 0 else 1
    return size


def _flops(name: str, args, made) -> int:
    if name in PRODUCTS or name == BYTES:
        return 2 * made[0].numel() * args[PRODUCTS.get(name, 0)].shape[-1]
    if name in ("convolution", "_convolution"):
        return 2 * made[0].numel() * args[1][0].numel()  # weight (out, in / groups, *kernel)
    if name == "convolution_backward":  # of its input and of its weight, as many as forward each, where asked for
        forward = 2 * args[0].numel() * args[2][0].numel()
        return forward * sum(args[-1][:2])
    if name.startswith("_scaled_dot_product"):
        backward = name.endswith("_backward")
        q, k, v = args[1:4] if backward else args[:3]
        forward = 2 * q[..., 0].numel() * k.shape[-2] * (q.shape[-1] + v.shape[-1])
        return 2 * forward if backward else forward
    return 0
