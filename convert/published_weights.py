"""The weights of a published model, quantised or not: a folder in its own layout, with its tokenizer and processor.

A layer is packed as MLX packs it, under the names that mlx-lm gives its parts; `config.json` says so.
"""

import functools
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from mlxworld import on
from mlxworld.files import atomic, checkpoint, pretrained, quantized
from mlxworld.files.layouts import open_clip
from mlxworld.files.reading import read_json
from mlxworld.files.weights import Entry, Weights


def is_published(folder: Path) -> bool:
    """Whether a folder holds a published model, and no world."""
    config = read_json(folder / "config.json") if (folder / "config.json").is_file() else None
    return (isinstance(config, dict) and "model_type" in config) or (folder / open_clip.FILE).is_file()


def names(folder: Path) -> tuple[str, str]:
    """The files of a folder's configuration and weights: those of transformers, or of open_clip."""
    is_open_clip = (folder / open_clip.FILE).is_file()
    return (open_clip.FILE, open_clip.WEIGHTS) if is_open_clip else ("config.json", "model.safetensors")


def convert(folder: Path, part: Path, kind: str | None) -> None:
    """Writes the folder `part`. kind: what matrices are packed as; None: nothing is packed, what was becomes float32.

    Raises MlxworldError for a folder that `pretrained.load` does not read.
    """
    published, source = pretrained.read_config(folder), str(folder)
    arrays = checkpoint.finite(pretrained.our_weights(folder, published), source)
    package = on("mlx" if kind else "torch")
    model = pretrained.untrained(folder, package, "float32")
    shapes = {name: tuple(x.shape) for name, x in (package.nn.parameters(model) | package.nn.buffers(model)).items()}
    weights = quantized.plain(arrays, shapes, source)
    checkpoint.check(shapes, weights, source)
    layouts = quantized.formats(arrays, shapes, source).values()
    about, file = names(folder)
    ours = ("quantization", "quantization_config") + (("model_type",) if about == open_clip.FILE else ())
    config = {name: value for name, value in published.items() if name not in ours}
    if kind:
        as_it_is = layouts and all(layout == quantized.KINDS[kind] for layout in layouts)
        weights = arrays if as_it_is else packed(weights, package.engine.packing(model, kind))
        config["quantization"] = quantized.KINDS[kind]
    part.mkdir()
    theirs = pretrained.their_weights(weights, published, source)
    checkpoint.save(part / file, theirs, {"format": "mlx" if kind else "pt"}, shard_bytes=pretrained.SHARD)
    for pattern in pretrained.BESIDE:
        for path in folder.glob(pattern):
            if not path.name.endswith(".safetensors.index.json"):
                shutil.copyfile(path, part / path.name)
    atomic.write_text(part / about, json.dumps(config, indent=2) + "\n")


def packed(weights: Mapping[str, np.ndarray], layers: Mapping[str, dict[str, Any]]) -> Weights:
    """The arrays with each of these layers in its parts, made when they are asked for."""
    import mlx.core as mx

    @functools.lru_cache(maxsize=1)  # the parts of a layer are asked for one after another
    def parts(layer: str) -> dict[str, np.ndarray]:
        x = on("mlx").engine.array(weights[f"{layer}.weight"])
        return {part: _numpy(y) for part, y in zip(_PARTS, mx.quantize(x, **layers[layer]), strict=False)}

    entries: dict[str, Entry] = {}
    for name, entry in Weights.of(weights).entries.items():
        layer, _, last = name.rpartition(".")
        if last != "weight" or layer not in layers:
            entries[name] = entry
            continue
        for part, (shape, dtype) in _layout(entry, **layers[layer]).items():
            entries[f"{layer}.{part}"] = Entry(shape, dtype, lambda layer=layer, part=part: parts(layer)[part])
    return Weights(entries)


_PARTS = ("weight", "scales", "biases")


def _layout(entry: Entry, group_size: int, bits: int, mode: str) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
    """Shape and type of each part of a packed matrix."""
    rows, width = entry.shape
    groups, scale = (rows, width // group_size), np.dtype(np.uint8) if mode == "mxfp8" else entry.dtype
    parts = {"weight": ((rows, width * bits // 32), np.dtype(np.uint32)), "scales": (groups, scale)}
    return parts if mode == "mxfp8" else parts | {"biases": (groups, scale)}


def _numpy(x: Any) -> np.ndarray:
    """As numpy, bfloat16 bit for bit."""
    import mlx.core as mx

    return np.array(x.view(mx.uint16)).view(ml_dtypes.bfloat16) if x.dtype == mx.bfloat16 else np.array(x)
