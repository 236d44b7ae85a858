"""Files that are whole or not there: written beside their place, moved when they have reached the disk."""

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import MlxworldError


def write_text(path: str | os.PathLike, text: str) -> None:
    """Puts `text` at `path` in UTF-8: see `write`."""
    write(path, text.encode())


def write(path: str | os.PathLike, blob: bytes) -> None:
    """Puts `blob` at `path` in one move, after it has reached the disk. MlxworldError when it cannot be written."""
    with writing(path) as part:
        part.write_bytes(blob)


def require_writable(path: str | os.PathLike) -> None:
    """Raises MlxworldError unless a file can be put at `path`, whose folder is made: known before minutes of work, not
    after them."""
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        tempfile.TemporaryFile(dir=path.parent).close()
    except OSError as error:
        raise MlxworldError(f"cannot write {path}: {error.strerror or error}") from error


@contextmanager
def writing(path: str | os.PathLike) -> Iterator[Path]:
    """A name beside `path` to write a file to; when the block ends well the file moves to `path` in one move, after it
    has reached the disk, else it is gone. MlxworldError when it cannot be written."""
    path = Path(path)
    part = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield part
            with part.open("rb") as file:
                os.fsync(file.fileno())
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
        sync_folder(path.parent)
    except OSError as error:
        unharmed = "; the file that was there is unharmed" if path.exists() else ""
        raise MlxworldError(f"cannot write {path}: {error.strerror or error}{unharmed}") from error


def sync_folder(folder: Path) -> None:
    """Returns when the names in a folder have reached the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
