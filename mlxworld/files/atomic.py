"""Files that are whole or not there: written beside their place, moved when they have reached the disk."""

import os
from pathlib import Path

from ..errors import MlxworldError


def write_text(path: str | os.PathLike, text: str) -> None:
    """Puts `text` at `path` in UTF-8: see `write`."""
    write(path, text.encode())


def write(path: str | os.PathLike, blob: bytes) -> None:
    """Puts `blob` at `path` in one move, after it has reached the disk. MlxworldError when it cannot be written."""
    path = Path(path)
    part = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with part.open("wb") as file:
                file.write(blob)
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
        _sync_folder(path.parent)
    except OSError as error:
        kept = "; the file that was there is unharmed" if path.exists() else ""
        raise MlxworldError(f"cannot write {path}: {error.strerror}{kept}") from error


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
