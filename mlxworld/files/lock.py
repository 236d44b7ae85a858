"""One writer a folder, by a lock of the operating system, which dies with its process."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from ..errors import MlxworldError

NAME = ".lock"


@contextlib.contextmanager
def writer(folder: Path, doing: str) -> Iterator[None]:
    """While it lasts, this process alone writes to the folder, which is made if need be and goes again if the body
    raises and left it empty.

    Raises MlxworldError, "FOLDER {doing} by process N", where another process writes to it, and where the folder cannot
    be made.
    """
    path = folder / NAME
    try:
        new = not folder.exists()
        folder.mkdir(parents=True, exist_ok=True)
        file = _locked(path)
    except BlockingIOError:
        raise MlxworldError(f"{folder} {doing} by process {_holder(path)}") from None
    except OSError as error:
        raise MlxworldError(f"cannot write {folder}: {error.strerror}") from error
    with file:
        file.write(str(os.getpid()))
        file.flush()
        try:
            yield
        except BaseException:
            path.unlink(missing_ok=True)
            if new and not os.listdir(folder):
                folder.rmdir()
            raise
        path.unlink(missing_ok=True)


def _locked(path: Path) -> IO[str]:
    """The file, empty, locked. Raises BlockingIOError where another process has locked it."""
    while True:
        file = path.open("a")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            raise
        except OSError:  # a file system that has no locks
            return file
        if os.fstat(file.fileno()).st_nlink:
            file.truncate(0)
            return file
        file.close()  # it was taken away by its last writer: lock the one that there is now


def _holder(path: Path) -> str:
    """The number of the process that has locked the file."""
    try:
        return path.read_text() or "unknown"
    except OSError:  # it has ended meanwhile
        return "unknown"
