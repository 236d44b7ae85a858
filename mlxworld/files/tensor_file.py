"""One safetensors file: its header is checked against the file's size before anything else is read.

Eight bytes hold the length of a JSON header, which gives each array its type, shape and place in the rest of the file.
Arrays are read by their place, not through a memory map: a file that is cut meanwhile is an error, not a bus error.
"""

import math
import os
import weakref
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from ..errors import MlxworldError
from .reading import open_regular, parse_json, read_at, shown
from .weights import Entry

TYPES: dict[str, np.dtype] = {
    **{"F64": np.dtype("<f8"), "F32": np.dtype("<f4"), "F16": np.dtype("<f2"), "C64": np.dtype("<c8")},
    **{"I64": np.dtype("<i8"), "I32": np.dtype("<i4"), "I16": np.dtype("<i2"), "I8": np.dtype("i1")},
    **{"U64": np.dtype("<u8"), "U32": np.dtype("<u4"), "U16": np.dtype("<u2"), "U8": np.dtype("u1")},
    **{"BOOL": np.dtype("?"), "BF16": np.dtype(ml_dtypes.bfloat16), "F8_E4M3": np.dtype(ml_dtypes.float8_e4m3fn)},
    **{"F8_E5M2": np.dtype(ml_dtypes.float8_e5m2), "F8_E8M0": np.dtype(ml_dtypes.float8_e8m0fnu)},
}
MOST_HEADER = 100_000_000  # bytes: the format's own limit
_MOST_AXES, _MOST_SIZE = 32, 1 << 62


class TensorFile:
    """An open safetensors file: `entries` by name, in the order of the file, and `metadata`.

    Stays open, and readable when its name is gone, as long as it or one of its entries lives. Raises MlxworldError for
    a file that is absent, cut short, damaged or of another kind.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)
        self._handle = open_regular(path)
        weakref.finalize(self, os.close, self._handle)
        size = os.fstat(self._handle).st_size
        start = 8 + self._header_length(size)
        header = self._header(start)
        self.metadata = self._metadata(header.pop("__metadata__", None))
        places = {name: self._place(name, about) for name, about in header.items()}
        self._check_places(places, size - start)
        self.entries = {
            name: self._entry(name, start + begin, shape, dtype)
            for name, (begin, _, shape, dtype) in sorted(places.items(), key=lambda item: item[1][:2])
        }

    def in_place(self) -> bool:
        """Whether the path still leads to this very file."""
        try:
            return os.path.samestat(os.fstat(self._handle), self.path.stat())
        except OSError:
            return False

    def _header_length(self, size: int) -> int:
        head = read_at(self._handle, 0, 9, str(self.path))
        if (head[:1] == b"\x80" and head[8:9] != b"{") or head[:4] == b"PK\x03\x04":  # a header may be 0x..80 long
            raise MlxworldError(f"{self.path} is a pickle, which can run any code: only safetensors files are read")
        if not size:
            raise self._damaged("it is empty")
        length = int.from_bytes(head[:8], "little")
        if size < 8 or not 2 <= length <= min(size - 8, MOST_HEADER):
            raise self._damaged(f"a header of {length:,} bytes in a file of {size:,}")
        return length

    def _header(self, end: int) -> dict[str, Any]:
        try:
            header = parse_json(read_at(self._handle, 8, end - 8, str(self.path)), "the header")
        except MlxworldError as error:
            raise self._damaged(str(error)) from error
        if not isinstance(header, dict):
            raise self._damaged("the header is no object")
        return header

    def _metadata(self, metadata: Any) -> dict[str, str]:
        if metadata is not None and not (
            isinstance(metadata, dict) and all(isinstance(text, str) for text in metadata.values())
        ):
            raise self._damaged("the metadata are no texts by name")
        return metadata or {}

    def _place(self, name: str, about: Any) -> tuple[int, int, tuple[int, ...], np.dtype]:
        """Begin and end of an array in the data, its shape and type."""
        try:
            kind, shape, (begin, end) = about["dtype"], about["shape"], about["data_offsets"]
            numbers = [*shape, begin, end]
        except (KeyError, TypeError, ValueError):
            raise self._damaged(f"{shown(name)} has no type, shape and place") from None
        if not isinstance(kind, str) or kind not in TYPES:
            raise MlxworldError(f"{self.path}: {shown(name)} has the type {shown(kind)}, which is not read")
        if any(type(n) is not int or n < 0 for n in numbers) or len(shape) > _MOST_AXES:
            raise self._damaged(f"{shown(name)} has no shape or place that could be")
        if math.prod(max(n, 1) for n in shape) * TYPES[kind].itemsize > _MOST_SIZE:
            raise self._damaged(f"{shown(name)} has a shape too large")
        if end - begin != math.prod(shape) * TYPES[kind].itemsize:
            raise self._damaged(f"{shown(name)} is {end - begin:,} bytes long, which its shape does not fit")
        return begin, end, tuple(shape), TYPES[kind]

    def _check_places(self, places: dict[str, Any], size: int) -> None:
        """The arrays lie one after another without gap or overlap, and fill the file."""
        reached = 0
        for name, (begin, end, *_) in sorted(places.items(), key=lambda item: item[1][:2]):
            if begin != reached:
                raise self._damaged(f"{shown(name)} does not begin where the array before it ends")
            reached = end
        if reached != size:
            raise self._damaged(f"the arrays take {reached:,} bytes, and there are {size:,}")

    def _entry(self, name: str, start: int, shape: tuple[int, ...], dtype: np.dtype) -> Entry:
        def read() -> np.ndarray:
            x = np.empty(shape, dtype)
            self._fill(name, start, x)
            return x.view(np.uint8) != 0 if dtype.kind == "b" else x

        return Entry(shape, dtype, read, None if dtype.kind == "b" else lambda x: self._fill(name, start, x))

    def _fill(self, name: str, start: int, x: np.ndarray) -> None:
        """Reads what begins at a byte of the file to all of x."""
        rest = x.reshape(-1).view(np.uint8).data
        try:
            while rest and (n := os.preadv(self._handle, [rest[: 1 << 30]], start)):
                rest, start = rest[n:], start + n
        except OSError as error:
            raise MlxworldError(f"cannot read {self.path}: {error.strerror}") from error
        if rest:
            raise self._damaged(f"the file ends within {shown(name)}")

    def _damaged(self, reason: str) -> MlxworldError:
        return MlxworldError(f"{self.path} is damaged, cut short or no safetensors file ({reason})")
