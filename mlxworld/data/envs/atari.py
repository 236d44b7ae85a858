"""Atari 2600 games with their sound. A step is two frames of the console: 30 a second, 1,024 samples of sound.

The emulator gives 512 samples a frame; skipping frames would lose their sound, so every frame is stepped and heard,
and the second of two is seen. Pong's six actions are three (its RIGHT is up); other games keep their own.

A game of Pong takes minutes, and most players see its first points only. So "pong" begins at any score, all of them
equally often; "atari:Pong" is the same game from 0 to 0.
"""

import re
from typing import Any

import numpy as np

from ...errors import MlxworldError
from .source import Step, require, seeds

FRAMES = 2  # of the console, a step
SILENCE = 128
PONG = {"noop": "NOOP", "up": "RIGHT", "down": "LEFT"}
SCORES, LAST = (13, 14), 21  # places in Pong's RAM; the points that win
ONES, ONE = (69, 71), 207  # of the scores' last digits as they are drawn, and what draws a 1


class Atari:
    """Any game that ale-py brings, by its name: "Pong", "Breakout", "SpaceInvaders".

    State: ram, the console's (128,); of Pong also rare, whether a point is made or a game begins.
    """

    fps, samples = 30, 1024
    licence = "Atari 2600 game emulated by ale-py (GPL-2.0-only); the game belongs to its publisher"

    def __init__(self, game: str, any_score: bool = False):
        """any_score: Pong begins at one that is drawn."""
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
        self._any_score = any_score and rom == "pong"
        self._points: tuple[int, ...] | None = None

    def reset(self, seed: int) -> Step:
        """A new game, after a random short wait (the console itself knows no chance)."""
        return self._begin(seed, self._any_score)

    def follow(self, seed: int) -> Step:
        """The game after one that has ended: from 0 to 0."""
        return self._begin(seed, False)

    def _begin(self, seed: int, any_score: bool) -> Step:
        self._ale.loadROM(self._rom)  # a reset alone would keep the sound chip's counters of the last game
        rng = seeds(seed)
        for _ in range(int(rng.integers(0, 30))):
            self._ale.act(self._codes[0])
        if any_score:
            for place in SCORES:
                self._ale.setRAM(place, int(rng.integers(LAST)))
        self._points = None
        return self.step(0)

    def snapshot(self) -> Any:
        """The present moment, for `restore`; of sound it has none."""
        return self._ale.cloneState(), self._points

    def restore(self, moment: Any) -> None:
        """Goes back to a moment, which can be used again."""
        state, self._points = moment
        self._ale.restoreState(state)

    def step(self, action: int) -> Step:
        """Two frames of the console: the second's picture, the sound of both."""
        before = self._ale.cloneState() if self._points and max(self._points) == LAST - 1 else None
        for frame in range(FRAMES):
            self._ale.act(self._codes[action])
            self._sound[frame] = self._ale.getAudio()
        sound = (self._sound.reshape(-1).astype(np.float32) - SILENCE) / SILENCE
        ram, done = self._ale.getRAM().copy(), self._ale.game_over()
        picture = self._last_point(before, ram, action) if done and before is not None else self._ale.getScreenRGB()
        return Step(picture, sound, done, {"ram": ram} | self._rare(ram))

    def _rare(self, ram: np.ndarray) -> dict[str, np.ndarray]:
        """Of Pong: whether the points have changed, or the game begins."""
        if self.name != "pong":
            return {}
        before, self._points = self._points, tuple(int(ram[place]) for place in SCORES)
        return {"rare": np.array(self._points != before)}

    def _last_point(self, before: Any, ram: np.ndarray, action: int) -> np.ndarray:
        """The picture with the point that ends the game. The emulator stops before it draws it: so the step is played
        again from `before`, one point earlier, and its digit drawn by hand."""
        side = int(ram[SCORES[1]] == LAST)
        self._ale.restoreState(before)
        self._ale.setRAM(SCORES[side], LAST - 2)
        for _ in range(FRAMES):
            self._ale.act(self._codes[action])
        self._ale.setRAM(ONES[side], ONE)
        self._ale.act(self._codes[action])
        return self._ale.getScreenRGB()

    def close(self) -> None:
        """Nothing to give back."""
