"""A part of a world as an ML program for macOS 15 and later: Core ML's own graph language, MIL.

What is rewritten before coremltools sees it: RMS norms (coremltools 9 divides by max|x|, which is NaN for a zero vector
and makes epsilon relative), and operators that it has under another name. Everything computes in float16 but what
float16 cannot hold: a phase that runs on for ever, and the power of a silent spectrum. Knows nothing of files.
"""

import contextlib
import gc
import io
import logging
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

# It warns of every newer torch and of not being on a Mac; torchao, which it imports, of kernels for other machines.
for name in ("coremltools", "torchao", "torch.utils._pytree"):
    logging.getLogger(name).setLevel(logging.ERROR)

import coremltools  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
from coremltools.converters.mil.mil import Block, Program  # noqa: E402
from coremltools.converters.mil.mil.passes import pass_registry  # noqa: E402

from .parts import Part, export  # noqa: E402

PASS_REGISTRY: Any = pass_registry.PASS_REGISTRY
ct: Any = coremltools  # its types lie about what it holds
LARGEST = 3e4  # the Neural Engine's float16 wants smaller magnitudes
# Kinds of operations that were seen to leave the Neural Engine: sorting and what reads its result, measured with
# MLComputePlan on an M3 Pro (rf-detr, pull request 1495); gathers, recurrences and control flow (the list
# unsupported-layers.md of hollance/neural-engine). Float32 and whole numbers leave it too: it computes in float16.
OFF_ENGINE = {
    *("topk", "argsort", "gather", "gather_nd", "gather_along_axis", "scatter", "scatter_nd", "scatter_along_axis"),
    *("non_zero", "one_hot", "cumsum", "while_loop", "cond", "gru", "lstm", "rnn", "custom_layer", "band_part"),
    *("non_maximum_suppression", "random_normal", "random_uniform", "random_bernoulli", "random_categorical", "sin"),
}


def program(part: Part, precision: str) -> Any:
    """The part as an ML program of one function, `main`, its weights in `precision`: fp16, int8 or int4."""
    states = [
        ct.StateType(ct.TensorType(shape=tuple(x.shape), dtype=np.float16), name=name) for name, x in part.state.items()
    ]
    with tamed():
        model = ct.convert(
            export(part).run_decompositions(_REWRITTEN),
            states=states or None,
            outputs=[ct.TensorType(name=name, dtype=np.float32) for name in part.outputs],
            minimum_deployment_target=ct.target.macOS15,
            compute_precision=ct.transform.FP16ComputePrecision(op_selector=_holds_in_float16(part.name)),
            skip_model_load=True,
        )
        return compressed(model, precision)


def operations(model) -> Counter[str]:
    """How many operations of each kind the program runs; constants are none."""
    return Counter(op.op_type for op in _run(model))


def off_engine(model) -> Counter[str]:
    """Those of `operations` that are known to fall off the Neural Engine."""
    return Counter(op.op_type for op in _run(model) if op.op_type in OFF_ENGINE or _wide(op))


def _run(model) -> Iterator[Any]:
    for op in model._mil_program.functions["main"].operations:
        if op.op_type != "const" and not op.op_type.startswith("constexpr"):
            yield op


def _wide(op) -> bool:
    """Whether an operation computes something else than float16 and truth values; casts are at the borders."""
    kinds = {ct.converters.mil.mil.types.builtin_to_string(x.dtype) for x in op.outputs}
    return op.op_type != "cast" and not kinds <= {"fp16", "bool"}


def rms_norm(x, shape, weight=None, eps=1e-5):
    """x / sqrt(mean(x ** 2) + eps) * weight, scaled so that no square overflows float16, and exact for zeros."""
    scale = 1 / x.abs().amax(-1, keepdim=True).clamp(min=1)
    y = x * scale
    y = y * torch.rsqrt((y * y).mean(-1, keepdim=True) + eps * scale * scale)
    return y if weight is None else y * weight


_aten = torch.ops.aten
_REWRITTEN: dict[Any, Callable] = {
    _aten.rms_norm.default: rms_norm,
    _aten.__and__.Tensor: torch.logical_and,
    _aten.__or__.Tensor: torch.logical_or,
    _aten.alias.default: lambda x: x,
}


def _holds_in_float16(part: str) -> Callable[[Any], bool]:
    """Which operations of a part may compute in float16. Not the oscillators of `audio`, all that follows its loudness
    and pitch; nor the spectrum of `encode`, all that its logarithm is taken of; nor the angles of positions, which are
    large."""

    if part == "audio":
        return lambda op: not _leads_to(op, ("exp", "tanh"), lambda op: (x.op for x in _inputs(op)))
    if part == "write":
        return lambda op: (
            not _leads_to(op, ("sin", "cos"), lambda op: (user for x in op.outputs for user in x.child_ops))
        )
    if part == "encode":
        return lambda op: not _leads_to(op, ("log",), lambda op: (user for x in op.outputs for user in x.child_ops))
    return lambda op: True


def _leads_to(op, kinds: tuple[str, ...], steps: Callable[[Any], Iterable[Any]]) -> bool:
    """Whether op is one of these kinds, or reaches one by `steps`."""
    seen, todo = {op}, [op]
    while todo:  # no recursion: a graph is deeper than Python's stack
        op = todo.pop()
        if op.op_type in kinds:
            return True
        new = {x for x in steps(op) if x is not None} - seen
        seen |= new
        todo += new
    return False


def _inputs(op) -> Iterator[Any]:
    for x in op.inputs.values():
        yield from x if isinstance(x, list | tuple) else [x] if x is not None else []


def compressed(model, precision: str):
    """A float16 program with its weights in `precision`. int8: a scale for each output channel. int4: a palette of 16
    values for each group of 16 output channels. Layers and convolutions only, and none in float32, as a spectrum's."""
    if precision == "fp16":
        return model
    cto = ct.optimize.coreml
    if precision == "int8":
        how, compress = cto.OpLinearQuantizerConfig(mode="linear_symmetric", dtype="int8"), cto.linear_quantize_weights
    else:
        how = cto.OpPalettizerConfig(
            mode="custom", lut_function=_palette, granularity="per_grouped_channel", group_size=16
        )
        compress = cto.palettize_weights
    spared = {op.weight.op.name: None for op in _run(model) if op.op_type in ("linear", "conv") and _wide(op)}
    kinds = {"linear": how, "conv": how}
    return compress(model, cto.OptimizationConfig(op_type_configs=kinds, op_name_configs=spared))


def _palette(weights):
    """16 values, and for each weight the number of the nearest: Lloyd's k-means on the line, quick because it is sorted
    (coremltools' own wants scikit-learn)."""
    x = np.sort(weights.ravel().astype(np.float64))
    total = np.r_[0, np.cumsum(x)]
    centres = (np.quantile(x, (np.arange(16) + 0.5) / 16) + np.linspace(x[0], x[-1], 16)) / 2
    for _ in range(40):
        ends = np.r_[0, np.searchsorted(x, (centres[1:] + centres[:-1]) / 2), len(x)]
        counts = np.diff(ends)
        centres = np.where(counts > 0, np.diff(total[ends]) / np.maximum(counts, 1), centres)
    nearest = np.searchsorted((centres[1:] + centres[:-1]) / 2, weights.ravel())
    return centres.astype(weights.dtype), nearest.astype(np.uint8)


@contextlib.contextmanager
def tamed() -> Iterator[None]:
    """Inside it coremltools is silent and does not stop (KeyError, 9.0) at a state's update that it has just moved.

    What takes most of its time and is of no use here is left out: after each of its 100 passes the check of the whole
    program, and the search for what follows from compressed weights where there are none; the program as text for a log
    that nobody keeps; the collection of garbage.
    """
    name, passes = "common::canonicalize_inplace_pattern", PASS_REGISTRY.passes
    held, check, text, follow = passes[name], Program.validate, Program.__str__, Block._propagate_nonreplaceable_vars

    class Mended(held):
        def _try_match_and_transform_pattern(self, op, block, _):  # the list in _ is an old one
            if self._try_find_child_coreml_update_state_ops(op):
                super()._try_match_and_transform_pattern(op, block, list(block.operations))

    def follow_compressed(self) -> None:
        if any(op.op_type.startswith("constexpr_") or op.blocks for op in self.operations):
            follow(self)

    passes[name], Program.validate, Program.__str__ = Mended, lambda *_, **__: None, lambda self, print_attr=None: ""
    Block._propagate_nonreplaceable_vars = follow_compressed
    collects = gc.isenabled()
    gc.disable()
    try:
        with contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        passes[name], Program.validate, Program.__str__ = held, check, text
        Block._propagate_nonreplaceable_vars = follow
        if collects:
            gc.enable()
