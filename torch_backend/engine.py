"""Arrays, files and the train step on PyTorch. `mlxworld/engine.py` has the same names, meanings and results.

The train step keeps the host ahead of the device: skipping, clipping and averaging are decided there, nothing is read
back. AdamW is the fused kernel. Knows nothing of models, data or schedules.
"""

import os
import resource
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mlxworld.batches import cut
from mlxworld.configs.optim import OptimConfig
from mlxworld.files import checkpoint, quantized

from . import graphs, nn, packed, random
from .count import count  # noqa: F401
from .optim import Optimizer
from .quantize import quantize  # noqa: F401  (the engine's own; in a file beside it)

parameters = nn.parameters
Loop = graphs.Loop
load = checkpoint.load


def device() -> str:
    """Where new arrays live: "cpu" or "cuda" (a Mac's GPU is MLX's). `MLXWORLD_DEVICE=cpu` forces the CPU."""
    return "cuda" if torch.cuda.is_available() and os.environ.get("MLXWORLD_DEVICE") != "cpu" else "cpu"


def rollout_precision(weights: str | None = None) -> str:
    """The fastest precision to play in: float16 on CUDA, bfloat16 on a CPU that multiplies in it, else float32; float32
    on any CPU beside quantised `weights`."""
    if device() != "cpu":
        return "float16"
    return "bfloat16" if packed.fast() and weights is None else "float32"


def _tree_map(fn, x) -> Any:
    if isinstance(x, dict):
        return {k: _tree_map(fn, v) for k, v in x.items()}
    if isinstance(x, list | tuple):
        return type(x)(_tree_map(fn, v) for v in x)
    return fn(x)


def array(x, dtype: str | None = None):
    """numpy arrays and numbers, in a tree of dict, list and tuple too, as tensors here; float64 becomes float32."""
    return _tree_map(lambda leaf: _array(leaf, dtype), x)


def _array(x, dtype):
    if not isinstance(x, torch.Tensor):
        x = np.asarray(x)
        x = torch.tensor(x, dtype=torch.float32 if x.dtype == np.float64 else None)
    here = device()
    if here == "cuda" and not x.is_cuda:
        x = x.pin_memory()  # or the copy would wait for all work on the GPU
    return x.to(here, None if dtype is None else getattr(torch, dtype), non_blocking=True)


def numpy(x):
    """A copy as numpy arrays, of a tree too; bfloat16 becomes float32. Waits for the device."""
    return _tree_map(lambda t: np.array((t.float() if t.dtype == torch.bfloat16 else t).numpy(force=True)), x)


def fetch(x):
    """A function that returns `numpy(x)`; the copy is under way at once, and outlives what overwrites x later."""
    if device() == "cpu":
        return lambda: numpy(x)
    host = _tree_map(lambda t: torch.empty_like(t, device="cpu", pin_memory=True).copy_(t, non_blocking=True), x)
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
    return _tree_map(lambda t: t.clone(), x)


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


def load_parameters(model, arrays: dict[str, np.ndarray], source: str) -> None:
    """Sets every parameter of the model, which keeps its precision. MlxworldError unless names and shapes agree.

    Layers that are quantised among `arrays` become plain weights.
    """
    shapes = {n: tuple(p.shape) for n, p in parameters(model).items()}
    arrays = quantized.plain(arrays, shapes, source)
    checkpoint.check(shapes, arrays, source)
    nn.assign(model, {n: torch.tensor(x) for n, x in arrays.items()})


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


class Trainer:
    """Trains the parameters of `model` that are not frozen; moves the model to the device.

    loss(model, batch, key) -> (scalar, dict of scalars), written on ops. With precision "bfloat16" or "float16" the
    forward and backward passes run under autocast, float32 weights are kept, and for float16 the loss is scaled: halved
    when gradients overflow, else grown slowly. `compile` compiles the loss, once for each set of shapes.
    """

    def __init__(self, model, loss, optim: OptimConfig, *, precision="float32", accumulate=1, compile=False):  # noqa: A002
        self.model, self.optim = model.to(device()), optim
        self.loss = torch.compile(loss, dynamic=False) if compile else loss
        self.precision, self.accumulate = precision, accumulate
        self.steps = 0  # calls of `step`, skipped updates included
        weights = parameters(model)
        self._trained = {n: p for n, p in weights.items() if p.requires_grad}
        self._optimizer = Optimizer(optim, self._trained)
        self._scale = torch.tensor(2.0**15 if precision == "float16" else 1.0, device=device())
        self.ema = {
            n: p.detach().clone() for n, p in weights.items()
        }  # a skipped step counts as one that moved nothing

    def step(self, batch: dict[str, np.ndarray], seed: int, lr: float) -> dict:
        """One update from a batch of arrays with a leading axis B; returns "loss", its parts, "grad_norm" and "finite".

        They are scalar tensors on the device: reading one waits for it. With `accumulate` = n the batch is cut in n
        equal parts whose gradients are averaged, and only one part is in memory at a time. grad_norm is the norm before
        clipping. Where the loss or a gradient is not finite nothing is updated, and "finite" is 0. `seed` makes the
        key. Raises MlxworldError when B cannot be cut in n.
        """
        n, trained = self.accumulate, list(self._trained.values())
        key = array(random.key(seed))
        for weight in trained:
            weight.grad = None
        found = [
            self._differentiate(part, k)
            for part, k in zip(cut(batch, n), [key] if n == 1 else random.split(key, n), strict=True)
        ]
        metrics = {name: torch.stack([part[name] for part in found]).mean() for name in found[0]}
        for weight in trained:
            weight.grad = torch.zeros_like(weight) if weight.grad is None else weight.grad
        gradients = [weight.grad for weight in trained]
        norm = torch.nn.utils.get_total_norm(gradients) / self._scale
        finite = norm.isfinite() & metrics["loss"].isfinite()
        shrink = (self.optim.clip / (norm + 1e-6)).clamp(max=1) / self._scale
        torch._foreach_mul_(gradients, shrink)  # pyright: ignore[reportPrivateImportUsage]
        self._optimizer.update(lr, finite)
        if self.precision == "float16":
            self._scale *= torch.where(finite, 1.0005, 0.5)
        self._average()
        self.steps += 1
        return metrics | {"grad_norm": norm, "finite": finite.float()}

    def _differentiate(self, batch, key):
        """Adds the gradients (times the scale) of one part of a batch to `.grad`; the loss with its parts."""
        low = self.precision != "float32"
        with torch.autocast(device(), getattr(torch, self.precision) if low else None, enabled=low):
            loss, parts = self.loss(self.model, array(batch), key)
        (loss.float() * self._scale / self.accumulate).backward()
        return {name: x.detach().float() for name, x in ({"loss": loss} | parts).items()}

    @torch.no_grad()
    def _average(self):
        moving = [(self.ema[n], p) for n, p in parameters(self.model).items() if p.is_floating_point()]
        averages, weights = map(list, zip(*moving, strict=True))
        rate = 1 - self.optim.averaging(self.steps)
        torch._foreach_lerp_(averages, weights, rate)  # pyright: ignore[reportPrivateImportUsage]

    def state(self) -> dict[str, np.ndarray]:
        """All that an exact resume needs: "model.*", "ema.*", "optim.*" and "step", the same on both backends."""
        return numpy(self._arrays()) | {"step": np.array(self.steps)}

    @torch.no_grad()
    def load_state(self, state: dict[str, np.ndarray], source: str = "the training state") -> None:
        """Goes on from `state()`, of either backend. Raises MlxworldError unless names and shapes agree."""
        held = self._arrays()
        checkpoint.check({n: x.shape for n, x in held.items()} | {"step": ()}, state, source)
        for name, x in held.items():
            x.copy_(torch.tensor(state[name]))
        self._optimizer.sync()
        self.steps = int(state["step"])

    def _arrays(self):
        optim = self._optimizer.state | {"scale": self._scale}
        groups = {"model": parameters(self.model), "ema": self.ema, "optim": optim}
        return {f"{group}.{n}": x for group, arrays in groups.items() for n, x in arrays.items()}
