"""Plain values, as JSON holds them, to configurations and back.

`from_dict` forgives what it does not know (a file written by a later version still loads) and names what it lacks.
"""

import dataclasses
from typing import Any

from ..errors import MlxworldError


def to_dict(config: Any) -> dict[str, Any]:
    """Plain dicts, lists and numbers, fit for JSON."""
    return dataclasses.asdict(config)


def from_dict(kind: type, values: dict[str, Any], source: str = "config") -> Any:
    """The dataclass `kind` from plain values. Unknown keys are dropped; a wrong type raises MlxworldError."""
    if not isinstance(values, dict):
        raise MlxworldError(f"{source}: expected an object of settings, found {type(values).__name__}")
    made = {}
    for f in dataclasses.fields(kind):
        if f.name not in values:
            continue
        value, where = values[f.name], f"{source}: {f.name}"
        default = f.default if f.default is not dataclasses.MISSING else f.default_factory()  # type: ignore[misc]
        if dataclasses.is_dataclass(default):
            value = from_dict(type(default), value, where)
        elif isinstance(default, tuple):
            item = type(default[0])
            if not isinstance(value, list | tuple) or any(type(x) is not item for x in value):
                raise MlxworldError(f"{where} must be a list of {item.__name__}, found {value!r}")
            value = tuple(value)
        elif isinstance(default, bool) != isinstance(value, bool) or not isinstance(
            value, type(default) | _also(default)
        ):
            raise MlxworldError(f"{where} must be {type(default).__name__}, found {value!r}")
        made[f.name] = value
    return kind(**made)


def _also(default: Any) -> type:
    return int if isinstance(default, float) else type(default)
