"""One writer a folder, by a lock of the operating system, which dies with its process."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from ..errors import MlxworldError


@contextlib.contextmanager
def writer(folder: Path, doing: str) -> Iterator[None]:
    """While it lasts, this process alone writes to the folder. MlxworldError, "FOLDER {doing} by process N", where
    another one does."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise MlxworldError(f"{folder} {doing} by process {file.read().strip()}") from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
