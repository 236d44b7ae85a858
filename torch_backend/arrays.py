"""numpy arrays and tensors, in any tree of dict, list and tuple, and where they live."""

import os
from typing import Any

import ml_dtypes
import numpy as np
import torch


def device() -> str:
    """Where new arrays live: "cpu" or "cuda" (a Mac's GPU is MLX's). `MLXWORLD_DEVICE=cpu` forces the CPU."""
    return "cuda" if torch.cuda.is_available() and os.environ.get("MLXWORLD_DEVICE") != "cpu" else "cpu"


def tree_map(fn, x) -> Any:
    """The tree with fn of each of its leaves."""
    if isinstance(x, dict):
        return {k: tree_map(fn, v) for k, v in x.items()}
    if isinstance(x, list | tuple):
        return type(x)(tree_map(fn, v) for v in x)
    return fn(x)


_SHARED = {"float32", "float16", "int16", "int32", "int64", "uint8"}  # types whose memory numpy can write


def array(x, dtype: str | None = None):
    """numpy arrays and numbers, in a tree of dict, list and tuple too, as tensors here; float64 becomes float32."""
    return tree_map(lambda leaf: _array(leaf, dtype), x)


def _array(x, dtype):
    if not isinstance(x, torch.Tensor):
        x = np.asarray(x)
        if x.dtype == ml_dtypes.bfloat16:
            x = torch.tensor(x.view(np.int16)).view(torch.bfloat16)
        else:
            x = torch.tensor(x, dtype=torch.float32 if x.dtype == np.float64 else None)
    here = device()
    if here == "cuda" and not x.is_cuda:
        x = x.pin_memory()  # or the copy would wait for all work on the GPU
    return x.to(here, None if dtype is None else getattr(torch, dtype), non_blocking=True)


def read(arrays, name: str, dtype: str | None = None):
    """One of the arrays by name, here, and as numpy's on the host. What is read from a file (`files.Weights`) goes
    straight to the memory of a tensor; of what is there already it is a copy."""
    entry = getattr(arrays, "entries", {}).get(name)
    kind = None if entry is None else {"bfloat16": "int16", "uint32": "int32"}.get(str(entry.dtype), str(entry.dtype))
    if entry is None or kind not in _SHARED:
        value = arrays[name]
        return array(value, dtype), value
    place = torch.empty(entry.shape, dtype=getattr(torch, kind))
    memory = place.numpy().view(entry.dtype)
    entry.into(memory)
    return array(place if kind == str(entry.dtype) else place.view(getattr(torch, str(entry.dtype))), dtype), memory


def numpy(x):
    """A copy as numpy arrays, of a tree too; bfloat16 becomes float32. Waits for the device."""
    return tree_map(lambda t: np.array((t.float() if t.dtype == torch.bfloat16 else t).numpy(force=True)), x)
