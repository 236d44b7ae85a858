"""Names of foreign checkpoints and configurations: one table a layout, theirs to ours, {} for the number of a layer.

A value of a table of arrays is our name, or says what else differs:

    "layers.{}.attn_norm.weight": "blocks.{}.norm1.weight"             another name
    "patch.conv.weight": Kernel("embed.weight")                        a convolution: (out, in, *kernel) there
    "patch.proj.weight": Patches("patch.weight")                       a convolution over patches: a matrix here
    "cls_token": Ones("class_token", 2)                                two more axes there, of one
    "layers.{}.fc.weight": Transpose("blocks.{}.mlp.up.weight")        a matrix: (in, out) there
    "layers.{}.q.weight": Join("blocks.{}.qkv.weight", 0, (4, 1, 1))   part 0 of one array of ours, 4/6 of it
    "layers.{}.gated.weight": Swapped("blocks.{}.mlp.up.weight")       its first half is the second there
    "layers.{}.rotary.freqs": None                                     has no place here

The first pattern that matches a name counts. A table is read in both directions. No array is read before it is asked
for.
"""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..errors import MlxworldError
from .reading import listed, shown
from .weights import Entry, Weights


@dataclass(frozen=True)
class Kernel:
    """Our name of a convolution's weight: its input channels are the second axis in the foreign file, here the last."""

    name: str


@dataclass(frozen=True)
class Transpose:
    """Our name of a matrix whose axes are the other way round in the foreign file."""

    name: str


@dataclass(frozen=True)
class Patches:
    """Our name of a matrix (out, frames * patch * patch * 3), pixels channels last, that the foreign file has as a
    convolution's weight (out, 3, patch, patch), with an axis of frames before the last two if those are more than 1."""

    name: str
    frames: int = 1


@dataclass(frozen=True)
class Ones:
    """Our name of an array that has `axes` more axes in the foreign file, of one, before its own."""

    name: str
    axes: int


@dataclass(frozen=True)
class Swapped:
    """Our name of an array whose halves, along the first axis, are the other way round in the foreign file."""

    name: str


@dataclass(frozen=True)
class Join:
    """Our name of an array that the foreign file keeps in parts, one after another along `axis`.

    part: which of them this one is. shares: how many equal pieces of the axis each part takes, (heads, kv_heads,
    kv_heads) where q, k and v are joined, (1, 1) where two parts are alike.
    """

    name: str
    part: int
    shares: tuple[int, ...]
    axis: int = 0


Value = str | Kernel | Transpose | Patches | Ones | Swapped | Join | None
Table = Mapping[str, Value]


def to_ours(
    arrays: Mapping[str, np.ndarray],
    table: Table,
    source: str,
    expected: Iterable[str] = (),
    partial: bool = False,
) -> Weights:
    """Foreign arrays under our names, in our layout.

    expected: our names, all of which must come out. partial: the table lists only what differs, any other name stays as
    it is; else a name that no pattern matches is refused. Raises MlxworldError, naming the first few, for names that
    are unknown or missing, for two arrays of one name, and for an array of a shape that its value cannot have.
    """
    weights, patterns = Weights.of(arrays), [(_pattern(theirs), value) for theirs, value in table.items()]
    places: dict[str, list[tuple[Value, str]]] = {}  # our name: what becomes of theirs, their name
    unknown, missing = [], []
    for theirs in weights:
        match = _first(patterns, theirs)
        if match is None:
            unknown.append(theirs)
            places.setdefault(theirs, []).append((theirs, theirs))
        elif match[1] is not None:
            numbers, value = match
            places.setdefault(_filled(_name(value), numbers), []).append((value, theirs))
            if isinstance(value, Join):
                missing += [name for name in _parts(table, value, numbers) if name not in weights]
    missing += [name for name in expected if name not in places]
    if unknown and not partial:
        raise MlxworldError(f"{source} holds arrays that have no place here: {listed(unknown)}")
    if missing:
        raise MlxworldError(f"{source} lacks {listed(dict.fromkeys(missing))}")
    entries = {}
    for ours, origins in places.items():
        parts = {value.part: (value, theirs) for value, theirs in origins if isinstance(value, Join)}
        if len(origins) != max(1, len(parts)):
            raise MlxworldError(f"{source}: two arrays would be named {shown(ours)}")
        value, theirs = origins[0]
        if isinstance(value, Join):
            entries[ours] = _joined([weights.entries[parts[i][1]] for i in sorted(parts)], value, source)
        else:
            entries[ours] = _turned(weights.entries[theirs], value, f"{source}: {shown(theirs)}", reading=True)
    return Weights(entries, weights.metadata)


def to_theirs(arrays: Mapping[str, np.ndarray], table: Table, source: str, partial: bool = False) -> Weights:
    """Our arrays under the foreign names, in the foreign layout: `to_ours` undoes it. Arguments and errors as there."""
    layout: dict[str, list[tuple[str, Value]]] = {}
    for theirs, value in table.items():
        if value is not None:
            layout.setdefault(_name(value), []).append((theirs, value))
    weights, patterns = Weights.of(arrays), [(_pattern(ours), values) for ours, values in layout.items()]
    entries: dict[str, Entry] = {}
    unknown = []
    for ours, entry in weights.entries.items():
        match = _first(patterns, ours)
        if match is None:
            unknown.append(ours)
            places = [(ours, ours)]
        else:
            numbers, values = match
            values = values if isinstance(values[0][1], Join) else values[:1]  # other names are for reading
            places = [(_filled(theirs, numbers), value) for theirs, value in values]
        for theirs, value in places:
            if theirs in entries:
                raise MlxworldError(f"{source}: two arrays would be named {shown(theirs)}")
            entries[theirs] = _turned(entry, value, f"{source}: {shown(ours)}", reading=False)
    if unknown and not partial:
        raise MlxworldError(f"{source} holds arrays that have no name in this layout: {listed(unknown)}")
    return Weights(entries, weights.metadata)


def check(table: Any, source: str) -> Table:
    """A table of names that a person wrote, as JSON holds it: names, or null. Raises MlxworldError unless it is one."""
    if not isinstance(table, dict) or not all(isinstance(ours, str | None) for ours in table.values()):
        raise MlxworldError(f'{source} is no table of names: {{"theirs.{{}}.w": "ours.{{}}.weight", "unused": null}}')
    for theirs, ours in table.items():
        if ours is not None and ours.count("{}") != theirs.count("{}"):
            raise MlxworldError(f"{source}: {shown(theirs)} and {shown(ours)} differ in how many {{}} they have")
    return table


def renamed(config: Mapping[str, Any], table: Mapping[str, str | None], source: str) -> dict[str, Any]:
    """Nested settings under other names. table: "latent.grid" -> "latent.side", dotted; None drops a setting.

    A setting that the table does not name stays. Raises MlxworldError where two would have one name.
    """
    moved, settings = [], _copied(config)
    for old, new in table.items():
        *above, last = old.split(".")
        place: Any = settings
        for name in above:
            place = place.get(name) if isinstance(place, dict) else None
        if isinstance(place, dict) and last in place:
            moved.append((new, place.pop(last)))
    for new, value in moved:
        if new is None:
            continue
        *above, last = new.split(".")
        place = settings
        for name in above:
            place = place.setdefault(name, {})
            if not isinstance(place, dict):
                raise MlxworldError(f"{source}: {shown(new)} has no place: {shown(name)} holds no settings")
        if last in place:
            raise MlxworldError(f"{source}: {shown(new)} is there under two names")
        place[last] = value
    return settings


def with_packed(table: Table) -> dict[str, Value]:
    """The table for quantised layers too: what names a weight names its scales and biases beside it."""
    packed = dict(table)
    for theirs, value in table.items():
        if isinstance(value, Kernel | Transpose | Patches | Ones) or not theirs.endswith(".weight"):
            continue  # no matrix whose rows are packed
        for part in ("scales", "biases"):
            packed.setdefault(theirs.removesuffix("weight") + part, _beside(value, part))
    return packed


def _beside(value: str | Swapped | Join | None, part: str) -> Value:
    """The value of an array that stands beside a weight of this value."""
    if value is None:
        return None
    name = _name(value).removesuffix("weight") + part
    return name if isinstance(value, str) else replace(value, name=name)


def _pattern(name: str) -> re.Pattern[str]:
    return re.compile(re.escape(name).replace(r"\{\}", r"(\d+)"), re.ASCII)


def _first(patterns, name: str) -> tuple[tuple[str, ...], Any] | None:
    """The layer numbers in a name and the value of the first pattern that matches it."""
    for pattern, value in patterns:
        if match := pattern.fullmatch(name):
            return match.groups(), value
    return None


def _parts(table: Table, join: Join, numbers: tuple[str, ...]) -> list[str]:
    """Their names of all parts of one array of ours."""
    parts = [theirs for theirs, value in table.items() if isinstance(value, Join) and value.name == join.name]
    return [_filled(theirs, numbers) for theirs in parts]


def _name(value: Value) -> str:
    assert value is not None
    return value if isinstance(value, str) else value.name


def _filled(name: str, numbers: tuple[str, ...]) -> str:
    """The name with a number in place of each {}."""
    first, *rest = name.split("{}")
    return first + "".join(number + text for number, text in zip(numbers, rest, strict=True))


def _turned(entry: Entry, value: Value, place: str, reading: bool) -> Entry:
    """An array as its value in a table has it: theirs as ours, or, not reading, ours as theirs."""
    shape = entry.shape
    if isinstance(value, Kernel):
        if len(shape) < 3:
            raise MlxworldError(f"{place} is {shape}, and no convolution's weight")
        start, end = (1, -1) if reading else (-1, 1)
        turned = (shape[0], *shape[2:], shape[1]) if reading else (shape[0], shape[-1], *shape[1:-1])
        return entry.then(lambda x: np.ascontiguousarray(np.moveaxis(x, start, end)), turned)
    if isinstance(value, Transpose):
        if len(shape) != 2:
            raise MlxworldError(f"{place} is {shape}, and no matrix")
        return entry.then(lambda x: np.ascontiguousarray(x.T), shape[::-1])
    if isinstance(value, Patches):
        return _patches(entry, value.frames, place, reading)
    if isinstance(value, Ones):
        if reading and (len(shape) < value.axes or set(shape[: value.axes]) != {1}):
            raise MlxworldError(f"{place} is {shape}, and does not begin with {value.axes} axes of one")
        turned = shape[value.axes :] if reading else (1,) * value.axes + shape
        return entry.then(lambda x: x.reshape(turned), turned)
    if isinstance(value, Swapped):
        if not shape or shape[0] % 2:
            raise MlxworldError(f"{place} is {shape}, and no two halves")
        return entry.then(lambda x: np.roll(x, shape[0] // 2, axis=0), shape)
    if isinstance(value, Join):
        return _part(entry, value, place)
    return entry


def _patches(entry: Entry, frames: int, place: str, reading: bool) -> Entry:
    """A convolution's weight over patches as a matrix, or back."""
    shape = entry.shape
    if reading:
        if len(shape) != (4 if frames == 1 else 5) or shape[1] != 3 or (frames > 1 and shape[2] != frames):
            raise MlxworldError(f"{place} is {shape}, and no convolution over patches of {frames} frames in colour")
        turned = (shape[0], math.prod(shape[1:]))
        return entry.then(lambda x: np.ascontiguousarray(np.moveaxis(x, 1, -1)).reshape(turned), turned)
    side = math.isqrt(shape[-1] // (3 * frames))
    if len(shape) != 2 or shape[1] != 3 * frames * side**2:
        raise MlxworldError(f"{place} is {shape}, and no matrix over square patches of {frames} frames in colour")
    kernel = (side, side) if frames == 1 else (frames, side, side)
    turned = (shape[0], 3, *kernel)
    return entry.then(lambda x: np.ascontiguousarray(np.moveaxis(x.reshape(shape[0], *kernel, 3), -1, 1)), turned)


def _part(entry: Entry, join: Join, place: str) -> Entry:
    total, axis = sum(join.shares), join.axis
    if axis >= len(entry.shape) or entry.shape[axis] % total:
        raise MlxworldError(f"{place} is {entry.shape}: axis {axis} is no {total} equal pieces")
    piece = entry.shape[axis] // total
    begin, end = piece * sum(join.shares[: join.part]), piece * sum(join.shares[: join.part + 1])
    cut = (slice(None),) * axis + (slice(begin, end),)
    shape = (*entry.shape[:axis], end - begin, *entry.shape[axis + 1 :])
    return entry.then(lambda x: np.ascontiguousarray(x[cut]), shape)


def _joined(parts: list[Entry], join: Join, source: str) -> Entry:
    """One array of all its parts, which are read one after another."""
    axis, total = join.axis, sum(join.shares)
    shapes = [part.shape for part in parts]
    fit = all(axis < len(shape) for shape in shapes)
    size = sum(shape[axis] for shape in shapes) if fit else 0
    fit = fit and len({(*shape[:axis], *shape[axis + 1 :]) for shape in shapes}) == 1
    fit = fit and all(shape[axis] * total == share * size for shape, share in zip(shapes, join.shares, strict=True))
    if not fit or len({part.dtype for part in parts}) > 1:
        found = ", ".join(f"{shape} {part.dtype}" for shape, part in zip(shapes, parts, strict=True))
        raise MlxworldError(f"{source}: the parts of {shown(join.name)} do not fit together: {found}")
    shape = (*shapes[0][:axis], size, *shapes[0][axis + 1 :])

    def fill(x: np.ndarray) -> None:
        begin = 0
        for part in parts:
            end = begin + part.shape[axis]
            part.into(x[(slice(None),) * axis + (slice(begin, end),)])
            begin = end

    def read() -> np.ndarray:
        x = np.empty(shape, parts[0].dtype)
        fill(x)
        return x

    return Entry(shape, parts[0].dtype, read, fill)


def _copied(settings: Any) -> Any:
    return {name: _copied(value) for name, value in settings.items()} if isinstance(settings, Mapping) else settings
