"""Sets of safetensors files with an index that says which file holds an array: read as one, replaced as one.

A new set has names that no file there has. Its index is written last, in one move, and what it replaces is removed
after that: a reader who opens what an index names gets one set, old or new.
"""

import itertools
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

from ..errors import MlxworldError
from . import atomic
from .reading import shown
from .tensor_file import TensorFile
from .weights import Weights

INDEX = ".index.json"


class Replaced(MlxworldError):
    """A set was replaced while it was opened: what was read may be of two sets."""


def index_of(path: Path) -> Path:
    """Where the index of a set is, whose single file would be `path`."""
    return path.with_name(path.name + INDEX)


def open_set(index: Path, listing: Any) -> Weights:
    """The arrays of a set. listing: what the index holds. MlxworldError unless the files hold just what it says;
    Replaced where a file's name leads to another file by now."""
    shard_of = _shard_of(index, listing)
    files = {shard: TensorFile(index.with_name(shard)) for shard in names(index, listing)}
    for shard, file in files.items():
        for name in file.entries:
            if shard_of.get(name) != shard:
                place = f"has it in {shown(shard_of[name])}" if name in shard_of else "does not name it"
                raise MlxworldError(f"{index}: {shown(shard)} holds {shown(name)}, and the index {place}")
    for name, shard in shard_of.items():
        if name not in files[shard].entries:
            raise MlxworldError(f"{index}: {shown(name)} is not in {shown(shard)}, where the index has it")
    if not all(file.in_place() for file in files.values()):  # a later set may bear the same names
        raise Replaced(f"{index} changes while it is read")
    entries = {name: files[shard].entries[name] for name, shard in shard_of.items()}
    return Weights(entries, next(iter(files.values())).metadata)


def names(index: Path, listing: Any) -> list[str]:
    """The names of a set's files, sorted. Raises MlxworldError for an index that is none."""
    return sorted(set(_shard_of(index, listing).values()))


def write(path: Path, arrays: Mapping[str, np.ndarray], metadata: dict[str, str], shard_bytes: int | None) -> None:
    """Writes arrays to `path`, or to a set beside it where one file of `shard_bytes` does not hold them: see
    `checkpoint.save`."""
    groups = _groups(arrays, shard_bytes)
    if len(groups) <= 1:
        _write_file(path, arrays, list(arrays), metadata)
        _remove([index_of(path), *_set_files(path)])
        return
    old, index = _set_files(path), ""
    shard_names = _free_names(path, len(groups))
    try:
        for name, group in zip(shard_names, groups, strict=True):
            _write_file(path.with_name(name), arrays, group, metadata)
        shard_of = {array: name for name, group in zip(shard_names, groups, strict=True) for array in group}
        total = sum(_nbytes(arrays).values())
        index = json.dumps({"metadata": {"total_size": total}, "weight_map": shard_of}, indent=1) + "\n"
        atomic.write_text(index_of(path), index)
    except BaseException:
        if not _holds(index_of(path), index):  # an error after the move leaves the new set in place
            _remove([path.with_name(name) for name in shard_names])
        raise
    _remove([path, *old])


def _shard_of(index: Path, listing: Any) -> dict[str, str]:
    """Which file holds each array, in what an index holds."""
    shard_of = listing.get("weight_map") if isinstance(listing, dict) else None
    if not isinstance(shard_of, dict) or not shard_of:
        raise MlxworldError(f"{index} is no index of weights: it has no weight_map")
    for name, shard in shard_of.items():
        if not isinstance(shard, str) or not _is_shard(shard):
            raise MlxworldError(f"{index}: {shown(name)} is in {shown(shard)}, which is no file name of a shard")
    return shard_of


def _groups(arrays: Mapping[str, np.ndarray], shard_bytes: int | None) -> list[list[str]]:
    """Names in their order, in groups of at most `shard_bytes` or of one array."""
    if shard_bytes is None:
        return [list(arrays)]
    groups, room = [], 0
    for name, size in _nbytes(arrays).items():
        if not groups or size > room:
            groups.append([])
            room = shard_bytes
        groups[-1].append(name)
        room -= size
    return groups


def _nbytes(arrays: Mapping[str, np.ndarray]) -> dict[str, int]:
    if isinstance(arrays, Weights):
        return {name: entry.nbytes for name, entry in arrays.entries.items()}
    return {name: np.asarray(x).nbytes for name, x in arrays.items()}


def _write_file(path: Path, arrays: Mapping[str, np.ndarray], names: list[str], metadata: dict[str, str]) -> None:
    try:
        blob = safetensors.numpy.save({name: np.asarray(arrays[name], order="C") for name in names}, metadata)
    except safetensors.SafetensorError as error:
        raise MlxworldError(f"cannot write {path}: {error}") from error
    atomic.write(path, blob)


def _free_names(path: Path, count: int) -> list[str]:
    """Names for a set of which none is taken: model-00001-of-00002.safetensors, else model-1-00001-of-..., ..."""
    for number in itertools.count():
        mark = f"-{number}" if number else ""
        names = [f"{path.stem}{mark}-{i + 1:05d}-of-{count:05d}{path.suffix}" for i in range(count)]
        if not any(os.path.lexists(path.with_name(name)) for name in names):
            return names
    raise AssertionError


def _set_files(path: Path) -> list[Path]:
    """The files of sets that stand beside `path`, those that a killed writer left among them."""
    stem, suffix = re.escape(path.stem), re.escape(path.suffix)
    pattern = re.compile(
        rf"{stem}(-\d+)?-\d{{5,}}-of-\d{{5,}}{suffix}|\.{stem}(-\d+)?-\d{{5,}}-of-\d{{5,}}{suffix}\.part"
    )
    return [p for p in path.parent.iterdir() if pattern.fullmatch(p.name)] if path.parent.is_dir() else []


def _holds(path: Path, text: str) -> bool:
    return path.is_file() and path.read_bytes() == text.encode()


def _remove(paths: list[Path]) -> None:
    for path in paths:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise MlxworldError(f"cannot remove {path}: {error.strerror}") from error


def _is_shard(name: str) -> bool:
    return name.endswith(".safetensors") and name.isprintable() and not {"/", "\\"} & set(name) and len(name) < 256
