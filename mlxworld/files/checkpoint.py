"""Arrays in safetensors files: written whole or not at all, read with one clear line about what is wrong."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import safetensors
import safetensors.numpy

from ..errors import MlxworldError
from . import atomic

TYPES = {
    **{"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "<i1"},
    **{"U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "<u1", "BOOL": "?"},
}


def save(path: str | os.PathLike, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str] | None = None) -> None:
    """Writes `arrays` by name, and `metadata`, to `path`; its folder is made if need be.

    What stands at `path` is replaced in one move, after the new file has reached the disk: a crash, a full disk or a
    kill leaves the old file. Raises MlxworldError when the file cannot be written. One writer a path.
    """
    arrays = {name: np.asarray(x, order="C") for name, x in arrays.items()}
    atomic.write(path, safetensors.numpy.save(arrays, dict(metadata or {})))


def load(path: str | os.PathLike) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The arrays of a safetensors file by name, bfloat16 as float32, and its metadata.

    Raises MlxworldError for a file that is absent, cut short, damaged or of another kind (a pickle is never opened).
    """
    try:
        blob = Path(path).read_bytes()
    except OSError as error:
        raise MlxworldError(f"cannot read {path}: {error.strerror}") from error
    if (blob[:1] == b"\x80" and blob[8:9] != b"{") or blob[:4] == b"PK\x03\x04":  # a header may be 0x..80 bytes long
        raise MlxworldError(f"{path} is a pickle, which can run any code: only safetensors files are read")
    try:
        entries = safetensors.deserialize(blob)
        header = json.loads(blob[8 : 8 + int.from_bytes(blob[:8], "little")])
        return {name: _array(entry) for name, entry in entries}, header.get("__metadata__", {})
    except (safetensors.SafetensorError, ValueError, KeyError) as error:
        reason = str(error).removeprefix("Error while deserializing: ")
        raise MlxworldError(f"{path} is damaged, cut short or no safetensors file ({reason})") from error


def check(expected: Mapping[str, tuple[int, ...]], arrays: Mapping[str, np.ndarray], source: str) -> None:
    """Raises MlxworldError, naming the first three differences, unless `arrays` has the expected names and shapes."""
    missing = [f"{n} is missing" for n in expected if n not in arrays]
    foreign = [f"{n} is unknown" for n in arrays if n not in expected]
    shapes = [
        f"{n} is {tuple(arrays[n].shape)}, not {tuple(shape)}"
        for n, shape in expected.items()
        if n in arrays and tuple(arrays[n].shape) != tuple(shape)
    ]
    wrong = shapes + missing + foreign
    if wrong:
        rest = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise MlxworldError(f"{source} does not fit this model: {', '.join(wrong[:3])}{rest}")


def _array(entry: dict) -> np.ndarray:
    data, shape = entry["data"], entry["shape"]
    if entry["dtype"] == "BF16":  # the upper half of a float32
        return (np.frombuffer(data, "<u2").astype("<u4") << 16).view("<f4").reshape(shape)
    return np.frombuffer(data, TYPES[entry["dtype"]]).reshape(shape)
