"""What a page may press in a world, as numbers: one for each action, or the set of names that are held together.

A world of buttons and axes takes several of its names at once: the number of a set has bit i - 1 for name i, so that 0
does nothing in every world. Its log holds the same numbers.
"""

from typing import Any

import mlxworld

MOST_NAMES = 16
"""Names that can be held together: the rest of a larger world cannot be pressed."""


def together(world: "mlxworld.World") -> bool:
    """Whether several of the world's names go at once."""
    space = getattr(world, "action_space", None)
    return bool(space is not None and space.shape)


def count(world: "mlxworld.World") -> int:
    """Numbers that can be pressed, 0 included."""
    names = len(world.actions)
    return 1 << min(names - 1, MOST_NAMES) if together(world) else names


def meant(world: "mlxworld.World", number: int) -> Any:
    """What `World.step` takes for a number."""
    if not together(world):
        return number
    return {name for i, name in enumerate(world.actions[1:]) if number >> i & 1}


def number_of(world: "mlxworld.World", action: int) -> int:
    """The number of a single action, given by its index."""
    if not together(world):
        return action
    return 1 << (action - 1) if 0 < action <= MOST_NAMES else 0
