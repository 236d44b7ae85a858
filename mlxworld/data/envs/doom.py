"""Doom (ViZDoom with the free Freedoom data): a step is two tics, 17.5 a second of 1,260 samples, 22,050 a second.

Rooms to shoot or to walk in have actions of several keys; turning is exact, 4 degrees a tic. What a world model cannot
remember is not drawn: bullet holes, smoke, particles, the crosshair. Games begin after tic 40, when the growls of the
beginning are over.
"""

import contextlib
import ctypes.util
import os
import tempfile
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import MlxworldError
from .source import Step, require, seeds

TICS = 2  # a step
TURN = 4.0  # degrees a tic
START = 40  # tics before a game's first step
PROBE = 18  # steps without a single sound that no working sound system gives
CLIP = 20  # ammunition that is given where it runs out, and when
MONSTERS = 8  # of a state
SIZE = 128  # pixels of a state's boxes
SHOOTING = (
    *("noop", "left", "right", "fire", "fire+left", "fire+right", "strafe_left", "strafe_right"),
    *("fire+strafe_left", "fire+strafe_right"),
)
WALKING = (
    *("noop", "forward", "back", "left", "right", "forward+left", "forward+right", "strafe_left", "strafe_right"),
    *("fire", "forward+fire", "use"),
)
PARTS = {  # a part of an action's name: the button, and its value
    "fire": ("ATTACK", 1.0),
    "use": ("USE", 1.0),
    "forward": ("MOVE_FORWARD", 1.0),
    "back": ("MOVE_BACKWARD", 1.0),
    "strafe_left": ("MOVE_LEFT", 1.0),
    "strafe_right": ("MOVE_RIGHT", 1.0),
    "left": ("TURN_LEFT_RIGHT_DELTA", -TURN),
    "right": ("TURN_LEFT_RIGHT_DELTA", TURN),
}
BUTTONS = {"TURN_LEFT": "left", "TURN_RIGHT": "right", **{button: part for part, (button, _) in PARTS.items()}}
HITS = ("BulletPuff", "Blood", "BloodSplatter")  # what a shot leaves where it arrives
KINDS = (  # of monsters; a state names them by their place here
    *("Zombieman", "ShotgunGuy", "ChaingunGuy", "DoomImp", "Demon", "Spectre", "LostSoul", "Cacodemon"),
    *("HellKnight", "BaronOfHell", "Revenant", "Fatso", "Arachnotron", "PainElemental", "Archvile", "WolfensteinSS"),
    *("MarineChainsawVzd", "MarineChainsaw", "MarineRocket", "MarineShotgun"),
)
THINGS = (
    "Clip",
    "Shell",
    "Medikit",
    "Stimpack",
    "CustomMedikit",
    "GreenArmor",
    "BlueArmor",
    "HealthBonus",
    "ArmorBonus",
)
VARIABLES = {
    **{"x": "POSITION_X", "y": "POSITION_Y", "angle": "ANGLE", "vx": "VELOCITY_X", "vy": "VELOCITY_Y"},
    **{"health": "HEALTH", "armor": "ARMOR", "ammo": "SELECTED_WEAPON_AMMO", "weapon": "SELECTED_WEAPON"},
    **{"kills": "KILLCOUNT", "hits": "HITCOUNT", "items": "ITEMCOUNT"},
}


@dataclass(frozen=True)
class Room:
    """What differs between rooms."""

    config: str  # of ViZDoom
    actions: tuple[str, ...] = ()  # none: those of its buttons
    skill: int | None = None
    map: str | None = None
    hud: bool = False  # the smallest one
    flashes: bool = True


ROOMS = {
    "defend_the_line": Room("defend_the_line", SHOOTING),
    "deadly_corridor": Room("deadly_corridor", WALKING, skill=2, hud=True),
    "map01": Room("freedoom2", WALKING, skill=2, map="map01", hud=True),
    "health_gathering": Room("health_gathering", flashes=False),
    "health_gathering_supreme": Room("health_gathering_supreme", flashes=False),
}


def has_openal() -> bool:
    """Whether the system library that gives Doom its sound can be loaded."""
    name = ctypes.util.find_library("openal")
    try:
        return name is not None and ctypes.CDLL(name) is not None
    except OSError:
        return False


class Doom:
    """A room by name: "defend_the_line", "deadly_corridor", "map01" (Freedoom's), or any scenario of ViZDoom.

    State: x, y, angle, vx, vy, health, armor, ammo, weapon, kills, hits, items; shot, whether a bullet has arrived
    during the step; monsters (8, 6): the largest in sight, their boxes' x, y, w, h in pixels of 128, id, and kind by
    KINDS (zeros and kind -1 where there are fewer); things (4, 4): the boxes of what can be taken; room (3,): how far
    one sees to the left, ahead, to the right, 0 to 255; rare: hurt, or a monster killed, or the beginning.

    Without the system library libopenal ViZDoom gives silence and no error: that raises MlxworldError here. Some
    configurations hang in ViZDoom itself: the recorder ends a world that does not answer.
    """

    actions: tuple[str, ...]
    fps, samples = 17.5, 1260
    licence = "Freedoom data (BSD-3-Clause), ViZDoom (MIT)"

    def __init__(self, scenario: str):
        self._vizdoom: Any = require("vizdoom", "doom")
        path = self._vizdoom.scenarios_path
        known = sorted({f.removesuffix(".cfg") for f in os.listdir(path) if f.endswith(".cfg")} | set(ROOMS))
        if scenario not in known:
            raise MlxworldError(f"unknown Doom scenario {scenario!r}: choose one of {', '.join(known)}")
        self.name, self._room = f"doom:{scenario}", ROOMS.get(scenario, Room(scenario))
        self._scratch = tempfile.TemporaryDirectory(prefix="mlxworld-doom-")  # ViZDoom writes settings as it starts
        self._game = self._start(os.path.join(path, f"{self._room.config}.cfg"))
        buttons = [button.name for button in self._game.get_available_buttons()]
        self._press = [self._pressed(buttons, action) for action in self.actions]
        self._last: np.ndarray | None = None
        self._before: dict[str, np.ndarray] = {}
        self._hits: set[int] = set()
        self._silent: int | None = 0  # steps without any sound so far; None once there was one

    def _pressed(self, buttons: list[str], action: str) -> list[float]:
        """The buttons' values of an action."""
        values = {PARTS[part][0]: PARTS[part][1] for part in action.split("+") if part in PARTS}
        values |= {"SPEED": 1.0} if {"MOVE_FORWARD", "MOVE_BACKWARD", "MOVE_LEFT", "MOVE_RIGHT"} & set(values) else {}
        values |= {action.upper(): 1.0}
        return [values.get(button, 0.0) for button in buttons]

    def _start(self, config: str) -> Any:
        v, game = self._vizdoom, self._vizdoom.DoomGame()
        try:
            game.load_config(config)
            self._settle(game)
            with contextlib.chdir(self._scratch.name):  # the game makes a folder where it starts
                game.init()
        except (v.ViZDoomErrorException, v.ViZDoomUnexpectedExitException, v.FileDoesNotExistException) as error:
            raise MlxworldError(f"{self.name}: ViZDoom does not start ({str(error).splitlines()[0]})") from error
        return game

    def _settle(self, game: Any) -> None:
        """The settings of a game that has not begun, and its actions."""
        v, room = self._vizdoom, self._room
        own = [button.name for button in game.get_available_buttons()]
        self.actions = room.actions or (
            "noop",
            *dict.fromkeys(str(BUTTONS.get(b, b.lower())) for b in own if b != "SPEED"),
        )
        extra = [b for b in own if b not in BUTTONS and b != "SPEED"]
        used = dict.fromkeys(PARTS[p][0] for action in self.actions for p in action.split("+") if p in PARTS)
        game.set_available_buttons([getattr(v.Button, name) for name in [*used, "SPEED", *extra]])
        game.set_doom_config_path(os.path.join(self._scratch.name, "vizdoom.ini"))
        game.add_game_args("+snd_efx 0")  # reverb makes OpenAL 1.19 abort now and then
        game.set_window_visible(False)
        game.set_mode(v.Mode.PLAYER)
        game.set_screen_format(v.ScreenFormat.RGB24)
        game.set_screen_resolution(v.ScreenResolution.RES_320X240)
        for name in ("decals", "particles", "effects_sprites", "crosshair", "messages"):
            getattr(game, f"set_render_{name}")(False)
        game.set_render_hud(room.hud)
        game.set_render_minimal_hud(room.hud)
        game.set_render_screen_flashes(room.flashes)
        game.set_labels_buffer_enabled(True)
        game.set_depth_buffer_enabled(True)
        game.set_objects_info_enabled(True)
        game.set_automap_buffer_enabled(False)
        game.set_episode_start_time(START)
        game.set_sound_enabled(True)
        game.set_audio_buffer_enabled(True)
        game.set_audio_sampling_rate(v.SamplingRate.SR_22050)
        game.set_audio_buffer_size(TICS)
        if room.skill is not None:
            game.set_doom_skill(room.skill)
        if room.map is not None:
            game.set_doom_map(room.map)

    def reset(self, seed: int) -> Step:
        """A new game of the room."""
        self._game.set_seed(int(seeds(seed).integers(2**31)))
        self._game.new_episode()
        self._before = {}
        return self._see()

    def step(self, action: int) -> Step:
        """Two tics with the action's buttons pressed."""
        if self._room.actions and self._before["ammo"] < CLIP:
            self._game.send_game_command(f"give clip {CLIP}")
        try:
            self._game.make_action(self._press[action], TICS)
        except self._vizdoom.ViZDoomUnexpectedExitException as error:
            raise MlxworldError(f"{self.name}: ViZDoom ended unexpectedly") from error
        return self._see()

    def _see(self) -> Step:
        state = self._game.get_state()
        if state is None:  # the last tic of a game shows nothing: keep the picture, without sound
            picture = self._last if self._last is not None else np.zeros((240, 320, 3), np.uint8)
            still = self._before | {"shot": np.array(False), "rare": np.array(True)}
            return Step(picture, np.zeros(self.samples, np.float32), True, still if self._before else {})
        self._last = np.array(state.screen_buffer)
        sound = np.asarray(state.audio_buffer, np.float32).mean(1) / 32768
        self._hear(bool(sound.any()))
        self._before = self._state(state)
        return Step(self._last, sound, self._game.is_episode_finished(), self._before)

    def _state(self, state: Any) -> dict[str, np.ndarray]:
        variables = self._vizdoom.GameVariable
        now = {
            name: np.array(self._game.get_game_variable(getattr(variables, variable)), np.float32)
            for name, variable in VARIABLES.items()
        }
        hits = {thing.id for thing in state.objects if thing.name in HITS}
        past, self._hits = self._hits if self._before else hits, hits
        scale = np.array([SIZE / 320, SIZE / 240] * 2)
        boxes = {"monsters": np.zeros((MONSTERS, 6), np.float32), "things": np.zeros((4, 4), np.float32)}
        boxes["monsters"][:, 5] = -1
        labels = sorted(state.labels, key=lambda label: -label.width * label.height)
        for name, known in (("monsters", KINDS), ("things", THINGS)):
            visible = [label for label in labels if label.object_name in known][: len(boxes[name])]
            for row, label in zip(boxes[name], visible, strict=False):
                row[:4] = scale * (label.x, label.y, label.width, label.height)
                row[4:] = (label.object_id, known.index(label.object_name))[: len(row) - 4]
        thirds = np.array_split(np.asarray(state.depth_buffer)[100:140], 3, axis=1)
        room = np.array([np.median(third) for third in thirds], np.float32)
        before = self._before
        rare = not before or now["health"] < before["health"] or now["kills"] > before["kills"]
        return now | boxes | {"shot": np.array(bool(hits - past)), "room": room, "rare": np.array(bool(rare))}

    def _hear(self, heard: bool) -> None:
        if self._silent is None:
            return
        self._silent = None if heard else self._silent + 1
        if self._silent == PROBE:
            raise MlxworldError(
                "Doom is silent: the system library OpenAL is missing (Debian: apt install libopenal1; "
                "Mac: brew install openal-soft)"
            )

    def close(self) -> None:
        """End the game's process and remove what it wrote."""
        self._game.close()
        self._scratch.cleanup()
