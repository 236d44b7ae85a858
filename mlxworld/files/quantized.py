"""Quantised weights as MLX keeps them, understood with numpy, so that every backend reads them.

A quantised layer `x` has `x.weight` (out, n) uint32, integers packed low bits first, and one scale for each group of a
row: affine, `x.scales` and `x.biases` (out, groups), a weight is scale * integer + bias; mxfp8 (OCP Microscaling
Formats 1.0), `x.scales` uint8, a weight is 2^(scale - 127) times an e4m3 number. Knows nothing of models or files.
"""

import functools
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from ..errors import MlxworldError
from .reading import shown_name
from .weights import Entry, Weights

# By name: what MLX's `quantize` is told. The first two are affine, the last needs no bias.
KINDS: dict[str, dict[str, Any]] = {
    "int8": {"group_size": 64, "bits": 8, "mode": "affine"},
    "int4": {"group_size": 64, "bits": 4, "mode": "affine"},
    "mxfp8": {"group_size": 32, "bits": 8, "mode": "mxfp8"},
}
BITS = (2, 4, 8)  # an integer never crosses a word


def how(shape: tuple[int, ...], kind: str, role: str | None, table: bool) -> dict[str, Any] | None:
    """How `kind` packs a weight, as in KINDS; None for one that stays as it is. MlxworldError for no kind.

    What is no matrix stays, and a row that is no whole number of groups. First and last layers (role "input" or
    "head") keep their precision: they are small, and see or make the data. A `table` of embeddings is packed, but not
    in mxfp8: MLX would look its rows up as bfloat16.
    """
    if kind not in KINDS:
        raise MlxworldError(f"unknown weights {kind!r}: choose one of {', '.join(KINDS)}")
    stays = kind == "mxfp8" if table else role in ("input", "head")
    return None if stays or len(shape) != 2 or shape[1] % KINDS[kind]["group_size"] else KINDS[kind]


def layers(names: Iterable[str]) -> list[str]:
    """Names of the quantised layers among the names of arrays."""
    return sorted(name.removesuffix(".scales") for name in names if name.endswith(".scales"))


def formats(arrays: Mapping[str, np.ndarray], shapes: Mapping[str, tuple[int, ...]], source: str) -> dict[str, Any]:
    """How each quantised layer of a model is packed, {layer: {"group_size", "bits", "mode"}}; no layer, no entry.

    shapes: of the model's own parameters, by name. Raises MlxworldError for a packing that does not fit them.
    """
    return {layer: _format(arrays, layer, shapes.get(f"{layer}.weight"), source) for layer in layers(arrays)}


def plain(
    arrays: Mapping[str, np.ndarray], shapes: Mapping[str, tuple[int, ...]], source: str
) -> Mapping[str, np.ndarray]:
    """The arrays with every quantised layer as one float32 weight, made when it is asked for. Arguments and errors as
    `formats`."""
    layouts = formats(arrays, shapes, source)
    if not layouts:
        return arrays
    parts = {f"{layer}.{part}" for layer in layouts for part in ("scales", "biases")}
    entries = {name: entry for name, entry in Weights.of(arrays).entries.items() if name not in parts}
    for layer, layout in layouts.items():
        name = f"{layer}.weight"
        read = functools.partial(_plain, arrays, layer, **layout)
        entries[name] = Entry(tuple(shapes[name]), np.dtype(np.float32), read)
    return Weights(entries)


def _format(arrays, layer, shape, source) -> dict[str, Any]:
    packed, scales, biases = (arrays.get(f"{layer}.{part}") for part in ("weight", "scales", "biases"))
    if packed is None or shape is None or len(shape) != 2 or packed.dtype != np.uint32:
        raise MlxworldError(f"{source}: {shown_name(layer)} has scales, but is no quantised layer of this model")
    width = shape[1]
    bits, group = (n // d if n % d == 0 else 0 for n, d in ((32 * packed.shape[-1], width), (width, scales.shape[-1])))
    mode = "mxfp8" if biases is None else "affine"
    known = bits in BITS and group > 0 if mode == "affine" else (bits, group, scales.dtype) == (8, 32, np.uint8)
    rows = [
        tuple(x.shape) == (shape[0], n) for x, n in ((packed, width * bits // 32), (scales, width // max(group, 1)))
    ]
    if not known or not all(rows) or (biases is not None and biases.shape != scales.shape):
        raise MlxworldError(
            f"{source}: {shown_name(layer)} is packed in a way that is not read: affine of 2, 4, 8 bits, or mxfp8"
        )
    return {"group_size": group, "bits": bits, "mode": mode}


def _plain(arrays, layer, group_size, bits, mode) -> np.ndarray:
    packed, scales = arrays[f"{layer}.weight"], arrays[f"{layer}.scales"]
    shifts = np.arange(0, 32, bits, dtype=np.uint32)
    integers = (packed[..., None] >> shifts & np.uint32(2**bits - 1)).reshape(*scales.shape, group_size)
    if mode == "affine":
        scale, bias = (x.astype(np.float32)[..., None] for x in (scales, arrays[f"{layer}.biases"]))
        groups = integers * scale + bias
    else:
        groups = _E4M3[integers] * np.exp2(scales.astype(np.float32) - 127)[..., None]
    return groups.reshape(len(packed), -1).astype(np.float32)


def _e4m3() -> np.ndarray:
    """Every 8-bit number of 1 sign, 4 exponent (bias 7) and 3 mantissa bits; there is no infinity."""
    code = np.arange(256)
    exponent, mantissa = code >> 3 & 15, code & 7
    size = np.where(exponent == 0, mantissa / 8 * 2.0**-6, (1 + mantissa / 8) * 2.0 ** (exponent - 7))
    return np.where(exponent * 8 + mantissa == 127, np.nan, np.where(code < 128, size, -size)).astype(np.float32)


_E4M3 = _e4m3()
