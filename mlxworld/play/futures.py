"""The futures that a search goes through: many dreams of a few moments, decoded only where somebody looks at them.

A row is a world of the batch. Of rows with the same past and the same actions a search asks for one: they would dream
the same, since all worlds of a moment share the noise of a frame.

M rows, N worlds that a lockstep has room for, H, W pixels, S samples of a frame, K latent tokens of width D.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from ..errors import MlxworldError
from .frame import Frame
from .lockstep import Lockstep


class Futures(Protocol):
    """What a search goes through: dreams, or an environment that can be taken back."""

    frames: int  # that were stepped, of all rows

    def decide(self, moments: np.ndarray, rows: np.ndarray | None, actions: np.ndarray) -> np.ndarray:
        """One decision further. Row i belongs to moment moments[i] and goes on from row rows[i] of the decision before,
        or with None from its moment, and holds actions[i]. Returns the sums of its rewards, (M,)."""
        ...


class DreamtFrame(Frame):
    """A Frame of M worlds, decoded when it is looked at; z (M, K, D) are its latents. Its sound can be asked for as
    long as it is the present one."""

    def __init__(self, z: np.ndarray, index: int, see: Callable[[], np.ndarray], hear: Callable[[], np.ndarray]):
        for name, value in {"z": z, "index": index, "model_ms": 0.0, "_see": see, "_hear": hear}.items():
            object.__setattr__(self, name, value)

    z: np.ndarray
    _see: Callable[[], np.ndarray]
    _hear: Callable[[], np.ndarray]

    @functools.cached_property
    def video(self) -> np.ndarray:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self._see()

    @functools.cached_property
    def audio(self) -> np.ndarray:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self._hear()


class Dreams:
    """Futures in dreams of one model."""

    def __init__(
        self,
        worlds: Lockstep,
        moments: Any,
        reward: Callable[[Any], Any],
        seeds: Sequence[int],
        hold: int,
        every: int = 1,
        index: int = 0,
    ):
        """moments: a state of as many worlds as there are `seeds` (see `Lockstep.branch`). reward: of a DreamtFrame, M
        numbers. An action is held for `hold` frames, and each `every`-th of them is rewarded. index: of the present
        frame."""
        self._worlds, self._moments, self._reward, self._seeds = worlds, moments, reward, seeds
        self._hold, self._every, self._index = hold, every, index
        self._noises: dict[tuple[int, int], np.ndarray] = {}
        self._present: np.ndarray | None = None  # latents
        self._time, self._unheard, self.frames = 0, list[np.ndarray](), 0

    def decide(self, moments: np.ndarray, rows: np.ndarray | None, actions: np.ndarray) -> np.ndarray:
        """See `Futures`. Raises MlxworldError for rewards that are not M finite numbers."""
        count, n = len(actions), self._worlds.n
        assert count <= n
        padding = n - count if self._worlds.fixed else 0
        moments, actions = np.pad(moments, (0, padding)), np.pad(actions, (0, padding))
        if rows is None:
            self._worlds.branch(self._moments, moments)
            self._time, self._unheard = 0, []
        else:
            self._choose(np.pad(rows, (0, padding)))
        rewards = np.zeros(count)
        for t in range(self._time, self._time + self._hold):
            self._present = self._worlds.dream(actions, self._noise(t, moments))
            self._unheard.append(self._present)
            if (t + 1) % self._every == 0:
                rewards += self._rewards(count)
            self.frames += count
        self._time += self._hold
        return rewards

    def _choose(self, rows):
        assert self._present is not None
        if len(rows) != len(self._present) or (rows != np.arange(len(rows))).any():
            self._worlds.choose(rows)
            self._unheard = [z[rows] for z in self._unheard]

    def _noise(self, t, moments):
        """The noise of frame t for worlds of these moments: a moment's own, however often the frame is dreamt."""
        shape = self._worlds.model.cfg.latent_shape
        for moment in np.unique(moments).tolist():
            if (moment, t) not in self._noises:
                rng = np.random.default_rng([self._seeds[moment], t])
                self._noises[moment, t] = rng.standard_normal(shape, np.float32)
        return np.stack([self._noises[moment, t] for moment in moments.tolist()])

    def _rewards(self, count):
        z = self._present
        assert z is not None

        def hear():
            if self._present is not z:
                raise MlxworldError("a dreamt frame's sound can be asked for as long as it is the present one")
            heard = [self._worlds.sound(past) for past in self._unheard]  # sound goes on from what was before
            self._unheard = []
            return heard[-1][:count]

        def see():
            return self._worlds.picture(z)[:count]

        given = self._reward(DreamtFrame(z[:count], self._index, see, hear))
        scores = np.asarray(given, np.float64) if np.ndim(given) == 1 else np.zeros(0)
        if len(scores) != count or not np.isfinite(scores).all():
            raise MlxworldError(f"a reward gives {count} finite numbers, one for each world")
        return scores


def near(goal: np.ndarray) -> Callable[[DreamtFrame], np.ndarray]:
    """A reward that is 0 at the latent of a goal (K, D), and less by the mean square of what differs."""
    return lambda frame: -np.square(frame.z - goal).mean(axis=(1, 2))
