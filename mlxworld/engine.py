"""Devices, files and compiled loops on MLX. `torch_backend/engine.py` has the same names, meanings and results.

The train step is in `backend/trainer.py`. Knows nothing of models, data or schedules.
"""

# isort: off
from .backend import blas as _blas  # noqa: F401  (a fast BLAS, before MLX is loaded)
import mlx.core as mx

# isort: on
import contextlib
import os
import re
from typing import Any

from mlx.nn import quantize as quantize_layers
from mlx.utils import tree_flatten

from . import nn
from .backend.arrays import array, numpy, read  # noqa: F401  (array: of the engine)
from .backend.arrays import cast as cast_array
from .backend.count import count  # noqa: F401
from .backend.distributed import mean, rank, ranks  # noqa: F401
from .backend.quantize import packing, quantize  # noqa: F401
from .backend.trainer import Trainer  # noqa: F401  (the engine's own; in a file beside it)
from .errors import require_alike
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


def fetch(x):
    """A function that returns `numpy(x)`; the work is under way at once."""
    mx.async_eval(x)
    return lambda: numpy(x)


def cast(model, precision: str):
    """The model itself, its floating parameters now in `precision` ("float32", "float16", "bfloat16"). Constants (`_x`)
    stay float32: models cast them where they use them."""
    nn.assign(model, {n: cast_array(p, precision) for n, p in parameters(model).items()})
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
        if self._state is not None:
            require_alike(_shapes(self._state), _shapes(state))
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


def _shapes(state):
    leaves: Any = tree_flatten(state)
    return [(x.shape, str(x.dtype)) for _, x in leaves]


def runs_ahead() -> bool:
    """Whether a call returns before its results are there: MLX computes in a thread of its own."""
    return True


def leave_a_core() -> None:
    """Nothing: `blas` has left one already."""


def save(path, arrays: dict, metadata: dict[str, str] | None = None) -> None:
    """Writes arrays of either kind as safetensors, whole or not at all: see `checkpoint.save`."""
    checkpoint.save(path, {k: numpy(x) if isinstance(x, mx.array) else x for k, x in arrays.items()}, metadata)


def build(make):
    """make(), a model for weights that are loaded: its layers need no first values, and MLX computes what is used."""
    return make()


def load_parameters(model, arrays, source: str, precision: str | None = None) -> None:
    """Sets every parameter and every buffer of the model, one array after the other.

    precision: of the parameters from now on; None: what each has.
    arrays: by name, a dict or a lazy mapping. MlxworldError unless names and shapes agree and all numbers are finite.
    Layers that are quantised among `arrays` become quantised in the model.
    """
    own = parameters(model) | nn.buffers(model)
    packed = quantized.formats(arrays, {n: p.shape for n, p in own.items()}, source)
    if packed:
        quantize_layers(model, class_predicate=lambda layer, _: packed.get(layer, False))
        own = parameters(model) | nn.buffers(model)
    checkpoint.check({n: p.shape for n, p in own.items()}, arrays, source)
    constant = nn.buffers(model)
    for name, x in own.items():
        value, numbers = read(arrays, name)
        checkpoint.require_finite(name, numbers, source)
        value = cast_array(value, precision) if precision and name not in constant else value.astype(x.dtype)
        mx.eval(value)  # or what was read would stay beside it
        nn.assign(model, {name: value})
        del value, numbers  # or it would stay while the next is read


def compile(fn):  # noqa: A001
    """`fn` of arrays (trees too), compiled once for each set of shapes. It must have no side effects."""
    return mx.compile(fn)


def inference():
    """A context without gradients. MLX only makes them when asked, so there is nothing to do."""
    return contextlib.nullcontext()


def memory() -> dict[str, int]:
    """Bytes that arrays hold now ("active") and held at most ("peak")."""
    return {"active": mx.get_active_memory(), "peak": mx.get_peak_memory()}
