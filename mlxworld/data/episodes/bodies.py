"""What a simulator knew of the bodies in a dataset, frame by frame, beside its pictures: see `envs/source.py`, Step.

A source whose state has these names tells it: position and velocity (n, 2) or (n, 3), mass, kinetic and potential (n,).
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .format import read_state
from .frames import FrameStore

NAMES = ("position", "velocity", "mass", "kinetic", "potential")


@dataclass(frozen=True)
class Bodies:
    """N frames of n bodies, in the simulator's units; what is flat has depth 0."""

    position: np.ndarray  # (N, n, 3) float32
    velocity: np.ndarray  # (N, n, 3) float32, a second
    mass: np.ndarray  # (N, n) float32
    energy: np.ndarray  # (N, n) float32, kinetic and potential

    @property
    def count(self) -> int:
        """n, bodies of a frame."""
        return self.mass.shape[1]

    def rows(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Of these frames, by name."""
        return {name: x[rows] for name, x in vars(self).items()}

    def units(self) -> dict[str, np.ndarray]:
        """The spread of each quantity, 1 where there is none: centre, extent and speed (3,), mass (1,), energy (2,)."""
        extent, speed = self.position.std(axis=(0, 1)), self.velocity.std(axis=(0, 1))
        return {
            "centre": self.position.mean(axis=(0, 1)),
            "extent": np.where(extent > 1e-6, extent, 1).astype(np.float32),
            "speed": np.where(speed > 1e-6, speed, 1).astype(np.float32),
            "mass": np.array([self.mass.mean()], np.float32),
            "energy": np.array([self.energy.mean(), max(float(self.energy.std()), 1e-6)], np.float32),
        }


def read_scenes(folder: Path, store: FrameStore) -> np.ndarray:
    """How hard each episode is (E,), from 0, where its source says so in its state as "scene"; else 0."""
    states = (read_state(folder / name) for name in store.names)
    return np.array([int(np.max(state.get("scene", 0))) for state in states])


def easiest(scenes: np.ndarray, part: int, parts: int) -> np.ndarray:
    """Which episodes (E,) bool a part of a curriculum draws from: of their scenes, in order of difficulty, as large a
    share as of its parts are begun; of the last part all."""
    ranks = np.unique(scenes, return_inverse=True)[1]
    return ranks < -(-(part + 1) * (ranks.max() + 1) // parts)


def read_bodies(folder: Path, store: FrameStore) -> Bodies | None:
    """The bodies of all frames of a dataset, which is decoded as `store`. None where its source did not tell them, or
    not of each frame as it was decoded. Raises MlxworldError for a broken file of states."""
    episodes: list[dict[str, np.ndarray]] = []
    for name, (first, last) in zip(store.names, store.spans(), strict=True):
        state = read_state(folder / name)
        if not all(n in state and len(state[n]) == last - first for n in NAMES):
            return None
        episodes.append(state)
    if len({e["mass"].shape[1:] for e in episodes}) != 1 or episodes[0]["mass"].ndim != 2:
        return None
    whole = {n: np.concatenate([e[n] for e in episodes]).astype(np.float32) for n in NAMES}
    missing = 3 - whole["position"].shape[-1]
    deep = [(0, 0), (0, 0), (0, missing)]
    position, velocity = (np.pad(whole[n], deep) for n in ("position", "velocity"))
    return Bodies(position, velocity, whole["mass"], whole["kinetic"] + whole["potential"])
