"""Plain values, as JSON holds them, to configurations and back; model families and their presets by name.

`from_dict` forgives what it does not know (a file written by a later version still loads) and names what it lacks.
"""

import dataclasses
import math
import types
import typing
from collections.abc import Callable
from typing import Any, Literal

from ..errors import MlxworldError
from ..files.reading import shown

_MOST = 2**63  # a whole number of a configuration lies below it


def to_dict(config: Any) -> dict[str, Any]:
    """Plain dicts, lists and numbers, fit for JSON."""
    return dataclasses.asdict(config)


def from_dict(kind: type, values: dict[str, Any], source: str = "config") -> Any:
    """The dataclass `kind` from plain values, by the annotations of its fields.

    Those are int, float (takes whole numbers, becomes float), bool, str, None, Any, Literal, X | Y, tuple[X, ...],
    tuple[X, Y], list[X], dict[str, X] and dataclasses. Unknown keys are dropped. Raises MlxworldError, with the dotted
    place, the type and the value, for a value of another type, NaN and infinity, and for a missing one without default.
    """
    return _dataclass(kind, values, source, "")


def _dataclass(kind: type, values: Any, source: str, place: str) -> Any:
    if not isinstance(values, dict):
        where = f"{source}: {place}" if place else source
        raise MlxworldError(f"{where}: expected an object of settings, found {shown(values)}")
    fields = [f for f in dataclasses.fields(kind) if f.init]
    missing = [
        _dotted(place, f.name)
        for f in fields
        if f.name not in values and f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise MlxworldError(f"{source} lacks {', '.join(missing)}")
    annotations = typing.get_type_hints(kind)
    known = [f.name for f in fields if f.name in values]
    return kind(**{name: _value(annotations[name], values[name], source, _dotted(place, name)) for name in known})


def _value(kind: Any, value: Any, source: str, place: str) -> Any:
    """The value as the annotation `kind` has it."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if dataclasses.is_dataclass(kind):
        return _dataclass(typing.cast(type, kind), value, source, place)
    wrong = MlxworldError(f"{source}: {place} must be {_described(kind)}, found {shown(value)}")
    if origin in (typing.Union, types.UnionType):
        return _one_of(arguments, value, source, place, wrong)
    if origin is Literal:
        if not any(type(value) is type(x) and value == x for x in arguments):
            raise wrong
        return value
    if origin in (tuple, list):
        kinds = _kinds_of_items(origin, arguments, value)
        if kinds is None or any(k in _SCALARS and not _SCALARS[k](x) for k, x in zip(kinds, value, strict=True)):
            raise wrong
        items = zip(kinds, value, strict=True)
        return origin(_value(k, x, source, f"{place}[{i}]") for i, (k, x) in enumerate(items))
    if origin is dict:
        if not isinstance(value, dict):
            raise wrong
        return {name: _value(arguments[1], x, source, f"{place}[{shown(name)}]") for name, x in value.items()}
    if kind not in _SCALARS:
        raise TypeError(f"{place}: a configuration cannot be read into {kind}")
    if not _SCALARS[kind](value):
        raise wrong
    return float(value) if kind is float else value


def _one_of(kinds: tuple[Any, ...], value: Any, source: str, place: str, wrong: MlxworldError) -> Any:
    """The value as the first of several annotations that takes it."""
    if value is None and types.NoneType in kinds:
        return None
    kinds = tuple(kind for kind in kinds if kind is not types.NoneType)
    if len(kinds) == 1 and kinds[0] not in _SCALARS and isinstance(value, dict | list | tuple):
        return _value(kinds[0], value, source, place)  # whose own error says more
    for kind in kinds:
        try:
            return _value(kind, value, source, place)
        except MlxworldError:
            continue
    raise wrong


def _kinds_of_items(origin: type, arguments: tuple[Any, ...], value: Any) -> list[Any] | None:
    """The annotation of each item of a list; None for what is no list of the right length."""
    if not isinstance(value, list | tuple):
        return None
    if origin is list or arguments[-1:] == (Ellipsis,):
        return [arguments[0]] * len(value)
    return list(arguments) if len(arguments) == len(value) else None


def _described(kind: Any) -> str:
    """An annotation in words."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(map(_described, arguments))
    if origin is Literal:
        return " or ".join(map(repr, arguments))
    if origin in (tuple, list):
        if origin is list or arguments[-1:] == (Ellipsis,):
            return f"a list of {_described(arguments[0])}"
        return f"a list of {len(arguments)}: {', '.join(map(_described, arguments))}"
    if origin is dict:
        return f"an object of {_described(arguments[1])}"
    if dataclasses.is_dataclass(kind):
        return "an object of settings"
    return "null" if kind is types.NoneType else kind.__name__


def _dotted(place: str, name: str) -> str:
    return f"{place}.{name}" if place else name


def _is_whole(value: Any) -> bool:
    return type(value) is int and abs(value) < _MOST


def _is_number(value: Any) -> bool:
    return _is_whole(value) or (isinstance(value, float) and math.isfinite(value))


_SCALARS: dict[Any, Callable[[Any], bool]] = {
    int: _is_whole,
    float: _is_number,
    bool: lambda value: isinstance(value, bool),
    str: lambda value: isinstance(value, str),
    types.NoneType: lambda value: value is None,
    Any: lambda value: True,
}
