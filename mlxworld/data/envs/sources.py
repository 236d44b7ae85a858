"""The worlds that can be recorded, by name."""

import numpy as np

from ...errors import MlxworldError
from .source import Source

SOURCES = "pong, jumper, doom, doom:SCENARIO, bounce, bounce:SCENE, scenes, mujoco, atari:GAME, gym:ENVIRONMENT, "
SOURCES += "hybrid:ENVIRONMENT"


def aspect(name: str) -> float:
    """How many times as wide as high a pixel of the world called `name` is to be shown: pictures are recorded square,
    and Doom's are 4:3."""
    return 4 / 3 if name.partition(":")[0] == "doom" else 1.0


def in_picture(name: str, position: np.ndarray) -> np.ndarray:
    """Where positions (..., 2 or 3) of the state of the world called `name` are in its picture (..., 2): (0, 0) is its
    upper left corner, (1, 1) the lower right one. A world that says nothing else has them in pixels of 128."""
    if name == "mujoco":
        from .mujoco_room import in_picture as seen

        return seen(position)
    return position[..., :2] / 128


def open_source(name: str) -> Source:
    """The world called `name`: pong, jumper, doom, doom:basic, bounce, bounce:ball, scenes, mujoco, atari:Breakout,
    gym:CarRacing-v3.

    Raises MlxworldError for an unknown name, and for a package that is missing (it says what to install).
    """
    kind, _, rest = name.partition(":")
    if name == "pong":
        from .atari import Atari

        return Atari("Pong", any_score=True)
    if kind == "atari" and rest:
        from .atari import Atari

        return Atari(rest)
    if kind == "doom":
        from .doom import Doom

        return Doom(rest or "defend_the_line")
    if name == "bounce" or (kind == "bounce" and rest):
        from .bounce import Bounce

        return Bounce(rest or "friction")
    if name == "scenes":
        from .scenes import Scenes

        return Scenes()
    if name == "mujoco":
        from .mujoco_room import MujocoRoom

        return MujocoRoom()
    if name == "jumper":
        from .jumper import Jumper

        return Jumper()
    if kind == "gym" and rest:
        from .gymnasium_env import GymnasiumEnv

        return GymnasiumEnv(rest)
    if kind == "hybrid" and rest:
        from .gymnasium_env import HybridEnv

        return HybridEnv(rest)
    raise MlxworldError(f"unknown world {name!r} to record: choose one of {SOURCES}")
