"""What a function computes on MLX: its graph is traced, not run, and every operation that does work is written down.

`torch_backend/count.py` gives the same records of PyTorch's operations. Views cost nothing and are left out, unless
what is viewed is out of order in memory and must be copied. FLOPs are those of matrix products, convolutions and
attention, two for a multiplication with its addition; all else is judged by its bytes. On a device with fused kernels
(Metal, CUDA) attention and norms are one operation, elsewhere the several that they are made of.
"""

import math
from typing import Any

import mlx.core as mx

REORDERS = {
    "Transpose",
    "Broadcast",
    "Slice",
    "DynamicSlice",
    "Split",
    "AsStrided",
}  # views that leave gaps or turn axes
VIEWS = {"Squeeze", "ExpandDims", "StopGradient", "Depends", "Copy", "View"}
RESHAPES = {"Reshape", "Flatten", "Unflatten"}
POINTWISE = {
    *("Abs", "Add", "ArcTan2", "AsType", "BitwiseBinary", "BitwiseInvert", "Ceil", "Cos", "Divide", "Equal", "Erf"),
    *("ErfInv", "Exp", "Expm1", "Floor", "Greater", "GreaterEqual", "Less", "LessEqual", "Log", "Log1p", "LogAddExp"),
    *("LogicalAnd", "LogicalNot", "LogicalOr", "Maximum", "Minimum", "Multiply", "Negative", "NotEqual", "Power"),
    *("Remainder", "Round", "Select", "Sigmoid", "Sign", "Sin", "Sinh", "Sqrt", "Square", "Subtract", "Tan", "Tanh"),
}
KINDS = {"Reduce": "reduction", "Softmax": "softmax", **dict.fromkeys(POINTWISE | RESHAPES, "pointwise")}
GATHERS = {"Gather", "GatherAxis"}


def count(fn, *args) -> list[tuple[str, str, int, dict, dict]]:
    """The operations of fn(*args), in order: (name, kind, FLOPs, {array: bytes} read, {array: bytes} written).

    kind: "product" (has FLOPs), "pointwise" and "reduction" (compilers fuse these with their neighbours), "softmax" or
    "other".
    """
    trace: list[dict[str, Any]] = []

    def arrays(*leaves):
        return _leaves(fn(*_like(args, iter(leaves))))

    mx.export_function(trace.append, arrays, *_leaves(args))
    return _Reader().read(trace)


class _Reader:
    def __init__(self):
        self.source: dict[str, str] = {}  # of a view, the array whose memory it shows
        self.reordered: set[str] = set()
        self.size: dict[str, int] = {}  # bytes of what a broadcast repeats

    def read(self, trace) -> list[tuple[str, str, int, dict, dict]]:
        ops = []
        for entry in trace:
            if entry["type"] != "primitive":
                continue
            name, given, made = entry["name"], entry["inputs"], entry["outputs"]
            if name in REORDERS | VIEWS or (name in RESHAPES and given[0][0] not in self.reordered):
                self._view(name, given, made)
                continue
            read, written = self._bytes(given), {self._root(n): _bytes(shape, kind) for n, shape, kind in made}
            if name in GATHERS:
                read[self._root(given[0][0])] = sum(written.values())
            flops = _flops(name, entry["arguments"], given, made)
            ops.append((name, "product" if flops else KINDS.get(name, "other"), flops, read, written))
        return ops

    def _view(self, name, given, made):
        for n, shape, kind in made:
            self.source[n] = given[0][0]
            if name in REORDERS or given[0][0] in self.reordered:
                self.reordered.add(n)
            whole = _bytes(given[0][1], kind) if name == "Broadcast" else _bytes(shape, kind)
            self.size[n] = min(whole, self.size.get(given[0][0], whole))

    def _root(self, name: str) -> str:
        while name in self.source:
            name = self.source[name]
        return name

    def _bytes(self, arrays) -> dict[str, int]:
        sizes: dict[str, int] = {}
        for n, shape, kind in arrays:
            root = self._root(n)
            sizes[root] = sizes.get(root, 0) + self.size.get(n, _bytes(shape, kind))
        return sizes


def _bytes(shape, kind) -> int:
    return math.prod(shape) * kind.size


def _flops(name: str, arguments, given, made) -> int:
    shapes, out = [shape for _, shape, _ in given], math.prod(made[0][1])
    if name in ("Matmul", "AddMM", "QuantizedMatmul", "QQMatmul"):
        return 2 * out * shapes[0][-1]
    if name == "Convolution":
        return 2 * out * math.prod(shapes[1][1:])  # weight (out, *kernel, in / groups)
    if name == "ScaledDotProductAttention":
        q, k, v = shapes[:3]
        return 2 * math.prod(q[:-1]) * k[-2] * (q[-1] + v[-1])
    return 0


def _leaves(tree) -> list[mx.array]:
    if isinstance(tree, dict):
        tree = list(tree.values())
    return [leaf for part in tree for leaf in _leaves(part)] if isinstance(tree, list | tuple) else [tree]


def _like(tree, leaves):
    """The tree with its arrays replaced, in order."""
    if isinstance(tree, dict):
        return {k: _like(v, leaves) for k, v in tree.items()}
    if isinstance(tree, list | tuple):
        return type(tree)(_like(v, leaves) for v in tree)
    return next(leaves)
