"""Any Gymnasium environment that renders pictures, with a silent track."""

import importlib.util
import os
import sys
import textwrap
from collections.abc import Mapping
from typing import Any

import numpy as np

from ...configs.world import FASTEST
from ...errors import MlxworldError
from .source import Step, failing, seeds

_RATE, _MULTIPLE = 30720, 16
_MODULES = {"ALE": "ale_py", "mlxworld": "mlxworld.gym"}  # what registers a namespace, where its name does not say


class GymnasiumEnv:
    """An environment by its id, "CarRacing-v3", or with the module that registers it, "ale_py:ALE/Pong-v5".

    Its actions become one list (`action_spaces`), named as the environment names them where it does.
    """

    licence = "rendered by the Gymnasium environment; see its package"

    def __init__(self, environment: str):
        self.name = f"gym:{environment}"
        self._env: Any = _make(environment)
        with failing(self.name, "reading render_fps"):
            self.fps = self._read_fps()
        self.samples = max(1, round(_RATE / self.fps / _MULTIPLE)) * _MULTIPLE
        with failing(self.name, "naming its actions"):
            self.actions, self._codes = self._read_actions()
        self._silence = np.zeros(self.samples, np.float32)

    def _read_fps(self) -> float:
        rate = (self._env.metadata or {}).get("render_fps")
        fps = 30 if rate is None else float(rate)
        if not 0.5 < fps < FASTEST + 0.5:
            raise MlxworldError(f"{self.name}: its render_fps is {rate}; a recording has 1 to {FASTEST} steps a second")
        exact = 1 < fps < FASTEST and fps % 1 and fps * _MULTIPLE % 1 == 0  # samples are a multiple of _MULTIPLE
        return fps if exact else round(fps)

    def _read_actions(self) -> tuple[tuple[str, ...], list[Any]]:
        from gymnasium.spaces import MultiBinary

        from .action_spaces import discrete_actions

        space, labels = self._env.action_space, None
        if self._env.has_wrapper_attr("get_action_meanings"):
            labels = self._env.get_wrapper_attr("get_action_meanings")()
        elif isinstance(space, MultiBinary) and self._env.has_wrapper_attr("buttons"):  # of a console
            labels = self._env.get_wrapper_attr("buttons")
        labels = list(labels.values()) if isinstance(labels, Mapping) else [] if labels is None else list(labels)
        try:
            return discrete_actions(space, labels)
        except MlxworldError as error:
            shown = textwrap.shorten(str(space), 80)
            raise MlxworldError(
                f"{self.name}: its actions, {shown}, do not make a list ({error}): put it in a "
                "gymnasium.ActionWrapper whose action_space is Discrete, register that in a module of yours, and "
                "record gym:MODULE:ID"
            ) from error

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
        if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8 or picture.size == 0:
            raise MlxworldError(f"{self.name}: renders {picture.dtype} {picture.shape}, not (H, W, 3) uint8")
        return Step(picture, self._silence, done)

    def close(self) -> None:
        """Close the environment."""
        self._env.close()


def _make(environment: str) -> Any:
    """The environment. Its module may lie in the present folder, as with `python -m`."""
    import gymnasium

    if not sys.flags.safe_path and not {"", os.getcwd()} & set(sys.path):
        sys.path.append(os.getcwd())
    try:
        return gymnasium.make(environment, render_mode="rgb_array")
    except (Exception, SystemExit) as error:  # each environment's packages fail in their own ways
        reason = " ".join(str(error).split()) or type(error).__name__
        unknown = gymnasium.error.NamespaceNotFound, gymnasium.error.NameNotFound
        hint = _hint(environment) if isinstance(error, unknown) else ""
        raise MlxworldError(f"Gymnasium cannot make {environment!r}: {reason}{hint}") from error


def _hint(environment: str) -> str:
    """How to name an environment that nothing has registered."""
    if ":" in environment:
        return ""
    namespace, _, name = environment.rpartition("/")
    module = _MODULES.get(namespace, namespace.lower())
    if not module.replace(".", "").isidentifier() or importlib.util.find_spec(module.split(".")[0]) is None:
        return "; gym:MODULE:ID imports the module that registers it first, as in gym:ale_py:ALE/Pong-v5"
    game = f", or atari:{name.rpartition('-v')[0]}" if module == "ale_py" else ""
    return f"; say gym:{module}:{environment}{game}"
