"""numpy arrays and MLX arrays, in any tree of dict, list and tuple."""

# isort: off
from . import blas as _blas  # noqa: F401  (a fast BLAS, before MLX is loaded)
import mlx.core as mx

# isort: on
import ml_dtypes
import numpy as np
from mlx.utils import tree_map

_SHARED = {"float32", "float16", "uint16", "int32", "int64", "uint8", "uint32"}  # types whose memory numpy can write


def array(x, dtype: str | None = None):
    """numpy arrays and numbers, in any tree of dict, list and tuple, as MLX arrays; float64 becomes float32."""
    return tree_map(lambda leaf: _array(leaf, dtype), x)


def _array(x, dtype):
    if not isinstance(x, mx.array):
        x = np.asarray(x)
        wide = x.dtype != ml_dtypes.bfloat16
        x = mx.array(x) if wide else mx.array(x.view(np.uint16)).view(mx.bfloat16)
    return x if dtype is None else x.astype(getattr(mx, dtype))


def read(arrays, name: str):
    """One of the arrays by name, here and as numpy's. What is read from a file (`files.Weights`) goes straight to the
    memory of the array, which both share, where the processor can write there; of what is in memory it is a copy."""
    entry = getattr(arrays, "entries", {}).get(name)
    kind = None if entry is None else {"bfloat16": "uint16"}.get(str(entry.dtype), str(entry.dtype))
    if entry is None or kind not in _SHARED or not (mx.default_device() == mx.cpu or mx.metal.is_available()):
        value = arrays[name]
        return array(value), value
    place = mx.zeros(entry.shape, getattr(mx, kind))
    mx.eval(place)
    memory = np.array(place, copy=False).view(entry.dtype)
    entry.into(memory)
    return place if kind == str(entry.dtype) else place.view(mx.bfloat16), memory


def numpy(x):
    """A copy as numpy arrays, of a tree too; bfloat16 becomes float32. Waits for the device."""
    return tree_map(lambda a: np.array(a.astype(mx.float32) if a.dtype == mx.bfloat16 else a), x)


def cast(x, precision: str):
    """An array in `precision` if it is floating."""
    return x.astype(getattr(mx, precision)) if floating(x) else x


def floating(x) -> bool:
    """Whether this is an array of floating numbers."""
    return isinstance(x, mx.array) and mx.issubdtype(x.dtype, mx.floating)
