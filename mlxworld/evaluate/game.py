"""The real game as a rollout: where a world's source is installed, it answers the same questions as the dream."""

import numpy as np

from mlxworld.data import open_source
from mlxworld.data.envs.policies import Sticky
from mlxworld.data.envs.source import Source, Step
from mlxworld.data.episodes.pixels import Scaler, rgb
from mlxworld.errors import MlxworldError

from .figures import Pair


def open_game(name: str) -> Source | None:
    """The source called so, None where it is unknown or not installed here."""
    try:
        return open_source(name)
    except MlxworldError:
        return None


class Shrunk:
    """A source's picture (H, W, 3) uint8 -> of `size`, as recordings have it."""

    def __init__(self, size: tuple[int, int]):
        self._size, self._scaler = size, Scaler()

    def __call__(self, picture: np.ndarray) -> np.ndarray:
        if picture.shape[:2] == self._size:
            return picture
        return self._scaler.resize(rgb(picture), self._size).to_ndarray(format="rgb24")


class Game:
    """actions (N, T) -> video (N, T, H, W, 3) and audio (N, T, S): situation n is the game of seed `seed` + n after
    `lead` steps of a player with sticky keys. The same actions give the same frames."""

    def __init__(self, source: Source, size: tuple[int, int], seed: int = 0, lead: int = 40):
        self._source, self._seed, self._lead, self._picture = source, seed, lead, Shrunk(size)

    def __call__(self, actions: np.ndarray) -> Pair:
        clips = [self._play(n, row) for n, row in enumerate(actions)]
        video, audio = zip(*clips, strict=True)
        return np.stack(video), np.stack(audio)

    def _play(self, n: int, actions: np.ndarray) -> Pair:
        step = self._source.reset(self._seed + n)
        player = Sticky(len(self._source.actions), np.random.default_rng([self._seed + n, 2]))
        for _ in range(self._lead):
            step = self._next(step, player.act(step), n)
        frames = []
        for action in actions:
            step = self._next(step, int(action), n)
            frames.append((self._picture(step.video), step.audio))
        video, audio = zip(*frames, strict=True)
        return np.stack(video), np.stack(audio)

    def _next(self, step: Step, action: int, n: int) -> Step:
        return self._source.reset(self._seed + n) if step.done else self._source.step(action)
