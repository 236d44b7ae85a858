"""What is drawn over the pictures: where each body is and goes, its energy, and whether such a scene can be.

A dream's bodies are read from its latents by the model, where it was taught to; those of the real game are its own.
"""

from typing import Any

import numpy as np

import mlxworld

from .branch import Branch


def known(branch: Branch) -> bool:
    """Whether anything is known of bodies here."""
    return branch.world.bodies > 0 or (branch.real is not None and _of(branch, branch.real.state) is not None)


def message(branch: Branch, future: Branch | None) -> dict[str, Any]:
    """What is told of the present frame of a branch, and of what plays beside it: a second future, or its real game."""
    now = not branch.is_back  # of an earlier frame nothing is known any more
    dream = _of(branch, branch.world.physics()) if now else None
    if future:
        beside = _of(future, future.world.physics())
    else:
        beside = _of(branch, branch.real.state) if branch.real and now else None
    return {"type": "physics", "dream": _plain(dream), "beside": _plain(beside)}


def _of(branch: Branch, known: Any) -> "mlxworld.Physics | None":
    return mlxworld.Physics.of(branch.world.game, known)


def _plain(physics: "mlxworld.Physics | None") -> dict[str, Any] | None:
    """As JSON has it: bodies [[x, y, x ahead, y ahead], ...] in sides of the picture, energy [...], plausibility."""
    if physics is None:
        return None
    score = physics.plausibility
    return {
        "bodies": _numbers(np.concatenate([physics.place, physics.ahead], axis=1), 4),
        "energy": None if physics.energy is None else _numbers(physics.energy, 1),
        "plausibility": None if score is None else _numbers(np.array(score), 3),
    }


def _numbers(x: np.ndarray, digits: int) -> Any:
    """As plain numbers, whatever a model may say: JSON has none that are not finite."""
    return np.clip(np.nan_to_num(x), -1e9, 1e9).round(digits).tolist()
