"""What the pages may choose from: only what was offered is ever loaded, so no text of a page becomes a path."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import mlxworld
from mlxworld import MlxworldError

from .action_log import label

PRECISIONS = ("float32", "float16", "bfloat16")
STEPS = (1, 2, 4, 8)


@dataclass(frozen=True)
class Choice:
    """What to load: a name or folder, and the settings; None leaves a setting to the world."""

    world: str
    backend: str | None = None
    steps: int | None = None
    precision: str | None = None


class Offers:
    """The worlds that may be loaded and the backends that are installed, and what loading them has shown."""

    def __init__(
        self,
        worlds: list[str],
        backends: list[str],
        first: Choice,
        runs: Callable[[], list[str]] = list,
    ):
        """runs: what finds the run folders; they come and go while the app runs."""
        self._fixed, self._runs = list(dict.fromkeys([*worlds, first.world])), runs
        self.worlds = self._fixed
        self.backends = list(backends)
        self._pictures: dict[str, np.ndarray] = {}  # of worlds that were loaded and bring none
        self._names: dict[str, str] = {}  # what a world that was loaded calls itself
        self._own_backends: set[str] = set()  # of worlds that run on nothing else

    def loaded(self, choice: Choice, world: "mlxworld.World") -> None:
        """Remember what a world said about itself."""
        self._names[choice.world] = label(world.name)
        if world.backend not in self.backends:
            self._own_backends.add(world.backend)

    def look(self) -> bool:
        """Look for run folders again; whether there are others than before."""
        before, self.worlds = self.worlds, list(dict.fromkeys([*self._fixed, *self._runs()]))
        return before != self.worlds

    def picture(self, name: str) -> np.ndarray | None:
        """What a world looks like (H, W, 3), where that is known: its own picture, or its first one here."""
        picture = mlxworld.thumbnail(name)
        return self._pictures.get(name) if picture is None else picture

    def seen(self, name: str, picture: np.ndarray) -> bool:
        """A world looks like this; whether that is news."""
        return self._pictures.setdefault(name, picture) is picture

    def check(self, choice: Choice) -> Choice:
        """The choice, or MlxworldError where it was not offered."""
        if choice.world not in self.worlds:
            raise MlxworldError("this world is not among those offered: start the app with --world NAME")
        if choice.backend not in (None, *self.backends, *self._own_backends):
            raise MlxworldError(f"this backend is not installed: choose one of {', '.join(self.backends)}")
        return choice

    def called(self, name: str) -> list[str]:
        """The worlds that are meant by the name in an action log, or by the path in an old one."""
        same = [world for world in self.worlds if world == name]
        named = [world for world in self.worlds if label(name) in (label(world), self._names.get(world))]
        return list(dict.fromkeys(same + named))

    def of(self, world: "mlxworld.World") -> dict[str, list[Any]]:
        """What a page may choose while this world is played: a package has settled all but the world."""
        if world.backend not in self.backends:
            settings = {"backends": [world.backend], "precisions": [world.precision], "step_counts": [world.steps]}
        else:
            settings = {
                "backends": self.backends,
                "precisions": sorted({*PRECISIONS, world.precision}),
                "step_counts": sorted({*STEPS, world.steps}),
            }
        return {"worlds": self.worlds, **settings}
