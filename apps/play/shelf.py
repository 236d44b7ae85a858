"""The shelf of moments of the present world. With a folder they outlive a change of worlds and the app itself.

A moment is a file `N.safetensors` in a folder that the digest of its world names. Everything here runs on the model
thread, but for the writing of files.
"""

import json
import logging
from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import Path

import numpy as np

import mlxworld
from mlxworld import MlxworldError

from . import wire
from .action_log import Origin, runs, unrolled
from .branch import Moment

LOG = logging.getLogger(__name__)
MOST = 8


class Shelf:
    """Moments by their number, the oldest first; those of an earlier start are read when they are asked for."""

    def __init__(self, folder: Path | None, worker: Executor, tell: Callable[[dict], object]):
        """folder: where moments are kept, None to keep them only as long as their world is played; tell: what tells
        pages of a moment that cannot be kept."""
        self._folder, self._worker, self._tell = folder, worker, tell
        self._place: Path | None = None
        self.frames: dict[int, mlxworld.Frame] = {}  # the pictures to show
        self._moments: dict[int, Moment] = {}

    @property
    def keeps(self) -> bool:
        """Whether moments are written to files."""
        return self._folder is not None

    def open(self, world_digest: str | None) -> None:
        """Show the moments of another world."""
        self.frames, self._moments = {}, {}
        self._place = self._folder / "moments" / world_digest[:16] if self._folder and world_digest else None
        paths = self._place.glob("*.safetensors") if self._place and self._place.is_dir() else []
        for path in sorted(paths, key=lambda path: (len(path.stem), path.stem))[:MOST]:
            try:
                arrays, texts = mlxworld.read_snapshot(path)
                self.frames[int(path.stem)] = _frame(arrays, int(texts["index"]))
            except (MlxworldError, KeyError, ValueError) as error:
                LOG.warning("%s is left out: %s", path, wire.one_line(error))

    def add(self, ident: int, world: "mlxworld.World", moment: Moment) -> None:
        """Put a moment on the shelf. Raises MlxworldError where it is full."""
        if len(self.frames) >= MOST:
            raise MlxworldError(f"at most {MOST} moments are kept: delete one first")
        self.frames[ident], self._moments[ident] = moment.frame, moment
        if self._place:
            origin = {"seed": moment.origin.seed, "start": moment.origin.start, "untold": moment.origin.untold}
            about = {"origin": json.dumps(origin), "actions": json.dumps(runs(moment.actions))}
            arrays = {"video": moment.frame.video, "audio": moment.frame.audio}
            path = self._place / f"{ident}.safetensors"
            self._worker.submit(self._try, mlxworld.save_snapshot(path, world, moment.state, arrays, about))

    def get(self, ident: int, world: "mlxworld.World") -> Moment:
        """A moment. Raises MlxworldError for one that is not there, or not of this world as it is set."""
        if ident not in self.frames:
            raise MlxworldError("this moment is no longer kept")
        if ident not in self._moments:
            assert self._place is not None
            state, arrays, texts = mlxworld.load_snapshot(self._place / f"{ident}.safetensors", world)
            try:
                origin, actions = Origin(**json.loads(texts["origin"])), unrolled(json.loads(texts["actions"]))
                assert actions is not None and len(actions) == state.index
                self._moments[ident] = Moment(state, _frame(arrays, state.index), origin, actions)
            except (KeyError, TypeError, ValueError, AssertionError) as error:
                raise MlxworldError("this moment's file is broken") from error
        return self._moments[ident]

    def remove(self, ident: int) -> None:
        """Forget a moment. Raises MlxworldError for one that is not there."""
        if ident not in self.frames:
            raise MlxworldError("this moment is no longer kept")
        del self.frames[ident]
        self._moments.pop(ident, None)
        if self._place:
            path = self._place / f"{ident}.safetensors"
            self._worker.submit(path.unlink, missing_ok=True)

    def _try(self, write: Callable[[], None]) -> None:
        try:
            write()
        except MlxworldError as error:
            self._tell(wire.error(f"this moment goes with the app: {wire.one_line(error)}"))

    def free_ident(self, ident: int) -> int:
        """A number that no moment has, at least `ident`."""
        return max([ident, *(other + 1 for other in self.frames)])


def _frame(arrays: dict[str, np.ndarray], index: int) -> "mlxworld.Frame":
    video, audio = arrays["video"], arrays["audio"]
    if video.ndim != 3 or video.shape[2] != 3 or video.dtype != np.uint8 or audio.dtype != np.float32:
        raise ValueError("it holds no frame")
    return mlxworld.Frame(video, audio, index, 0.0)
