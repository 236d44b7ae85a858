"""Any Gymnasium environment that renders pictures, with a silent track."""

from itertools import product
from typing import Any

import numpy as np

from ...errors import MlxworldError
from .source import Step, seeds

_RATE, _MULTIPLE = 30720, 16


class GymnasiumEnv:
    """An environment by its id, "CarRacing-v3". Discrete actions keep their meanings where the environment names them.

    A Box of actions becomes "noop" (all zeros) and one action per component and direction, "0-", "0+", "1-", ...
    """

    licence = "rendered by the Gymnasium environment; see its package"

    def __init__(self, environment: str):
        import gymnasium

        self.name = f"gym:{environment}"
        try:
            self._env: Any = gymnasium.make(environment, render_mode="rgb_array")
        except Exception as error:  # each environment's packages fail in their own ways
            reason = " ".join(str(error).split()) or type(error).__name__
            raise MlxworldError(f"Gymnasium cannot make {environment!r}: {reason}") from error
        self.fps = round(self._env.metadata.get("render_fps") or 30)
        self.samples = max(1, round(_RATE / self.fps / _MULTIPLE)) * _MULTIPLE
        self.actions, self._codes = self._read_actions(gymnasium.spaces)
        self._silence = np.zeros(self.samples, np.float32)

    def _read_actions(self, spaces: Any) -> tuple[tuple[str, ...], list[Any]]:
        space = self._env.action_space
        if isinstance(space, spaces.Discrete):
            codes = [int(space.start) + i for i in range(int(space.n))]
            meanings = getattr(self._env.unwrapped, "get_action_meanings", lambda: [str(code) for code in codes])()
            return tuple(name.lower() for name in meanings), codes
        if isinstance(space, spaces.Box):
            flat = np.clip(np.zeros(space.shape, space.dtype), space.low, space.high).reshape(-1)
            low, high = np.clip(space.low.reshape(-1), -1, 1), np.clip(space.high.reshape(-1), -1, 1)
            names, codes = ["noop"], [flat.reshape(space.shape)]
            for i, (sign, bound) in product(range(flat.size), (("-", low), ("+", high))):
                if bound[i] != flat[i]:
                    code = flat.copy()
                    code[i] = bound[i]
                    names.append(f"{i}{sign}")
                    codes.append(code.reshape(space.shape))
            return tuple(names), codes
        raise MlxworldError(f"{self.name}: its actions ({space}) are neither Discrete nor a Box")

    def reset(self, seed: int) -> Step:
        """A new episode."""
        self._env.reset(seed=int(seeds(seed).integers(2**31)))
        return self._see(False)

    def step(self, action: int) -> Step:
        """One step of the environment; terminated and truncated are both `done`."""
        _, _, terminated, truncated, _ = self._env.step(self._codes[action])
        return self._see(bool(terminated or truncated))

    def _see(self, done: bool) -> Step:
        picture = np.asarray(self._env.render())
        if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8:
            raise MlxworldError(f"{self.name}: renders {picture.dtype} {picture.shape}, not (H, W, 3) uint8")
        return Step(picture, self._silence, done)

    def close(self) -> None:
        """Close the environment."""
        self._env.close()
