"""What a converter writes: a file or a folder that is whole or not there.

A folder cannot take another's place in one move, so an old one steps aside first and comes back should the new one
not arrive. Only what a converter itself could have written is ever replaced.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mlxworld.errors import MlxworldError


@contextmanager
def whole(path: Path, force: bool, mark: str = "") -> Iterator[Path]:
    """A name beside `path` to write a file or folder to; when the block ends well it becomes `path`, else it is gone.

    mark: a file that every such folder holds: a folder without it is not replaced. Raises MlxworldError when `path` is
    there already without `force`, or is something else, or cannot be written.
    """
    path = Path(os.path.abspath(path))
    if os.path.lexists(path) and not force:
        raise MlxworldError(f"{path} exists already: give --force to replace it")
    if path.is_dir() and (not mark or (any(path.iterdir()) and not (path / mark).is_file())):
        raise MlxworldError(f"{path} is a folder of something else: choose another name")
    part, old = (path.with_name(f".{path.stem}.{word}{path.suffix}") for word in ("part", "old"))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            _remove(part)
            yield part
            _replace(part, path, old)
        finally:
            _remove(part)
    except OSError as error:
        raise MlxworldError(f"cannot write {path}: {error.strerror or error}") from error


def _replace(part: Path, path: Path, old: Path) -> None:
    if not path.is_dir():
        part.replace(path)
        return
    _remove(old)
    path.replace(old)
    try:
        part.replace(path)
    except BaseException:
        old.replace(path)
        raise
    _remove(old)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
