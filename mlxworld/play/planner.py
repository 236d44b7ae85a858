"""Planner: watches real games frame by frame, several side by side, and plans for all of them in one batch.

Nothing is seen twice: a real frame is encoded with the few before it that its latent depends on and taken into the
cache, where it stays as long as the model's window reaches. A world that is reset before each plan encodes and observes
all of its context again.

G games, T frames, H, W pixels, S samples of a frame, K latent tokens of width D.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..errors import MlxworldError
from .encode import encode
from .frame import Frame
from .futures import Dreams
from .lockstep import Lockstep
from .plan import Plan, Search, plans
from .world import World


class Planner:
    """Begun by the first `observe`; then `plan` and `observe` by turns."""

    def __init__(self, world: World, games: int = 1, seed: int = 0):
        """world: whose model plans; its own moment is left alone. seed: of the noise of what is observed. Raises
        MlxworldError for a world on Core ML."""
        player: Any = world._player
        self.world, self.games, self.frames, self._seed = world, games, 0, seed % 2**63
        self._present = Lockstep(player, world.model, games, "observe")
        self._present.begin()
        c = world.config
        self._video = np.zeros((games, 0, c.size, c.size, 3), np.uint8)  # that the next latents depend on
        self._audio = np.zeros((games, 0, c.samples), np.float32)

    def observe(self, video: np.ndarray, audio: np.ndarray, actions: np.ndarray) -> None:
        """The next T frames of each game: video (G, T, H, W, 3) uint8, audio (G, T, S), and the actions that led to
        them, (G, T) or (G, T, A). Raises MlxworldError for other shapes."""
        c, T = self.world.config, actions.shape[1] if actions.ndim > 1 else 0
        shapes = (self.games, T, c.size, c.size, 3), (self.games, T, c.samples), (self.games, T, *c.action_space.shape)
        if T < 1 or (video.shape, audio.shape, actions.shape) != shapes:
            raise MlxworldError(f"{self.world.name} observes arrays of shapes {', '.join(map(str, shapes))}, T >= 1")
        video, audio = np.concatenate([self._video, video], 1), np.concatenate([self._audio, audio], 1)
        package, model = self.world.package, self.world.model
        z = [encode(package, model, *clip)[-T:] for clip in zip(video, audio, strict=True)]
        for t, (latents, taken) in enumerate(zip(np.stack(z, 1), np.swapaxes(actions, 0, 1), strict=True)):
            noise = np.random.default_rng([self._seed, self.frames + t]).standard_normal(latents.shape, np.float32)
            self._present.observe(latents, noise, taken)
        keep = len(video[0]) - min(c.receptive_field, len(video[0]))
        self._video, self._audio, self.frames = video[:, keep:], audio[:, keep:], self.frames + T

    def plan(
        self, reward: Callable[[Frame], np.ndarray], games: Sequence[int] | None = None, **options: Any
    ) -> list[Plan]:
        """Plans of these games (None: all), by the same reward of frames and the same options as in `World.plan`."""
        if not self.frames:
            raise MlxworldError("observe a frame first: the games have not begun")
        search = Search.read(options, len(self.world.actions))
        live = list(range(self.games)) if games is None else list(games)
        seeds = [search.seed + game for game in live]
        dreams = self.dreams(reward, live, seeds, search.rows, search.hold, search.every)
        return plans(dreams, search, len(self.world.actions), seeds)

    def dreams(
        self,
        reward: Callable[[Frame], np.ndarray],
        games: Sequence[int],
        seeds: Sequence[int],
        rows: int,
        hold: int,
        every: int = 1,
    ) -> Dreams:
        """The dreams of these games from their present moments on, at most so many rows of each: see `Dreams`."""
        worlds = self.world._lockstep(rows * self.games, "dream")
        return Dreams(worlds, self._present.whole(np.array(games)), reward, seeds, hold, every, self.frames - 1)
