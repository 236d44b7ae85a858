"""The told world: one or two things slide through a room and are heard where they hit a wall; words say all of it.

A scene is a function of its seed. Some combinations of colour, shape and place are held out of those for learning.
`later` is a scene some time on; `burn_down` draws a candle, by which a clip's time of day can be seen.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from .source import Step, seeds

SIZE, FRAMES, FPS, SAMPLES = 64, 16, 8, 2048
RATE = FPS * SAMPLES
COLOURS = {
    "red": (230, 60, 60),
    "green": (70, 200, 90),
    "blue": (70, 110, 240),
    "yellow": (240, 210, 60),
    "purple": (180, 80, 220),
    "white": (240, 240, 240),
}
SHAPES = ("ball", "square", "diamond")
PLACES = ("top left", "top right", "bottom left", "bottom right")
NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
BACK, RADIUS = (24, 26, 40), 8.0
BOX = 24  # pixels across a square that any thing fits in
APART = 0.1  # seconds, at least, between two impacts
PITCH = (330.0, 520.0, 820.0)  # Hz, of each shape
DAY = 600.0  # seconds that a candle burns
CANDLE = (255, 170, 90)


@dataclass(frozen=True)
class Thing:
    colour: int
    shape: int
    place: int  # at first
    path: np.ndarray  # (FRAMES, 2), of its middle: x and y, pixels
    hits: tuple[float, ...]  # seconds at which it hits a wall
    start: np.ndarray  # (2,), of its middle when the scene began, pixels
    speed: np.ndarray  # (2,), then, pixels a second

    @property
    def held_out(self) -> bool:
        """Whether no scene for learning has this colour, shape and place together; each two of them are learnt."""
        return (self.colour + 2 * self.shape + self.place) % 6 == 0


@dataclass(frozen=True)
class Scene:
    things: tuple[Thing, ...]

    @property
    def hits(self) -> list[float]:
        """Seconds of all impacts, in order."""
        return sorted(t for thing in self.things for t in thing.hits)

    @property
    def held_out(self) -> bool:
        """Whether a thing in it is a combination that is not learnt."""
        return any(thing.held_out for thing in self.things)


def make_scene(seed: int, held_out: bool | None = False) -> Scene:
    """The scene of a seed. held_out: with a combination that is not learnt, without, or None: as it comes."""
    rng = seeds(seed)
    while True:
        n = int(rng.integers(1, 3))
        colours, places = rng.permutation(len(COLOURS)), rng.permutation(len(PLACES))
        things = (_thing(int(c), int(p), rng) for c, p in zip(colours[:n], places[:n], strict=True))
        scene = Scene(tuple(sorted(things, key=lambda t: t.place)))
        if (held_out is None or scene.held_out == held_out) and _told_apart(scene.hits):
            return scene


def _told_apart(hits: list[float]) -> bool:
    """Whether each impact can be heard for itself, before the end."""
    return bool((np.diff([*hits, FRAMES / FPS]) > APART).all())


def _thing(colour: int, place: int, rng: np.random.Generator) -> Thing:
    """A thing of a colour in a place, of any shape and speed."""
    low, high = RADIUS, SIZE - RADIUS
    middle = np.array([SIZE / 4 + SIZE / 2 * (place % 2), SIZE / 4 + SIZE / 2 * (place // 2)])
    start = np.clip(middle + rng.uniform(-6, 6, 2), low, high)
    speed = rng.uniform(0, 40, 2) * rng.choice([-1, 1], 2)
    path, hits = _slid(start, speed)
    return Thing(colour, int(rng.integers(len(SHAPES))), place, path, hits, start, speed)


def _slid(start: np.ndarray, speed: np.ndarray, begin: float = 0.0) -> tuple[np.ndarray, tuple[float, ...]]:
    """Where a thing is from second `begin` on, and when it hits a wall, counted from there. The speed of each axis is
    constant between walls, so its path is a folded line."""
    low, room = RADIUS, SIZE - 2 * RADIUS
    t = np.arange(FRAMES)[:, None] / FPS + begin
    x = (start - low + speed * t) % (2 * room)
    path = low + np.where(x > room, 2 * room - x, x)
    ends = (start - low + speed * begin, start - low + speed * (begin + FRAMES / FPS))
    hits = []
    for axis in range(2):
        first, last = sorted(end[axis] / room for end in ends)
        walls = np.arange(np.ceil(first), np.floor(last) + 1)
        if abs(speed[axis]) > 1e-6:
            hits += [(wall * room - ends[0][axis]) / speed[axis] for wall in walls]
    return path, tuple(sorted(map(float, hits)))


def later(scene: Scene, seconds: float) -> Scene:
    """The scene some seconds on, as one clip. `place` still says where a thing was at first: what `tell` says of it is
    of the first clip alone."""
    moved = ((thing, *_slid(thing.start, thing.speed, seconds)) for thing in scene.things)
    return Scene(tuple(replace(thing, path=path, hits=hits) for thing, path, hits in moved))


def burn_down(video: np.ndarray, time: float) -> None:
    """Draws a candle of the left wall into a video (T, H, W, 3) uint8: four columns wide, as high as the room at time 0
    and gone at DAY seconds."""
    top = SIZE * min(max(time / DAY, 0.0), 1.0)
    cover = np.clip(np.arange(1, SIZE + 1) - top, 0, 1)[:, None, None]
    video[:, :, :4] = (video[:, :, :4] * (1 - cover) + np.array(CANDLE) * cover + 0.5).astype(np.uint8)


def draw(scenes: Sequence[Scene]) -> np.ndarray:
    """The videos (B, FRAMES, SIZE, SIZE, 3) uint8 of scenes. Drawn together, in few large operations, they leave
    Python's lock to other threads."""
    video = np.empty((len(scenes), FRAMES, SIZE, SIZE, 3), np.float32)
    video[:] = BACK
    colours = np.array(list(COLOURS.values()), np.float32)
    for layer in range(max(len(scene.things) for scene in scenes)):
        for shape in range(len(SHAPES)):
            rows = [i for i, s in enumerate(scenes) if len(s.things) > layer and s.things[layer].shape == shape]
            things = [scenes[i].things[layer] for i in rows]
            if things:
                paths = np.stack([thing.path for thing in things]).astype(np.float32)
                _paint(video, np.array(rows), paths, shape, colours[[thing.colour for thing in things]])
    return (video + np.float32(0.5)).astype(np.uint8)


def _paint(video: np.ndarray, rows: np.ndarray, paths: np.ndarray, shape: int, colours: np.ndarray) -> None:
    """Draws a thing into each of these rows of videos, along paths (N, FRAMES, 2), in colours (N, 3)."""
    corner = np.clip(paths - BOX / 2, 0, SIZE - BOX).astype(int)  # of the square around it, in each frame
    at = corner[..., None] + np.arange(BOX)  # columns and rows of pixels, (N, FRAMES, 2, BOX)
    away = np.abs(at.astype(np.float32) + 0.5 - paths[..., None])
    dx, dy = away[:, :, 0, None, :], away[:, :, 1, :, None]
    far = (np.hypot(dx, dy), np.maximum(dx, dy) * 1.12, (dx + dy) * 0.78)[shape]
    cover = np.clip(RADIUS - far + 0.5, 0, 1)[..., None]
    frame = np.arange(FRAMES)[:, None, None]
    square = (rows[:, None, None, None], frame, at[:, :, 1, :, None], at[:, :, 0, None, :])
    video[square] += cover * (colours[:, None, None, None] - video[square])


def sound(scene: Scene) -> np.ndarray:
    """The sound (FRAMES, SAMPLES) float32: a decaying tone at each impact, as high as its shape is pointed."""
    wave, t = np.zeros(FRAMES * SAMPLES, np.float32), np.arange(RATE // 4, dtype=np.float32) / RATE
    for thing in scene.things:
        tone = 0.5 * np.exp(-25 * t) * np.sin(2 * np.pi * PITCH[thing.shape] * t)
        for hit in thing.hits:
            first = min(int(hit * RATE), len(wave) - 1)
            wave[first : first + len(tone)] += tone[: len(wave) - first]
    return np.tanh(wave).reshape(FRAMES, SAMPLES)


def tell(scene: Scene) -> str:
    """Who is there, and how many impacts are heard."""
    names = list(COLOURS)
    who = [f"a {names[t.colour]} {SHAPES[t.shape]} at the {PLACES[t.place]}" for t in scene.things]
    n = len(scene.hits)
    return f"{' and '.join(who)}. {NUMBERS[min(n, 9)]} impact{'' if n == 1 else 's'}."


def transcript(scene: Scene) -> list[tuple[float, float, str]]:
    """Timed lines (start, end, text): who is there, each impact, then questions and their answers."""
    names, end = list(COLOURS), FRAMES / FPS
    lines = [(0.0, end, tell(scene))]
    for hit, thing in sorted(((h, t) for t in scene.things for h in t.hits), key=lambda pair: pair[0]):
        lines.append((hit, min(hit + 0.25, end), f"the {names[thing.colour]} {SHAPES[thing.shape]} hits a wall"))
    for thing in scene.things:
        place, shape, colour = PLACES[thing.place], SHAPES[thing.shape], names[thing.colour]
        lines.append((0.0, end, f"what is at the {place}? a {colour} {shape}"))
        lines.append((0.0, end, f"where is the {colour} {shape}? at the {place}"))
    return lines


class Scenes:
    """The told world as a source to record. State: things (2, 3), colour, shape and place of each, -1 where there is
    none; hits (2,), how often each has hit a wall so far."""

    name, fps, samples, licence = "scenes", FPS, SAMPLES, "CC0-1.0"
    actions: tuple[str, ...] = ("noop",)

    def reset(self, seed: int) -> Step:
        """A new scene."""
        self.scene, self._t = make_scene(seed), 0
        self._video, self._sound = draw([self.scene])[0], sound(self.scene)
        return self._see()

    def step(self, action: int) -> Step:
        """The next eighth of a second."""
        self._t += 1
        return self._see()

    def _see(self) -> Step:
        t, facts, hits = self._t, np.full((2, 3), -1), np.zeros(2, np.int32)
        for i, thing in enumerate(self.scene.things):
            facts[i] = thing.colour, thing.shape, thing.place
            hits[i] = sum(hit < (t + 1) / FPS for hit in thing.hits)
        return Step(self._video[t], self._sound[t], t == FRAMES - 1, {"things": facts, "hits": hits})

    def transcript(self) -> list[tuple[float, float, str]]:
        """Of the present scene: see `transcript`."""
        return transcript(self.scene)

    def close(self) -> None:
        """Nothing to give back."""
