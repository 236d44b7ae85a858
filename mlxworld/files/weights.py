"""Arrays by name that are read when they are asked for; shapes and types are known before. Knows no file format."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True)
class Entry:
    """An array that is not read yet: `read()` gives it, of this shape and type, a new one each time.

    fill: writes it to an array of this shape and type that is there, without another one, where that can be.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    read: Callable[[], np.ndarray]
    fill: Callable[[np.ndarray], None] | None = None

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize

    def into(self, place: np.ndarray) -> None:
        """Writes this array to `place`, of its shape and any type, whose parts may lie apart."""
        if self.fill is not None and place.flags.c_contiguous and place.dtype == self.dtype:
            self.fill(place)
        else:
            place[...] = self.read()

    def then(self, turn: Callable[[np.ndarray], np.ndarray], shape: tuple[int, ...]) -> "Entry":
        """This array turned into another one of `shape` after it is read."""
        return replace(self, shape=shape, read=lambda: turn(self.read()), fill=None)


class Weights(Mapping[str, np.ndarray]):
    """Arrays by name, in order: `weights[name]` reads one, and does so each time; nothing is kept.

    shapes and dtypes, by name, and metadata are known without reading. bfloat16 is ml_dtypes.bfloat16.
    """

    def __init__(self, entries: Mapping[str, Entry], metadata: Mapping[str, str] | None = None):
        self.entries, self.metadata = dict(entries), dict(metadata or {})

    @classmethod
    def of(cls, arrays: Mapping[str, np.ndarray]) -> "Weights":
        """Arrays that are in memory already, or Weights as they are."""
        if isinstance(arrays, Weights):
            return arrays
        return cls({n: Entry(tuple(x.shape), x.dtype, lambda x=x: x) for n, x in arrays.items()})

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {name: entry.shape for name, entry in self.entries.items()}

    @property
    def dtypes(self) -> dict[str, np.dtype]:
        return {name: entry.dtype for name, entry in self.entries.items()}

    def renamed(self, name: Callable[[str], str]) -> "Weights":
        """The same arrays under name(its name). ValueError, with the new name, where two would have one."""
        entries: dict[str, Entry] = {}
        for old, entry in self.entries.items():
            if (new := name(old)) in entries:
                raise ValueError(new)
            entries[new] = entry
        return Weights(entries, self.metadata)

    def __getitem__(self, name: str) -> np.ndarray:
        return self.entries[name].read()

    def __contains__(self, name: object) -> bool:
        return name in self.entries

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)


def shapes_of(arrays: Mapping[str, np.ndarray]) -> dict[str, tuple[int, ...]]:
    """The shape of each array by name; of Weights, without reading one."""
    return arrays.shapes if isinstance(arrays, Weights) else {n: tuple(x.shape) for n, x in arrays.items()}
