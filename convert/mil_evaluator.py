"""Runs a saved .mlpackage in numpy: what Core ML would compute, on a machine without it.

The package is read back as MIL and evaluated operation by operation, states and compressed weights included; every
result is rounded to the type that MIL gives it, so that float16 is float16. (Sums are kept in float32 inside one
operation; Core ML's own order of adding differs.) An operation that has no function here is an error when the package
is read, never a skip. `Evaluated` stands in for `coremltools.models.MLModel`: make_state, predict.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mlxworld.errors import MlxworldError

from .mil import ct  # coremltools, without its warnings

from coremltools.converters.mil.frontend.milproto.load import load  # isort: skip
from coremltools.converters.mil.mil import types  # isort: skip


class State:
    """As coremltools' MLState: values by name, to be read and written."""

    def __init__(self, values: dict[str, np.ndarray]):
        self.values = values

    def read_state(self, name: str) -> np.ndarray:
        return self.values[name].copy()

    def write_state(self, name: str, value: np.ndarray) -> None:
        if value.shape != self.values[name].shape:
            raise RuntimeError(f"state {name} is {self.values[name].shape}, not {value.shape}")
        self.values[name] = _rounded(value, np.dtype(np.float16))


class Evaluated:
    """One function of a package."""

    def __init__(self, package: str | Path, function: str = "main"):
        spec = ct.utils.load_spec(str(package))
        weights = Path(package, "Data", "com.apple.CoreML", "weights")
        names = sorted(spec.mlProgram.functions)
        if function not in names:
            raise MlxworldError(f"{package} has no function {function!r}, only {', '.join(names)}")
        for other in names:
            if other != function:
                del spec.mlProgram.functions[other]  # to read one takes as long as to run it
        self.function = load(spec, spec.specificationVersion, str(weights)).functions[function]
        self.states = {n: tuple(x.shape) for n, x in self.function.inputs.items() if types.is_state(x._sym_type)}
        self.largest = 0.0  # magnitude of any float result so far
        self._constants: dict[str, Any] = {}
        self._steps: list[tuple[Any, Any]] = []
        for op in self.function.operations:
            if op.op_type == "const":
                self._constants[op.outputs[0].name] = _wide(op.outputs[0].val)
            elif op.op_type.startswith("constexpr_"):
                self._constants[op.outputs[0].name] = _wide(op.materialized_val_inference())
            elif op.op_type in OPS or op.op_type in ("read_state", "coreml_update_state"):
                self._steps.append((op, OPS.get(op.op_type)))
            else:
                raise MlxworldError(f"{package}: the evaluator has no operation {op.op_type!r}")

    def make_state(self) -> State:
        """Zeros, as Core ML's."""
        return State({name: np.zeros(shape, np.float32) for name, shape in self.states.items()})

    def predict(self, inputs: Mapping[str, np.ndarray], state: State | None = None) -> dict[str, np.ndarray]:
        """The outputs by name; `state` is moved on."""
        wanted = {name: x for name, x in self.function.inputs.items() if name not in self.states}
        if set(inputs) != set(wanted) or (state is None) != (not self.states):
            raise RuntimeError(f"inputs {sorted(wanted)} are wanted, and a state if there is one; got {sorted(inputs)}")
        held = dict(self._constants)
        for name, x in wanted.items():
            if tuple(inputs[name].shape) != tuple(x.shape):
                raise RuntimeError(f"input {name} is {tuple(x.shape)}, not {inputs[name].shape}")
            held[name] = _rounded(inputs[name], types.nptype_from_builtin(x.dtype))
        for op, run in self._steps:
            self._evaluate(op, run, held, state)
        return {x.name: held[x.name].astype(types.nptype_from_builtin(x.dtype)) for x in self.function.outputs}

    def _evaluate(self, op, run, held, state) -> None:
        if op.op_type == "read_state":
            found = state.values[op.input.name]
        elif op.op_type == "coreml_update_state":
            found = state.values[op.state.name] = held[op.value.name]
        else:
            found = run(**{name: _given(x, held) for name, x in op.inputs.items() if x is not None})
        for x, value in zip(op.outputs, found if isinstance(found, list) else [found], strict=True):
            if np.shape(value) != tuple(x.shape):
                raise RuntimeError(f"{op.op_type} {op.name} gave {np.shape(value)}, MIL says {tuple(x.shape)}")
            held[x.name] = y = _rounded(value, types.nptype_from_builtin(x.dtype))
            if y.dtype == np.float32 and y.size:
                self.largest = max(self.largest, float(np.abs(y).max()))


def _given(x, held):
    if isinstance(x, list | tuple):
        return [_given(y, held) for y in x]
    return held[x.name]


def _wide(x):
    """Constants as they are computed with: float16 in float32; strings and truth values as they are."""
    return x.astype(np.float32) if getattr(x, "dtype", None) == np.float16 else x


def _rounded(x, kind) -> np.ndarray:
    """x in MIL's type; float16 rounded, but held in float32, which numpy computes faster in."""
    with np.errstate(over="ignore"):
        x = np.asarray(x).astype(kind)
    return x.astype(np.float32) if x.dtype == np.float16 else x


def _softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def _attention(query, key, value, attn_mask=None):
    scores = query @ key.swapaxes(-1, -2) / np.sqrt(query.shape[-1])
    if attn_mask is not None:
        scores = np.where(attn_mask, scores, -np.inf) if attn_mask.dtype == bool else scores + attn_mask
    return _softmax(scores) @ value


def _conv(x, weight, pad_type, strides, dilations, groups, bias=0.0, pad=0):
    if groups != 1 or pad_type not in ("custom", "valid") or {*strides, *dilations} != {1}:
        raise MlxworldError("the evaluator has plain convolutions only: no groups, strides or dilation")
    n = weight.ndim - 2
    if pad_type == "custom":
        x = np.pad(x, [(0, 0), (0, 0), *np.broadcast_to(pad, 2 * n).reshape(n, 2).tolist()])
    seen = np.lib.stride_tricks.sliding_window_view(x, weight.shape[2:], axis=tuple(range(2, 2 + n)))  # type: ignore
    y = np.tensordot(seen, weight, axes=([1, *range(-n, 0)], range(1, 2 + n)))
    return np.moveaxis(y + bias, -1, 1)


def _pad(x, pad, mode="constant", constant_val=0.0):
    if mode != "constant":
        raise MlxworldError(f"the evaluator pads with a constant only, not {mode!r}")
    widths = np.reshape(pad, (-1, 2))
    return np.pad(x, [(0, 0)] * (x.ndim - len(widths)) + widths.tolist(), constant_values=constant_val)


def _window(x, begin, end, stride=None, begin_mask=None, end_mask=None, squeeze_mask=None):
    """The index of slice_by_index and slice_update: a mask says that the bound is the axis's own."""
    off = [False] * x.ndim
    masks = [off if m is None else m for m in (begin_mask, end_mask, squeeze_mask)]
    stride = [1] * x.ndim if stride is None else stride
    bounds: Any = zip(begin, end, stride, *masks, strict=True)
    return tuple(
        int(b) if squeeze else slice(None if first else int(b), None if last else int(e), int(s))
        for b, e, s, first, last, squeeze in bounds
    )


def _slice_update(x, update, **where):
    x = x.copy()
    index = _window(x, **where)
    x[index] = update.reshape(x[index].shape)
    return x


def _split(x, axis, num_splits=None, split_sizes=None):
    ends: Any = num_splits if split_sizes is None else np.cumsum(split_sizes)[:-1]
    return np.split(x, ends, axis)


def _gather(x, indices, axis, batch_dims=0, validate_indices=False):
    if batch_dims:
        raise MlxworldError("the evaluator has no gather with batch_dims")
    return np.take(x, indices, axis)


def _cumsum(x, axis, exclusive=False, reverse=False):
    if exclusive or reverse:
        raise MlxworldError("the evaluator has no exclusive or reverse cumsum")
    return np.cumsum(x, axis)


def _reduce(by) -> Callable:
    return lambda x, axes=None, keep_dims=False: by(x, None if axes is None else tuple(axes), keepdims=bool(keep_dims))


OPS: dict[str, Callable] = {
    "add": lambda x, y: x + y,
    "sub": lambda x, y: x - y,
    "mul": lambda x, y: x * y,
    "real_div": lambda x, y: x / y,
    "less": lambda x, y: x < y,
    "less_equal": lambda x, y: x <= y,
    "greater": lambda x, y: x > y,
    "greater_equal": lambda x, y: x >= y,
    "equal": lambda x, y: x == y,
    "logical_and": lambda x, y: x & y,
    "logical_or": lambda x, y: x | y,
    "maximum": lambda x, y: np.maximum(x, y),
    "minimum": lambda x, y: np.minimum(x, y),
    "clip": lambda x, alpha, beta: np.clip(x, alpha, beta),
    "abs": lambda x: np.abs(x),
    "floor": lambda x: np.floor(x),
    "square": lambda x: x * x,
    "sqrt": lambda x: np.sqrt(x),
    "rsqrt": lambda x, epsilon=0.0: 1 / np.sqrt(x + epsilon),
    "inverse": lambda x, epsilon=0.0: 1 / (x + epsilon),
    "exp": lambda x: np.exp(x),
    "log": lambda x, epsilon=0.0: np.log(x + epsilon),
    "sin": lambda x: np.sin(x),
    "cos": lambda x: np.cos(x),
    "tanh": lambda x: np.tanh(x),
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "silu": lambda x: x / (1 + np.exp(-x)),
    "softmax": lambda x, axis=-1: np.moveaxis(_softmax(np.moveaxis(x, axis, -1)), -1, axis),
    "cast": lambda x, dtype: x,  # every result is rounded to its type
    "identity": lambda x: x,
    "select": lambda cond, a, b: np.where(cond, a, b),
    "linear": lambda x, weight, bias=0.0: x @ weight.T + bias,
    "matmul": lambda x, y, transpose_x=False, transpose_y=False: (
        (x.swapaxes(-1, -2) if transpose_x else x) @ (y.swapaxes(-1, -2) if transpose_y else y)
    ),
    "conv": _conv,
    "scaled_dot_product_attention": _attention,
    "reduce_mean": _reduce(np.mean),
    "reduce_max": _reduce(np.max),
    "reduce_sum": _reduce(np.sum),
    "cumsum": _cumsum,
    "reshape": lambda x, shape: x.reshape(shape),
    "transpose": lambda x, perm: x.transpose(perm),
    "expand_dims": lambda x, axes: np.expand_dims(x, tuple(axes)),
    "squeeze": lambda x, axes=None: np.squeeze(x, None if axes is None else tuple(axes)),
    "tile": lambda x, reps: np.tile(x, reps),
    "concat": lambda values, axis, interleave=False: np.concatenate([np.atleast_1d(v) for v in values], axis),
    "stack": lambda values, axis: np.stack(values, axis),
    "split": _split,
    "gather": _gather,
    "pad": _pad,
    "slice_by_index": lambda x, **where: x[_window(x, **where)],
    "slice_update": _slice_update,
}
