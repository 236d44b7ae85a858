"""Jumper: run to the right, jump over lava, collect coins, land on slimes. 30 steps a second of 1,024 samples.

It ends in lava, without lives, or at the level's end. Pictures and sounds are Kenney's (CC0, assets/LICENCE.txt).
"""

import functools
import io
import wave
from importlib import resources

import numpy as np

from ..source import Step, seeds
from .body import HEIGHT, Body
from .level import COLUMNS, ROWS, SLIMES, TILE, draw_level
from .paint import HIGH, SIZE, WIDE, hearts, paste, sprites, strip

LIVES = 3
HURT = 30  # steps in which one cannot be hurt again
BOUNCE = -4.5  # from a slime
LEFT = 56  # of the picture, where the player stands
CREEP = 0.6  # of a slime, pixels a step
SOUNDS = ("jump", "coin", "stomp", "hurt", "lose")
LOUD = 0.6
SEEN = SIZE // TILE + 1  # columns of tiles in a picture


@functools.cache
def sound(name: str) -> np.ndarray:
    """A sound (samples,) float32, 30,720 a second."""
    data = resources.files("mlxworld.data.envs.jumper").joinpath("assets", f"{name}.wav").read_bytes()
    with wave.open(io.BytesIO(data)) as file:
        return LOUD * np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float32) / 32768


class Jumper:
    """The player keeps its place in the picture and the level scrolls.

    State: x, y (of the player's middle and head, pixels of the level), vx, vy, ground (whether it stands), camera (the
    picture's left edge), lives, coins (those left), slimes (SLIMES, 3: x, y, alive), tiles (8, 9: those in the picture,
    the first column at camera // 16), a flag for each sound that begins: jump, coin, stomp, hurt, lose; and rare, hurt
    or lose or the beginning of a level.
    """

    name, fps, samples = "jumper", 30, 1024
    licence = "CC0-1.0 (pictures and sounds by Kenney)"
    actions: tuple[str, ...] = ("noop", "left", "right", "jump", "left+jump", "right+jump")
    _MOVES = tuple((("right" in name) - ("left" in name), "jump" in name) for name in actions)

    def reset(self, seed: int) -> Step:
        """A new level."""
        self._level = draw_level(seeds(seed))
        self._strip, self._body = strip(self._level), Body()
        self._coins = [tuple(coin) for coin in self._level.coins.tolist()]
        self._slimes = [[x, y, CREEP, left, right, True] for x, y, left, right in self._level.slimes.tolist()]
        self._lives, self._hurt, self._time, self._done = LIVES, 0, 0, False
        self._voices: list[np.ndarray] = []
        self._events: set[str] = set()
        return self._see()

    def step(self, action: int) -> Step:
        """One thirtieth of a second."""
        self._events, self._time, self._hurt = set(), self._time + 1, max(0, self._hurt - 1)
        body, (along, jump) = self._body, self._MOVES[action]
        if body.move(self._level.tiles, along, jump):
            self._begin("jump")
        for coin in [c for c in self._coins if self._touches(c[0] * TILE + 8, c[1] * TILE + 8, 11, 12, 16)]:
            self._coins.remove(coin)
            self._begin("coin")
        for slime in self._slimes:
            self._creep(slime)
        if body.y > SIZE - 8 or self._lives == 0:
            self._begin("lose")
            self._done = True
        self._done |= body.x > (COLUMNS - 1) * TILE
        return self._see()

    def _touches(self, x: float, y: float, middle: float, near: float, high: float) -> bool:
        """Whether a thing's middle is near the player, at `middle` below its head."""
        return abs(x - self._body.x) < near and abs(y - self._body.y - middle) < high

    def _creep(self, slime: list) -> None:
        x, y, speed, left, right, alive = slime
        if not alive:
            return
        slime[0] = x = x + speed
        if not left <= x <= right:
            slime[2] = abs(speed) if x < left else -abs(speed)
        if self._touches(x + 8, y + 8, 14, 12, 12):
            if self._body.vy > 1:
                slime[5], self._body.vy = False, BOUNCE
                self._begin("stomp")
            elif self._hurt == 0:
                self._hurt, self._lives, self._body.vx = HURT, self._lives - 1, -self._body.face * 2.8
                self._begin("hurt")

    def _begin(self, name: str) -> None:
        self._events.add(name)
        self._voices.append(sound(name))

    def _see(self) -> Step:
        body, camera = self._body, int(np.clip(self._body.x - LEFT, 0, COLUMNS * TILE - SIZE))
        slimes = np.full((SLIMES, 3), -1.0, np.float32)
        slimes[:, 2] = 0
        for i, (x, y, *_, alive) in enumerate(self._slimes):
            slimes[i] = x, y, alive
        column = camera // TILE
        tiles = np.zeros((ROWS, SEEN), np.int8)
        tiles[:, : COLUMNS - column] = self._level.tiles[:, column : column + SEEN]
        numbers = {"x": body.x, "y": body.y, "vx": body.vx, "vy": body.vy}
        state = {name: np.float32(value) for name, value in numbers.items()}
        state |= {"ground": np.bool_(body.ground), "camera": np.int32(camera), "lives": np.int8(self._lives)}
        state |= {"coins": np.int16(len(self._coins)), "slimes": slimes, "tiles": tiles}
        state |= {name: np.bool_(name in self._events) for name in SOUNDS}
        state["rare"] = np.bool_(self._time == 0 or bool(self._events & {"hurt", "lose"}))
        return Step(self._draw(camera), self._sound(), self._done, {k: np.asarray(x) for k, x in state.items()})

    def _draw(self, camera: int) -> np.ndarray:
        canvas, body, art = self._strip[:, camera : camera + SIZE].copy(), self._body, sprites()
        for column, row in self._coins:
            if -TILE < column * TILE - camera < SIZE:
                paste(canvas, art["coin"], column * TILE - camera, row * TILE)
        for x, y, *_, alive in self._slimes:
            if alive and -TILE < x - camera < SIZE:
                paste(canvas, art[f"slime{self._time // 8 % 2}"], x - camera, y)
        if body.ground:
            pose = "idle" if abs(body.vx) < 0.3 else f"walk{int(body.x // 5) % 8}"
        else:
            pose = "jump" if body.vy < 0 else "fall"
        if self._hurt // 4 % 2 == 0:
            paste(canvas, art[pose][:, :: body.face], body.x - camera - WIDE // 2, body.y - (HIGH - HEIGHT))
        hearts(canvas, self._lives)
        return np.clip(canvas + 0.5, 0, 255).astype(np.uint8)

    def _sound(self) -> np.ndarray:
        """The next frame of sound (S,): what has begun goes on."""
        mixed = np.zeros(self.samples, np.float32)
        for voice in self._voices:
            mixed[: len(voice)] += voice[: self.samples]
        self._voices = [voice[self.samples :] for voice in self._voices if len(voice) > self.samples]
        return np.tanh(mixed)

    def close(self) -> None:
        """Nothing to give back."""
