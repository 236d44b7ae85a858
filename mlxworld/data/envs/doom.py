"""Doom (ViZDoom with the free Freedoom data): 35 steps a second of 630 samples of sound, 22,050 a second."""

import contextlib
import ctypes.util
import os
import tempfile

import numpy as np

from ...errors import MlxworldError
from .source import Step, require, seeds

_PROBE = 35  # tics without a single sound that no working sound system gives


def has_openal() -> bool:
    """Whether the system library that gives Doom its sound can be loaded."""
    name = ctypes.util.find_library("openal")
    try:
        return name is not None and ctypes.CDLL(name) is not None
    except OSError:
        return False


class Doom:
    """A scenario of ViZDoom by name: "defend_the_center", "basic", "deadly_corridor". One button is one action.

    Without the system library libopenal ViZDoom gives silence and no error: that raises MlxworldError here. Some
    configurations hang in ViZDoom itself: the recorder ends a world that does not answer.
    """

    fps, samples = 35, 630
    licence = "Freedoom data (BSD-3-Clause), ViZDoom (MIT)"

    def __init__(self, scenario: str):
        self._vizdoom = require("vizdoom", "doom")
        known = sorted(
            file.removesuffix(".cfg") for file in os.listdir(self._vizdoom.scenarios_path) if file.endswith(".cfg")
        )
        if scenario not in known:
            raise MlxworldError(f"unknown Doom scenario {scenario!r}: choose one of {', '.join(known)}")
        self.name = f"doom:{scenario}"
        self._config = os.path.join(self._vizdoom.scenarios_path, f"{scenario}.cfg")
        self._scratch = tempfile.TemporaryDirectory(prefix="mlxworld-doom-")  # ViZDoom writes settings as it starts
        self._game = self._start()
        names = [button.name.lower() for button in self._game.get_available_buttons()]
        self._press = [[0.0] * len(names)] + [[float(i == j) for j in range(len(names))] for i in range(len(names))]
        self.actions: tuple[str, ...] = ("noop", *names)
        self._last: np.ndarray | None = None
        self._silent: int | None = 0  # tics without any sound so far; None once there was one

    def _start(self):
        v = self._vizdoom
        game = v.DoomGame()
        try:
            game.load_config(self._config)
            game.set_doom_config_path(os.path.join(self._scratch.name, "vizdoom.ini"))
            game.add_game_args("+snd_efx 0")  # reverb makes OpenAL 1.19 abort now and then
            game.set_window_visible(False)
            game.set_mode(v.Mode.PLAYER)
            game.set_screen_format(v.ScreenFormat.RGB24)
            game.set_screen_resolution(v.ScreenResolution.RES_160X120)
            game.set_sound_enabled(True)
            game.set_audio_buffer_enabled(True)
            game.set_audio_sampling_rate(v.SamplingRate.SR_22050)
            game.set_audio_buffer_size(1)
            with contextlib.chdir(self._scratch.name):  # the game makes a folder where it starts
                game.init()
        except (v.ViZDoomErrorException, v.ViZDoomUnexpectedExitException, v.FileDoesNotExistException) as error:
            raise MlxworldError(f"{self.name}: ViZDoom does not start ({str(error).splitlines()[0]})") from error
        return game

    def reset(self, seed: int) -> Step:
        """A new episode of the scenario."""
        self._game.set_seed(int(seeds(seed).integers(2**31)))
        self._game.new_episode()
        return self._see()

    def step(self, action: int) -> Step:
        """One tic with one button pressed (or none)."""
        try:
            self._game.make_action(self._press[action])
        except self._vizdoom.ViZDoomUnexpectedExitException as error:
            raise MlxworldError(f"{self.name}: ViZDoom ended unexpectedly") from error
        return self._see()

    def _see(self) -> Step:
        state = self._game.get_state()
        if state is None:  # the last tic of an episode shows nothing: keep the picture, without sound
            picture = self._last if self._last is not None else np.zeros((120, 160, 3), np.uint8)
            return Step(picture, np.zeros(self.samples, np.float32), True)
        self._last = np.array(state.screen_buffer)
        sound = np.asarray(state.audio_buffer, np.float32).mean(1) / 32768
        self._hear(bool(sound.any()))
        return Step(self._last, sound, self._game.is_episode_finished())

    def _hear(self, heard: bool) -> None:
        if self._silent is None:
            return
        self._silent = None if heard else self._silent + 1
        if self._silent == _PROBE:
            raise MlxworldError(
                "Doom is silent: the system library OpenAL is missing (Debian: apt install libopenal1; "
                "Mac: brew install openal-soft)"
            )

    def close(self) -> None:
        """End the game's process and remove what it wrote."""
        self._game.close()
        self._scratch.cleanup()
