"""Devices, files and compiled loops on PyTorch. `mlxworld/engine.py` has the same names, meanings and results.

The train step is in `trainer.py`. Knows nothing of models, data or schedules.
"""

import os
import resource
import sys
from pathlib import Path

import torch
from torch.overrides import TorchFunctionMode

from mlxworld.files import checkpoint, quantized

from . import graphs, nn, packed
from .arrays import array, device, numpy, read, tree_map  # noqa: F401  (array: of the engine)
from .count import count  # noqa: F401
from .distributed import mean, rank, ranks  # noqa: F401
from .quantize import packing, quantize  # noqa: F401
from .trainer import Trainer  # noqa: F401  (the engine's own; in a file beside it)

parameters = nn.parameters
Loop = graphs.Loop
load = checkpoint.load


def rollout_precision(weights: str | None = None) -> str:
    """The fastest precision to play in: float16 on CUDA, bfloat16 on a CPU that multiplies in it, else float32; float32
    on any CPU beside quantised `weights`."""
    if device() != "cpu":
        return "float16"
    return "bfloat16" if packed.fast() and weights is None else "float32"


def fetch(x):
    """A function that returns `numpy(x)`; the copy is under way at once, and outlives what overwrites x later."""
    if device() == "cpu":
        return lambda: numpy(x)
    host = tree_map(lambda t: torch.empty_like(t, device="cpu", pin_memory=True).copy_(t, non_blocking=True), x)
    done = torch.cuda.Event()
    done.record()

    def wait():
        done.synchronize()
        return numpy(host)

    return wait


def cast(model, precision: str):
    """The model itself, its floating parameters now in `precision` ("float32", "float16", "bfloat16"). Constants (`_x`)
    stay float32: models cast them where they use them."""
    for p in model.parameters():
        if p.is_floating_point():
            p.data = p.data.to(getattr(torch, precision))
    return model


def place(model):
    """The model itself, on the device."""
    return model.to(device())


def ready(model, precision: str, compiled: bool = False):
    """The model itself, placed and cast for play alone. On the CPU bfloat16 that is not compiled is that of its matrix
    products: see `packed`."""
    if device() == "cpu" and precision == "bfloat16" and not compiled:
        return packed.pack(cast(model, "float32"))
    return place(cast(model, precision))


def copy(x):
    """A tree of tensors that later calls of a `fixed` function leave alone."""
    return tree_map(lambda t: t.clone(), x)


def fixed(fn, model=None):
    """`fn` of tensors of fixed shapes (trees too), without gradients, as fast as this device runs it: a CUDA graph.

    Its results are overwritten by its next call: `copy` what is to stay. `model`: one that `fn` calls and whose weights
    change meanwhile; a graph reads weights where they are, so here it makes no difference.
    """
    return graphs.Graphed(fn) if device() == "cuda" else fn


def leave_a_core() -> None:
    """On the CPU, leaves one core to whoever asks for the frames; OMP_NUM_THREADS overrules.

    A busy machine stalls a team of threads that fills it: 2 cores, both busy, make 0.4 frames a second with 2 threads,
    8 with 1. It slows training, which fills the machine as it should: only who plays calls it.
    """
    if device() == "cpu" and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, (os.cpu_count() or 2) - 1))


def save(path, arrays: dict, metadata: dict[str, str] | None = None) -> None:
    """Writes arrays of either kind as safetensors, whole or not at all: see `checkpoint.save`."""
    checkpoint.save(path, {k: numpy(x) if isinstance(x, torch.Tensor) else x for k, x in arrays.items()}, metadata)


def build(make):
    """make(), a model whose layers are not given first values, for weights that are loaded: memory that is not written
    is not taken."""
    with _Unset():
        return make()


class _Unset(TorchFunctionMode):
    """What gives first values does nothing."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func in (torch.Tensor.uniform_, torch.Tensor.normal_) or getattr(func, "__module__", "") == "torch.nn.init":
            return args[0] if args else (kwargs or {})["tensor"]
        return func(*args, **(kwargs or {}))


def load_parameters(model, arrays, source: str, precision: str | None = None) -> None:
    """Sets every parameter and every buffer of the model, one array after the other.

    precision: of the parameters from now on; None: what each has.
    arrays: by name, a dict or a lazy mapping. MlxworldError unless names and shapes agree and all numbers are finite.
    Layers that are quantised among `arrays` become plain weights.
    """
    weights = parameters(model)
    own = weights | nn.buffers(model)
    shapes = {n: tuple(p.shape) for n, p in own.items()}
    arrays = quantized.plain(arrays, shapes, source)
    checkpoint.check(shapes, arrays, source)
    for name in own:
        value, numbers = read(arrays, name, precision if name in weights else None)
        checkpoint.require_finite(name, numbers, source)
        if precision is None or name not in weights:
            with torch.no_grad():
                own[name].copy_(value)  # `nn.assign` would look for all names again
        else:
            weights[name].data = value
        del value, numbers  # or they would stay while the next is read


def runs_ahead() -> bool:
    """Whether a call returns before its results are there: on a GPU."""
    return device() != "cpu"


def compile(fn):  # noqa: A001
    """`fn` of arrays (trees too), compiled once for each set of shapes. It must have no side effects."""
    return torch.compile(fn, dynamic=False)


def inference():
    """A context without gradients."""
    return torch.no_grad()


def memory() -> dict[str, int]:
    """Bytes that arrays hold now ("active") and held at most ("peak"); on the CPU, the whole process."""
    if device() == "cuda":
        return {"active": torch.cuda.memory_allocated(), "peak": torch.cuda.max_memory_allocated()}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    pages = Path("/proc/self/statm")
    active = int(pages.read_text().split()[1]) * resource.getpagesize() if pages.exists() else peak
    return {"active": active, "peak": max(active, peak)}
