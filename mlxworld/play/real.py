"""Real: a game that can be recorded, played as a World is, so that the truth can stand beside a dream.

The same frames, action names and rates as the world beside it; a game that ends begins anew. Knows nothing of models.
"""

from collections import deque
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np

from ..data.envs.source import Source, Step, close, failing
from ..data.envs.sources import open_source
from ..data.episodes.pixels import Scaler, rgb
from ..errors import MlxworldError
from .context import Clip
from .frame import Frame
from .world import World

PAST = 32  # frames that a dream of the present can begin from


@dataclass(frozen=True)
class RealSnapshot:
    """A moment of a real game: what makes it again, and what had been seen. `actions` are those since `seed`."""

    seed: int
    actions: tuple[Any, ...]
    past: tuple[tuple[Frame, Any], ...]


class Real:
    """`Real.beside(world)` opens the game that a world was taught; then `reset`, `step`, `snapshot`, `restore`.

    The picture has the size of the world's, its sound as many samples. Use it on one thread.
    """

    def __init__(self, source: Source, world: World):
        """Raises MlxworldError where the game has other actions or rates than the world."""
        if missing := [name for name in world.actions if name not in source.actions]:
            raise MlxworldError(f"{source.name} has no action {missing[0]!r}: it is not the game of {world.name}")
        if (source.fps, source.samples) != (world.fps, world.samples):
            raise MlxworldError(f"{source.name} has other rates than {world.name}")
        self._source, self._size = source, world.size
        self._space = getattr(world, "action_space", None)
        self._actions = [source.actions.index(name) for name in world.actions]
        self._past: deque[tuple[Frame, Any]] = deque(maxlen=PAST)
        self._scaler, self._seed, self._taken, self._index = Scaler(), 0, [], 0
        self._step: Step | None = None

    @classmethod
    def beside(cls, world: World) -> "Real":
        """The game of this world, on this machine. Raises MlxworldError where it is unknown or not installed."""
        return cls(open_source(world.game), world)

    @property
    def name(self) -> str:
        """Of the game."""
        return self._source.name

    @property
    def state(self) -> dict[str, np.ndarray]:
        """What the game knows about the present step, by name."""
        return self._step.state if self._step else {}

    def reset(self, seed: int = 7) -> Frame:
        """Begin a game. The same seed and actions give the same frames."""
        self._past.clear()
        self._index = -1
        return self._begin(seed)

    def step(self, action: Any) -> Frame:
        """The next frame, after an action as the world takes it. A game that is over begins anew."""
        if self._step is None:
            raise MlxworldError("reset the game first: it has not begun")
        if self._step.done:
            return self._begin(self._seed + 1)
        begun = perf_counter()
        self._taken.append(action)
        with failing(self._source.name, f"step {len(self._taken)}"):
            self._step = self._source.step(self._theirs(action))
        return self._show(action, begun)

    def clip(self) -> Clip:
        """What was seen last, at most PAST frames: for `World.reset(context=...)`."""
        frames, actions = zip(*self._past, strict=True)
        video, audio = (np.stack([getattr(frame, kind) for frame in frames]) for kind in ("video", "audio"))
        if self._space is not None:
            return Clip(video, audio, np.stack([self._space.encode(action) for action in actions]))
        return Clip(video, audio, np.array(actions, np.int32))

    def snapshot(self) -> RealSnapshot:
        """The present moment, for `restore`."""
        return RealSnapshot(self._seed, tuple(self._taken), tuple(self._past))

    def restore(self, moment: RealSnapshot) -> None:
        """Go back to a moment: the game is played again to it, as fast as it goes."""
        with failing(self._source.name, "replay"):
            self._step = self._source.reset(moment.seed)
            for action in moment.actions:
                self._step = self._source.step(self._theirs(action))
        self._seed, self._taken = moment.seed, list(moment.actions)
        self._past.clear()
        self._past.extend(moment.past)
        self._index = moment.past[-1][0].index

    def _theirs(self, action: Any) -> Any:
        """An action as the game takes it: its own index, or the row of what is held."""
        if self._space is None or not self._space.shape:
            return self._actions[action]
        return self._space.encode(action)

    def close(self) -> None:
        """Give back what the game holds."""
        close(self._source)

    def _begin(self, seed: int) -> Frame:
        begun = perf_counter()
        self._seed, self._taken = seed, []
        with failing(self._source.name, "reset"):
            self._step = self._source.reset(seed)
        return self._show(0, begun)

    def _show(self, action: Any, begun: float) -> Frame:
        assert self._step is not None
        self._index += 1
        video = self._scaler.resize(rgb(self._step.video), self._size).to_ndarray()
        frame = Frame(video, self._step.audio.astype(np.float32), self._index, 1e3 * (perf_counter() - begun))
        self._past.append((frame, action))
        return frame
