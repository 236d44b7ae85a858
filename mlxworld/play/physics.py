"""What is known of a frame's bodies, in the terms of its picture: read of a dream by its model, or the simulator's own.

N bodies. Knows nothing of pages: what is drawn of it is theirs.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..data.envs.sources import in_picture

AHEAD_S = 0.2  # how far ahead `Physics.ahead` looks


@dataclass(frozen=True)
class Physics:
    """place (N, 2): where each body is in the picture, (0, 0) its upper left corner and (1, 1) the lower right one;
    ahead (N, 2): where it is AHEAD_S later, moving as it does; energy (N,), kinetic and potential, in the simulator's
    units, and plausibility in [0, 1]: None where they are not known."""

    place: np.ndarray
    ahead: np.ndarray
    energy: np.ndarray | None
    plausibility: float | None

    @classmethod
    def of(cls, game: str, known: Mapping[str, Any] | None) -> "Physics | None":
        """Of a game (`World.game`) and what is known of a frame: `World.physics()`, or `Real.state`. None where that
        has no positions and velocities (N, 2 or 3) of bodies."""
        known = known or {}
        shapes = [np.shape(known.get(name, ())) for name in ("position", "velocity")]
        if shapes[0] != shapes[1] or len(shapes[0]) != 2 or shapes[0][1] not in (2, 3):
            return None
        position, velocity = (np.asarray(known[name], np.float64) for name in ("position", "velocity"))
        energy = known.get("energy")
        if "kinetic" in known and "potential" in known:
            energy = known["kinetic"] + known["potential"]
        energy = None if energy is None or np.shape(energy) != shapes[0][:1] else np.asarray(energy, np.float64)
        score = known.get("plausibility")
        place, ahead = (in_picture(game, x) for x in (position, position + AHEAD_S * velocity))
        return cls(place, ahead, energy, None if score is None else float(score))
