"""Worlds as a Gymnasium environment: `gymnasium.make("mlxworld.gym:mlxworld/World-v0", world="pong")`.

An observation is a frame with its sound. A dream has no score and no end: the reward is 0 unless a `reward` function of
the frame is given, and an episode lasts until `max_episode_steps`.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

from .errors import MlxworldError
from .play.world import Frame, World


class WorldEnv(gymnasium.Env):
    """world: a shipped name or a folder, or a World that is loaded already. Further arguments go to `World.load`."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 30}  # noqa: RUF012  (Gymnasium's own form)

    def __init__(
        self,
        world: str | Path | World = "pong",
        reward: Callable[[Frame], float] | None = None,
        render_mode: str | None = "rgb_array",
        **load: Any,
    ):
        if render_mode not in (None, "rgb_array"):
            raise MlxworldError(f"unknown render mode {render_mode!r}: choose rgb_array, or None")
        self.world = world if isinstance(world, World) else World.load(world, **load)
        if self.world.batch != 1:
            raise MlxworldError("World-v0 is one world; for B of them at once use World.load(..., batch=B)")
        self.metadata = self.metadata | {"render_fps": self.world.fps}
        self.render_mode, self._reward, self._frame = render_mode, reward, None
        self.action_space = _space(self.world.action_space)
        self.observation_space = gymnasium.spaces.Dict(
            video=gymnasium.spaces.Box(0, 255, (*self.world.size, 3), np.uint8),
            audio=gymnasium.spaces.Box(-1, 1, (self.world.samples,), np.float32),
        )

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        """The same seed gives the same world. options: {"context": a start clip's number or a Clip}."""
        super().reset(seed=seed)
        chosen = int(self.np_random.integers(2**31)) if seed is None else seed
        return self._seen(self.world.reset(chosen, (options or {}).get("context"))), {"seed": chosen}

    def step(self, action):
        """Observation, reward, False (a dream has no end), False, {"index"}."""
        observation = self._seen(self.world.step(action))
        assert self._frame is not None
        reward = 0.0 if self._reward is None else float(self._reward(self._frame))
        return observation, reward, False, False, {"index": self._frame.index}

    def render(self):
        """The present picture (H, W, 3) uint8."""
        return None if self._frame is None or self.render_mode is None else self._frame.video

    def get_action_meanings(self) -> list[str]:
        """The names of the actions, as Atari's environments tell them."""
        return list(self.world.actions)

    def _seen(self, frame: Frame):
        self._frame = frame
        return {"video": frame.video, "audio": frame.audio}


def _space(space: Any) -> gymnasium.spaces.Space:
    """Discrete for named actions, else {"buttons": MultiBinary, "axes": Box} of those that there are."""
    if not space.shape:
        return gymnasium.spaces.Discrete(len(space.names))
    parts: dict[str, gymnasium.spaces.Space] = {}
    if space.buttons:
        parts["buttons"] = gymnasium.spaces.MultiBinary(len(space.buttons))
    if space.axes:
        parts["axes"] = gymnasium.spaces.Box(-1, 1, (len(space.axes),), np.float32)
    return gymnasium.spaces.Dict(parts)


gymnasium.register("mlxworld/World-v0", entry_point="mlxworld.gym:WorldEnv")
