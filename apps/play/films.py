"""The films of a game: the tape of the last minute, clips cut from it, and the recording that goes on.

Frames come on the model thread; encoding is done on others, and what is ready is told by `tell(target, message)`.
"""

import logging
import secrets
import tempfile
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import mlxworld
from mlxworld import MlxworldError

from . import wire
from .action_log import label
from .film import Recording, Shape, film

LOG = logging.getLogger(__name__)
TAPE_S = 60.0
MOST = 8
"""Films that can be fetched; older clips are forgotten, older recordings stay in their folder."""
GAP = 4
"""Pixels between two pictures side by side."""


class Films:
    """See the head of this file."""

    def __init__(self, folder: Path | None, worker: ThreadPoolExecutor, tell: Callable[[Any, dict], object]):
        """folder: where recordings are kept, None for a folder that goes with this process."""
        self._temporary = None if folder else tempfile.TemporaryDirectory()
        self.folder = folder / "films" if folder else Path(self._temporary.name)  # type: ignore[union-attr]
        self._kept, self._worker, self._tell = folder is not None, worker, tell
        self._tape: deque[tuple[mlxworld.Frame, mlxworld.Frame | None]] = deque()
        self._world: mlxworld.World | None = None
        self._ready: dict[str, tuple[str, bytes | Path]] = {}
        self.recording: Recording | None = None

    def begin(self, world: "mlxworld.World") -> None:
        """Another world is shown from now on: a recording ends where its pictures or sound have other shapes."""
        if self.recording and self._world and _shape(self._world) != _shape(world):
            self.record(False)
        self._world, self._tape = world, deque(maxlen=round(TAPE_S * world.fps))

    def add(self, frame: "mlxworld.Frame", beside: "mlxworld.Frame | None") -> None:
        """A frame is shown, and what is beside it."""
        self._tape.append((frame, beside))
        if self.recording and not self.recording.add(frame):
            self.record(False)

    def clip(self, seconds: float, target: Any) -> None:
        """Make a film of the last seconds for a page. Two pictures that stood side by side all the time do so in it."""
        world = self._world
        assert world is not None
        shown = list(self._tape)[-round(seconds * world.fps) :]
        if not shown:
            raise MlxworldError("nothing has been shown yet")
        shape = _shape(world)
        if all(beside is not None and beside.video.shape == frame.video.shape for frame, beside in shown):
            shown = [(_joined(frame, beside), None) for frame, beside in shown]
            shape = replace(shape, size=(shape.size[0], 2 * shape.size[1] + GAP))
        frames, name = [frame for frame, _ in shown], self._name()
        self._worker.submit(self._guard, lambda: film(frames, shape), name, target, len(frames) / world.fps)

    def record(self, on: bool) -> None:
        """Begin a recording, or end the one that goes on and tell everyone where it is."""
        world, recording = self._world, self.recording
        assert world is not None
        if on and recording is None:
            try:
                path = self.folder / self._name()
                self.recording = Recording(path, _shape(world))
            except (OSError, ValueError) as error:
                raise MlxworldError(f"cannot record: {wire.one_line(error)}") from error
        elif not on and recording is not None:
            self.recording = None
            seconds = recording.frames / recording.fps
            self._worker.submit(self._guard, recording.finish, recording.path.name, None, seconds, recording)

    def get(self, ident: str) -> tuple[str, bytes | Path] | None:
        """Name and content, or file, of a film that is ready."""
        return self._ready.get(ident)

    def stop(self) -> None:
        """The app ends: so does a recording, in good order."""
        if self.recording:
            self.recording.finish()
        if self._temporary:
            self._temporary.cleanup()

    def _name(self) -> str:
        assert self._world is not None
        safe = "".join(c if c.isalnum() or c in "-_" else "-" for c in label(self._world.name))[:60] or "world"
        return f"{safe}-{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}.mp4"

    def _guard(
        self,
        make: Callable[[], bytes | Path],
        name: str,
        target: Any,
        seconds: float,
        recording: Recording | None = None,
    ) -> None:
        try:
            made = make()
        except Exception as error:  # whatever a codec says
            LOG.warning("a film could not be made", exc_info=error)
            self._tell(target, wire.error(f"the film could not be made: {wire.one_line(error)}"))
            return
        if recording and recording.failure:
            self._tell(target, wire.error(f"the recording ended: {wire.one_line(recording.failure)}"))
        ident = secrets.token_urlsafe(12)
        self._ready[ident] = (name, made)
        for old in list(self._ready)[:-MOST]:
            del self._ready[old]
        place = str(made) if isinstance(made, Path) and self._kept else None
        film_ready = {"path": f"film/{ident}", "name": name, "seconds": round(seconds, 1), "place": place}
        self._tell(target, {"type": "film", "recorded": recording is not None, **film_ready})


def _shape(world: "mlxworld.World") -> Shape:
    return Shape((world.size[0], world.size[1]), world.fps, world.sample_rate, world.aspect)


def _joined(frame: "mlxworld.Frame", beside: "mlxworld.Frame | None") -> "mlxworld.Frame":
    """Two pictures in one, what is beside at the left; the sound of the world."""
    assert beside is not None
    gap = np.zeros((frame.video.shape[0], GAP, 3), np.uint8)
    return mlxworld.Frame(np.concatenate([beside.video, gap, frame.video], 1), frame.audio, frame.index, 0.0)
