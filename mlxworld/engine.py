"""Arrays, files and the train step on MLX. `torch_backend/engine.py` has the same names, meanings and results.

The train step is a pure function of (weights, averages, optimizer state, batch, key, rate): nothing in it waits for the
device, and `compile=True` compiles it as it is. Knows nothing of models, data or schedules.
"""

# isort: off
from .configs.optim import OptimConfig
from .backend import blas as _blas  # noqa: F401  (a fast BLAS, before MLX is loaded)
import mlx.core as mx

# isort: on
import contextlib
import os
import re

import numpy as np
from mlx.nn import quantize as quantize_layers
from mlx.utils import tree_flatten, tree_map

from . import nn, random
from .backend.count import count  # noqa: F401
from .backend.optim import Optimizer
from .backend.quantize import quantize  # noqa: F401  (the engine's own; in a file beside it)
from .batches import cut
from .files import checkpoint, quantized

if os.environ.get("MLXWORLD_DEVICE") == "cpu":
    mx.set_default_device(mx.cpu)

parameters = nn.parameters
load = checkpoint.load


def device() -> str:
    """Where new arrays live: "cpu", "cuda" or "metal". `MLXWORLD_DEVICE=cpu`, set before the start, forces the CPU."""
    if mx.default_device() == mx.cpu:
        return "cpu"
    return "metal" if mx.metal.is_available() else "cuda"


def rollout_precision(weights: str | None = None) -> str:
    """The fastest precision to play in: float32 on the CPU, bfloat16 on M3 and later, float16 on other GPUs; whatever
    the `weights`."""
    return "float32" if device() == "cpu" else _gpu_precision(str(mx.device_info().get("architecture", "")))


def _gpu_precision(architecture: str) -> str:
    apple = re.match(r"applegpu_g(\d+)", architecture)  # 13 is M1, 14 is M2, 15 is M3
    return "bfloat16" if apple and int(apple[1]) >= 15 else "float16"


def array(x, dtype: str | None = None):
    """numpy arrays and numbers, in any tree of dict, list and tuple, as MLX arrays; float64 becomes float32."""
    return tree_map(lambda leaf: _array(leaf, dtype), x)


def _array(x, dtype):
    x = x if isinstance(x, mx.array) else mx.array(np.asarray(x))
    return x if dtype is None else x.astype(getattr(mx, dtype))


def numpy(x):
    """A copy as numpy arrays, of a tree too; bfloat16 becomes float32. Waits for the device."""
    return tree_map(lambda a: np.array(a.astype(mx.float32) if a.dtype == mx.bfloat16 else a), x)


def fetch(x):
    """A function that returns `numpy(x)`; the work is under way at once."""
    mx.async_eval(x)
    return lambda: numpy(x)


def cast(model, precision: str):
    """The model itself, its floating parameters now in `precision` ("float32", "float16", "bfloat16"). Constants (`_x`)
    stay float32: models cast them where they use them."""
    nn.assign(model, {n: _cast(p, precision) for n, p in parameters(model).items()})
    return model


def place(model):
    """The model itself, on the device: MLX's arrays are everywhere already."""
    mx.eval(model.state)
    return model


def ready(model, precision: str, compiled: bool = False):
    """The model itself, placed and cast for play alone."""
    return place(cast(model, precision))


def copy(x):
    """A tree of arrays that later calls of a `fixed` function leave alone. MLX arrays never change."""
    return x


def fixed(fn, model=None):
    """`fn` of arrays of fixed shapes (trees too), without gradients, as fast as this device runs it: compiled on a GPU.

    Its results are overwritten by its next call: `copy` what is to stay. `model`: one that `fn` calls and whose weights
    change meanwhile; the weights of any other are those of the first call.
    """
    return fn if device() == "cpu" else mx.compile(fn, inputs=None if model is None else model.state)


class Loop:
    """Functions that pass on one state of fixed shapes: name -> fn(state, *inputs) -> (outputs, state).

    On a GPU all are compiled at their first call; on the CPU the one that `compile` names (it takes a C++ compiler).
    """

    def __init__(self, functions: dict, compile: str | None = None):  # noqa: A002
        gpu = device() != "cpu"
        self._functions = {n: mx.compile(fn) if gpu or n == compile else fn for n, fn in functions.items()}
        self._state = None

    def begin(self, state) -> None:
        """A new state, whose shapes are those of the states before."""
        self._state = state

    def state(self):
        """The state now, for `restore`: MLX arrays never change."""
        return self._state

    restore = begin

    def fork(self) -> "Loop":
        """Another loop of these functions, in the same state."""
        twin = object.__new__(type(self))
        twin.__dict__ |= self.__dict__
        return twin

    def settle(self) -> None:
        """Nothing: MLX compiles in the call."""

    def __call__(self, name: str, *inputs):
        """Outputs of a function of the state, which goes on."""
        outputs, self._state = self._functions[name](self._state, *inputs)
        mx.async_eval(outputs, self._state)
        return outputs


def leave_a_core() -> None:
    """Nothing: `blas` has left one already."""


def _cast(x, precision):
    return x.astype(getattr(mx, precision)) if _floating(x) else x


def _floating(x):
    return isinstance(x, mx.array) and mx.issubdtype(x.dtype, mx.floating)


def save(path, arrays: dict, metadata: dict[str, str] | None = None) -> None:
    """Writes arrays of either kind as safetensors, whole or not at all: see `checkpoint.save`."""
    checkpoint.save(path, {k: numpy(x) if isinstance(x, mx.array) else x for k, x in arrays.items()}, metadata)


def load_parameters(model, arrays: dict[str, np.ndarray], source: str) -> None:
    """Sets every parameter of the model, which keeps its precision. MlxworldError unless names and shapes agree.

    Layers that are quantised among `arrays` become quantised in the model.
    """
    packed = quantized.formats(arrays, {n: p.shape for n, p in parameters(model).items()}, source)
    if packed:
        quantize_layers(model, class_predicate=lambda layer, _: packed.get(layer, False))
    held = parameters(model)
    checkpoint.check({n: p.shape for n, p in held.items()}, arrays, source)
    nn.assign(model, {n: mx.array(arrays[n]).astype(p.dtype) for n, p in held.items()})


def compile(fn):  # noqa: A001
    """`fn` of arrays (trees too), compiled once for each set of shapes. It must have no side effects."""
    return mx.compile(fn)


def inference():
    """A context without gradients. MLX only makes them when asked, so there is nothing to do."""
    return contextlib.nullcontext()


def memory() -> dict[str, int]:
    """Bytes that arrays hold now ("active") and held at most ("peak")."""
    return {"active": mx.get_active_memory(), "peak": mx.get_peak_memory()}


class Trainer:
    """Trains the parameters of `model` that are not frozen.

    loss(model, batch, key) -> (scalar, dict of scalars), written on ops. With precision "bfloat16" or "float16" the
    forward and backward passes run on copies of the weights in it, float32 weights are kept, and for float16 the loss
    is scaled: halved when gradients overflow, else grown slowly. `compile` compiles the step, once for each set of
    shapes.
    """

    def __init__(self, model, loss, optim: OptimConfig, *, precision="float32", accumulate=1, compile=False):  # noqa: A002
        self.model, self.loss, self.optim = model, loss, optim
        self.precision, self.accumulate = precision, accumulate
        self.steps = 0  # calls of `step`, skipped updates included
        weights = parameters(model)
        self._trained = [n for n, p in tree_flatten(model.trainable_parameters()) if _floating(p)]
        trained = {n: weights[n] for n in self._trained}
        self._optimizer = Optimizer(optim, trained)
        scale = mx.array(2.0**15 if precision == "float16" else 1.0)
        self._state = self._optimizer.init(trained) | {"scale": scale}
        self.ema = dict(weights)  # by name as in `parameters`; a skipped step counts as one that moved nothing
        wrap = mx.compile if compile else lambda fn: fn
        self._differentiate, self._update = wrap(self._differentiate), wrap(self._update)

    def step(self, batch: dict[str, np.ndarray], seed: int, lr: float) -> dict:
        """One update from a batch of arrays with a leading axis B; returns "loss", its parts, "grad_norm" and "finite".

        They are scalar arrays on the device: reading one waits for it. With `accumulate` = n the batch is cut in n
        equal parts whose gradients are averaged, and only one part is in memory at a time. grad_norm is the norm before
        clipping. Where the loss or a gradient is not finite nothing is updated, and "finite" is 0. `seed` makes the
        key. Raises MlxworldError when B cannot be cut in n.
        """
        weights, total = parameters(self.model), None
        key, n = random.key(seed), self.accumulate
        keys = [key] if n == 1 else random.split(key, n)
        try:
            for part, key in zip(cut(batch, n), keys, strict=True):
                found = self._differentiate(weights, self._state["scale"], array(part), key)
                total = found if total is None else tree_map(mx.add, total, found)
                if n > 1:
                    mx.eval(total)
            averaging = mx.array(1 - self.optim.averaging(self.steps))
            result = self._update(weights, self.ema, self._state, total, mx.array(lr, mx.float32), averaging)
            weights, self.ema, self._state, metrics = result
        finally:
            nn.assign(self.model, weights)
        self.steps += 1
        mx.async_eval(result)
        return metrics

    def state(self) -> dict[str, np.ndarray]:
        """All that an exact resume needs: "model.*", "ema.*", "optim.*" and "step", the same on both backends."""
        return numpy(self._arrays()) | {"step": np.array(self.steps)}

    def load_state(self, state: dict[str, np.ndarray], source: str = "the training state") -> None:
        """Goes on from `state()`, of either backend. Raises MlxworldError unless names and shapes agree."""
        held = self._arrays()
        checkpoint.check({n: x.shape for n, x in held.items()} | {"step": ()}, state, source)
        new = {n: mx.array(state[n]).astype(x.dtype) for n, x in held.items()}
        nn.assign(self.model, _below("model.", new))
        self.ema, self._state, self.steps = _below("ema.", new), _below("optim.", new), int(state["step"])

    def _arrays(self):
        groups = {"model": parameters(self.model), "ema": self.ema, "optim": self._state}
        return {f"{group}.{n}": x for group, arrays in groups.items() for n, x in arrays.items()}

    def _differentiate(self, weights, scale, batch, key):
        """The loss with its parts, and the gradients (by name, times `scale`), of one part of a batch."""

        def scaled_loss(trained):
            nn.assign(self.model, {n: _cast(w, self.precision) for n, w in (weights | trained).items()})
            loss, parts = self.loss(self.model, batch, key)
            loss = loss.astype(mx.float32)
            return loss * scale, {"loss": loss, **parts}

        (_, metrics), gradients = mx.value_and_grad(scaled_loss)({n: weights[n] for n in self._trained})
        return {n: x + 0 for n, x in metrics.items()}, gradients  # mx.compile fails where a result is an operand too

    def _update(self, weights, ema, state, total, lr, averaging):
        """Clips, updates unless something is not finite, averages. All on the device."""
        metrics, gradients = tree_map(lambda x: x / self.accumulate, total)
        norm = mx.sqrt(mx.stack([mx.sum(mx.square(g)) for g in gradients.values()]).sum()) / state["scale"]
        finite = mx.isfinite(norm) & mx.isfinite(metrics["loss"])
        shrink = mx.minimum(self.optim.clip / (norm + 1e-6), 1) / state["scale"]
        gradients = {n: g * shrink for n, g in gradients.items()}
        moved, moments = self._optimizer.update(weights, gradients, state, lr)
        weights = {n: mx.where(finite, moved[n], w) for n, w in weights.items()}
        state = {n: mx.where(finite, x, state[n]) for n, x in moments.items()} | {"scale": state["scale"]}
        if self.precision == "float16":
            state["scale"] *= mx.where(finite, 1.0005, 0.5)
        ema = {n: e + (weights[n] - e) * averaging if _floating(e) else e for n, e in ema.items()}
        return weights, ema, state, metrics | {"grad_norm": norm, "finite": finite.astype(mx.float32)}


def _below(prefix: str, arrays: dict) -> dict:
    return {n.removeprefix(prefix): x for n, x in arrays.items() if n.startswith(prefix)}
