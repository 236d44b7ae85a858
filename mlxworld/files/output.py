"""What a converter writes: a file or a folder that is whole or not there.

A folder cannot take another's place in one move, so an old one steps aside first and comes back should the new one
not arrive. Only what a converter itself could have written is ever replaced.
"""

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path

from ..errors import MlxworldError
from .atomic import sync_folder
from .reading import listed


@contextmanager
def whole(path: Path, force: bool, mark: str = "", files: Sequence[str] = ("*",)) -> Iterator[Path]:
    """A name beside `path` to write a file or folder to; when the block ends well it becomes `path`, else it is gone.

    mark: a file that every such folder holds: a folder without it is not replaced. files: patterns of the names that
    such a folder may hold: one with other names, of a person or another program, is not replaced either. Of a link only
    the link is replaced. Raises MlxworldError when `path` is there already without `force`, or is something else, or
    cannot be written.
    """
    path = Path(os.path.abspath(path))
    if not path.name:
        raise MlxworldError(f"{path} is a folder of something else: choose another name")
    part, old = (path.with_name(f".{path.stem}.{word}{path.suffix}") for word in ("part", "old"))
    try:
        if os.path.lexists(old) and not os.path.lexists(path):
            old.replace(path)  # a run that was killed between the two moves
        _require_replaceable(path, force, mark, files)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            _remove(part)
            yield part
            _replace(part, path, old)
        finally:
            _remove(part)
    except OSError as error:
        raise MlxworldError(f"cannot write {path}: {error.strerror or error}") from error


def _require_replaceable(path: Path, force: bool, mark: str, files: Sequence[str]) -> None:
    if os.path.lexists(path) and not force:
        raise MlxworldError(f"{path} exists already: give --force to replace it")
    if not path.is_dir():
        return
    names = sorted(os.listdir(path))
    if not mark or (names and not (path / mark).is_file()):
        raise MlxworldError(f"{path} is a folder of something else: choose another name")
    others = [name for name in names if not any(fnmatchcase(name, pattern) for pattern in (*files, ".DS_Store"))]
    if others:
        raise MlxworldError(f"{path} holds something else too ({listed(others)}): choose another name")


def _replace(part: Path, path: Path, old: Path) -> None:
    """Moves `part` to `path`, what stands there first to `old`; back again where the second move fails."""
    if not path.is_dir() and not (path.is_symlink() and part.is_dir()):
        part.replace(path)
    else:
        _remove(old)
        path.replace(old)
        try:
            part.replace(path)
        except BaseException:
            old.replace(path)
            raise
    sync_folder(path.parent)
    _remove(old)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
