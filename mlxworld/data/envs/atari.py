"""Atari 2600 games with their sound. A step is two frames of the console: 30 a second, 1,024 samples of sound.

The emulator gives 512 samples a frame; skipping frames would lose their sound, so every frame is stepped and heard,
and the second of two is seen. Pong's six actions are three (its RIGHT is up); other games keep their own.
"""

import re

import numpy as np

from ...errors import MlxworldError
from .source import Step, require, seeds

FRAMES = 2  # of the console, a step
SILENCE = 128
PONG = {"noop": "NOOP", "up": "RIGHT", "down": "LEFT"}


class Atari:
    """Any game that ale-py brings, by its name: "Pong", "Breakout", "SpaceInvaders". State: the console's RAM."""

    fps, samples = 30, 1024
    licence = "Atari 2600 game emulated by ale-py (GPL-2.0-only); the game belongs to its publisher"

    def __init__(self, game: str):
        ale_py = require("ale_py", "atari")
        rom = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", game).lower()
        if rom not in ale_py.roms.get_all_rom_ids():
            raise MlxworldError(f"unknown Atari game {game!r}: ale-py knows it by a name such as Breakout or MsPacman")
        self.name = "pong" if rom == "pong" else f"atari:{game}"
        ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)
        self._ale = ale_py.ALEInterface()
        self._ale.setBool("sound_obs", True)
        self._ale.setFloat("repeat_action_probability", 0.0)
        self._ale.setInt("random_seed", 0)
        self._rom = ale_py.roms.get_rom_path(rom)
        self._ale.loadROM(self._rom)
        own = {action.name: action for action in self._ale.getMinimalActionSet()}
        table = PONG if rom == "pong" else {name.lower(): name for name in own}
        self.actions = tuple(table)
        self._codes = [own[name] for name in table.values()]
        self._sound = np.empty((FRAMES, self._ale.getAudioSize()), np.uint8)

    def reset(self, seed: int) -> Step:
        """A new game, after a random short wait (the console itself knows no chance)."""
        self._ale.loadROM(self._rom)  # a reset alone would keep the sound chip's counters of the last game
        for _ in range(int(seeds(seed).integers(0, 30))):
            self._ale.act(self._codes[0])
        return self.step(0)

    def step(self, action: int) -> Step:
        """Two frames of the console: the second's picture, the sound of both."""
        for frame in range(FRAMES):
            self._ale.act(self._codes[action])
            self._sound[frame] = self._ale.getAudio()
        sound = (self._sound.reshape(-1).astype(np.float32) - SILENCE) / SILENCE
        return Step(self._ale.getScreenRGB(), sound, self._ale.game_over(), {"ram": self._ale.getRAM().copy()})

    def close(self) -> None:
        """Nothing to give back."""
