"""Arrays in safetensors files, one file or a set of shards: written whole or not at all, read array by array.

`open` reads headers alone and then each array when it is asked for; `load` reads a small file at once. A set of
shards is `model-00001-of-0000N.safetensors`, ..., and `model.safetensors.index.json`, which says which shard holds an
array, as on model hubs. A path is always that of the single file, `model.safetensors`, or of its folder: the set is
read where there is an index beside it.
"""

import functools
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ..errors import MlxworldError
from . import shards
from .reading import read_json, shown, shown_name
from .tensor_file import TensorFile
from .weights import Weights, shapes_of

NAME = "model.safetensors"
INDEX_BYTES = 64 << 20
CHUNK = 1 << 20  # numbers that are looked at together: what says of each that it is finite takes memory, too


def open(path: str | os.PathLike) -> Weights:  # noqa: A001
    """The arrays of a file, or of a set of shards, by name; bfloat16 and float8 are types of the package ml_dtypes.

    path: a folder that holds model.safetensors or its index, the file itself, or the index. Only headers are read now.
    What was open stays readable while a new set takes its place. Raises MlxworldError, here or where an array is read,
    for a file that is absent, cut short, damaged or of another kind (a pickle is never opened), and for a set whose
    index and shards do not agree.
    """
    path = _file(path)
    index = shards.index_of(path)
    for _ in range(10):  # what is replaced meanwhile is opened anew
        state = _state(index), _state(path)
        try:
            if not os.path.lexists(index):
                file = TensorFile(path)
                return Weights(file.entries, file.metadata)
            return shards.open_set(index, read_json(index, INDEX_BYTES))
        except shards.Replaced:
            continue
        except MlxworldError:
            if (_state(index), _state(path)) == state:
                raise
    raise MlxworldError(f"{index} changes while it is read")


def _file(path: str | os.PathLike) -> Path:
    """Where the single file is that a folder, a file or an index stands for."""
    path = Path(path)
    return path / NAME if path.is_dir() else path.with_name(path.name.removesuffix(shards.INDEX))


def _state(path: Path) -> tuple[int, ...] | None:
    """What changes when a file is replaced or removed."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size


def files(path: str | os.PathLike) -> list[Path]:
    """The files that hold the arrays of `open(path)`, in order of name. MlxworldError where there are none."""
    path = _file(path)
    index = shards.index_of(path)
    names = shards.names(index, read_json(index, INDEX_BYTES)) if os.path.lexists(index) else [path.name]
    return [path.with_name(name) for name in names]


def load(path: str | os.PathLike) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """All arrays by name, and the metadata, of what is small; bfloat16 and float8 as float32, which hold every value.

    Raises MlxworldError as `open` does.
    """
    weights = open(path)
    return {name: plain(x) for name, x in weights.items()}, weights.metadata


def save(
    path: str | os.PathLike,
    arrays: Mapping[str, np.ndarray],
    metadata: Mapping[str, str] | None = None,
    shard_bytes: int | None = None,
) -> None:
    """Writes `arrays` by name, and `metadata`, to `path`; its folder is made if need be.

    shard_bytes: the most that one file's arrays take together (a larger array has a file of its own); what needs more
    than one file becomes a set of shards beside `path`. What stood there, a file or a set, is replaced in one move,
    after all that is new has reached the disk: a crash, a full disk or a kill leaves the old one, and no reader sees a
    mixture. Raises MlxworldError when it cannot be written. One writer a path.
    """
    shards.write(Path(path), arrays, dict(metadata or {}), shard_bytes)


def plain(x: np.ndarray) -> np.ndarray:
    """The array, as float32 where numpy itself does not know its type: bfloat16 and float8."""
    return x.astype(np.float32) if x.dtype.type.__module__.startswith("ml_dtypes") else x


def require_finite(name: str, x: np.ndarray, source: str) -> None:
    """Raises MlxworldError, naming the array and its file, where an array of any float type holds NaN or infinity."""
    is_float = x.dtype.kind in "fc" or x.dtype.type.__module__.startswith("ml_dtypes")
    flat = x.reshape(-1)
    if is_float and not all(np.isfinite(flat[i : i + CHUNK]).all() for i in range(0, flat.size, CHUNK)):
        raise MlxworldError(f"{source}: {shown(name)} holds NaN or infinity")


def finite(arrays: Mapping[str, np.ndarray], source: str) -> Weights:
    """The same arrays; one that holds NaN or infinity raises MlxworldError when it is read."""

    def checked(name: str, x: np.ndarray) -> np.ndarray:
        require_finite(name, x, source)
        return x

    entries = Weights.of(arrays).entries
    turned = {name: entry.then(functools.partial(checked, name), entry.shape) for name, entry in entries.items()}
    return Weights(turned, getattr(arrays, "metadata", None))


def check(expected: Mapping[str, tuple[int, ...]], arrays: Mapping[str, np.ndarray], source: str) -> None:
    """Raises MlxworldError, naming the first three differences, unless `arrays` has the expected names and shapes. No
    array of an open file is read."""
    shapes = shapes_of(arrays)
    missing = [f"{shown_name(n)} is missing" for n in expected if n not in shapes]
    unknown = [f"{shown_name(n)} is unknown" for n in shapes if n not in expected]
    differing = [
        f"{shown_name(n)} is {shown(shapes[n])}, not {tuple(shape)}"
        for n, shape in expected.items()
        if n in shapes and shapes[n] != tuple(shape)
    ]
    wrong = differing + missing + unknown
    if wrong:
        rest = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise MlxworldError(f"{source} does not fit this model: {', '.join(wrong[:3])}{rest}")
