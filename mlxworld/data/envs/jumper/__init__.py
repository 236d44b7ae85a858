"""A platformer of our own that scrolls sideways: `Jumper`. Every level is drawn from its seed.

level.py   the level: tiles, coins, slimes
body.py    how what runs and jumps moves among tiles
paint.py   its pictures
game.py    the source: rules, sounds, state
"""

from .game import Jumper

__all__ = ["Jumper"]
