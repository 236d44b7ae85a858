"""One writer a folder, by a lock of the operating system, which dies with its process."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from ..errors import MlxworldError

NAME = ".lock"


@contextlib.contextmanager
def writer(folder: Path, doing: str) -> Iterator[None]:
    """While it lasts, this process alone writes to the folder, which is made if need be and goes again if the body
    raises and left it empty.

    Raises MlxworldError, "FOLDER {doing} by process N", where another process writes to it, and where the folder cannot
    be made.
    """
    try:
        new = not folder.exists()
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / NAME).open("a+")
    except OSError as error:
        raise MlxworldError(f"cannot write {folder}: {error.strerror}") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise MlxworldError(f"{folder} {doing} by process {file.read().strip() or 'unknown'}") from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        try:
            yield
        except BaseException:
            if new and os.listdir(folder) == [NAME]:
                (folder / NAME).unlink()
                folder.rmdir()
            raise
