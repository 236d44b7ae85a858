"""Files that others wrote: regular files of a bounded size, JSON of a bounded depth, names that are safe to show.

Every error is a MlxworldError of one line that names the file.
"""

import json
import os
import re
import stat
from collections import Counter
from collections.abc import Iterable
from typing import Any

from ..errors import MlxworldError

MOST_BYTES = 4 << 20  # of a JSON file; an index of the weights of the largest published models is under 1 MiB
MOST_LEVELS = 100  # of objects and lists inside each other
LONGEST = 80  # characters of a name or a value in a message
_POINTER = b"version https://git-lfs.github.com/"


def shown(value: object, most: int = LONGEST) -> str:
    """repr(value) on one line, in printable characters, cut to `most` characters."""
    text = repr(value[: most + 1] if isinstance(value, str | bytes | list | tuple) else value)
    text = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
    return text if len(text) <= most else f"{text[: most - 3]}..."


def shown_name(name: str) -> str:
    """A name as it is where it is of letters, digits and ._-/ alone, as parameters' names are; else `shown`."""
    return name if re.fullmatch(rf"[A-Za-z0-9_./-]{{1,{LONGEST}}}", name) else shown(name)


def listed(names: Iterable[object], most: int = 3) -> str:
    """The first `most` names by `shown`, and how many more there are: "'a', 'b', 'c' and 4 more"."""
    names = list(names)
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(shown(name) for name in names[:most]) + rest


def open_regular(path: str | os.PathLike) -> int:
    """The descriptor of a regular file, open for reading; whoever asks for it closes it. Never waits, as a pipe would.

    Raises MlxworldError for what is absent, not readable, no regular file, or a Git LFS pointer in place of the file.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise MlxworldError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error
    try:
        mode = os.fstat(handle).st_mode
        if not stat.S_ISREG(mode):
            kind = "Is a directory" if stat.S_ISDIR(mode) else "it is no regular file"
            raise MlxworldError(f"cannot read {path}: {kind}")
        if read_at(handle, 0, len(_POINTER), str(path)) == _POINTER:
            raise MlxworldError(f"{path} is a Git LFS pointer, not the file itself: git lfs pull")
    except BaseException:
        os.close(handle)
        raise
    return handle


def read_at(handle: int, start: int, size: int, source: str) -> bytes:
    """At most `size` bytes of an open file from `start` on: fewer only where it ends. MlxworldError names `source`."""
    parts, end = [], start + size
    try:
        while start < end and (part := os.pread(handle, min(end - start, 1 << 30), start)):
            parts.append(part)
            start += len(part)
    except OSError as error:
        raise MlxworldError(f"cannot read {source}: {error.strerror}") from error
    return parts[0] if len(parts) == 1 else b"".join(parts)


def read_whole(path: str | os.PathLike, most: int, what: str) -> bytes:
    """All of a file. Raises MlxworldError, saying what was to be read, for one of more than `most` bytes."""
    handle = open_regular(path)
    try:
        blob = read_at(handle, 0, most + 1, str(path))
    finally:
        os.close(handle)
    if len(blob) > most:
        raise MlxworldError(f"{path} is too large: at most {most:,} bytes of {what} are read")
    return blob


def read_json(path: str | os.PathLike, most: int = MOST_BYTES) -> Any:
    """What a JSON file of at most `most` bytes holds, in UTF-8, -16 or -32, with a byte order mark or without.

    Raises MlxworldError for a file that cannot be read, is larger, or is no JSON: see `parse_json`.
    """
    return parse_json(read_whole(path, most, "JSON"), str(path))


def parse_json(blob: bytes | str, source: str) -> Any:
    """The plain values of a JSON text. Raises MlxworldError, naming `source`, for a text that is no JSON, has one name
    twice in an object, or is nested more than MOST_LEVELS deep."""
    too_deep = MlxworldError(f"{source} is nested too deep: at most {MOST_LEVELS} levels of JSON are read")
    try:
        value = json.loads(blob, object_pairs_hook=_object)
    except RecursionError:
        raise too_deep from None
    except ValueError as error:
        raise MlxworldError(f"{source} is no readable JSON: {' '.join(str(error).split())}") from error
    level = [value]
    for _ in range(MOST_LEVELS + 1):
        inner = (x.values() if isinstance(x, dict) else x for x in level if isinstance(x, dict | list))
        level = [x for values in inner for x in values]
    if level:
        raise too_deep
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        name = next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        raise ValueError(f"the name {shown(name)} is there twice")
    return values
