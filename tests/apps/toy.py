"""A stand-in for World with the same interface: exact, quick, and strict about how the app uses it.

A square falls from side to side and moves with the action; where it meets a border the world beeps. Every world must be
used on the thread that made it, as MLX asks.
"""

import hashlib
import threading
import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

import mlxworld
from apps.play.action_log import label
from mlxworld import MlxworldError

COLOURS = np.array([[255, 176, 92], [120, 200, 255], [160, 235, 150], [240, 140, 180]], np.uint8)


@dataclass(frozen=True)
class ToyFrame:
    video: np.ndarray
    audio: np.ndarray
    index: int
    model_ms: float


@dataclass(frozen=True)
class State:
    index: int
    x: int
    y: int
    dx: int
    dy: int
    beep: int  # frames of sound left
    colour: int


class ToyWorld:
    """A world of 128 x 128 at 30 frames/s with 1024 samples each; `delay` makes it slow (seconds a frame)."""

    actions = ("noop", "up", "down")
    keys = {"ArrowUp": "up", "KeyW": "up", "ArrowDown": "down", "KeyS": "down"}  # noqa: RUF012
    fps, samples, sample_rate, size, starts = 30, 1024, 30720, (128, 128), 3
    device = "cpu"
    weights: str | None = None
    hooks: tuple = ()
    delay = 0.0
    bodies, aspect = 0, 1.0

    def __init__(self, name: str, backend: str, precision: str, steps: int):
        self.name, self.backend, self.precision, self.steps = name, backend, precision, steps
        self.game = label(name)
        self._thread = threading.get_ident()
        self._state = State(0, 0, 0, 0, 0, 0, 0)

    @classmethod
    def load(cls, name: str, backend=None, batch=1, precision=None, weights=None, steps=None, hooks=()) -> Any:
        if name == "broken":
            raise MlxworldError("unknown world 'broken': choose one of pong, doom")
        if steps is not None and 8 % steps:
            raise MlxworldError("dynamics.steps must divide dynamics.levels")
        world = cls(name, backend or "torch", precision or "float32", steps or 2)
        world.weights, world.hooks = weights, hooks
        return world

    @property
    def digest(self) -> str:
        """Of what the world is, wherever it was loaded from."""
        return hashlib.sha256(self.name.replace("\\", "/").split("/")[-1].encode()).hexdigest()

    def reset(self, seed=7, context=None) -> ToyFrame:
        self._check()
        if isinstance(context, np.ndarray | mlxworld.Clip):
            return self._seen(context if isinstance(context, np.ndarray) else context.video[-1])
        if context is not None and not 0 <= context < self.starts:
            raise MlxworldError(f"start clip {context} does not exist: this world has {self.starts}")
        draw = np.random.default_rng([seed, 0 if context is None else context + 1])
        x, y, colour = (int(value) for value in draw.integers([16, 16, 0], [100, 100, 4]))
        self._state = State(0, x, y, 2, 1, 0, colour)
        return self._frame(0.0)

    def _seen(self, picture: np.ndarray) -> ToyFrame:
        """Begin where a picture shows something bright."""
        y, x = np.argwhere(picture.sum(axis=2) > 300).min(axis=0)
        self._state = State(0, min(int(x), 112), min(int(y), 112), 2, 1, 0, 0)
        return self._frame(0.0)

    def step(self, action) -> ToyFrame:
        self._check()
        began = time.perf_counter()
        time.sleep(self.delay)
        s = self._state
        move = (0, -4, 4)[self.actions.index(action) if isinstance(action, str) else action]
        x, dx, hit_x = bounce(s.x + s.dx, s.dx)
        y, dy, hit_y = bounce(s.y + s.dy + move, s.dy)
        beep = 4 if hit_x or hit_y else max(0, s.beep - 1)
        self._state = replace(s, index=s.index + 1, x=x, y=y, dx=dx, dy=dy, beep=beep)
        return self._frame((time.perf_counter() - began) * 1e3)

    def snapshot(self) -> State:
        self._check()
        return self._state

    def restore(self, state: State) -> None:
        self._check()
        self._state = state

    def physics(self) -> dict[str, np.ndarray] | None:
        """Where the square is, for a world that is to know it: a subclass with bodies."""
        self._check()
        if not self.bodies:
            return None
        s = self._state
        place, speed = np.array([[s.x + 8.0, s.y + 8.0, 0.0]]), 30.0 * np.array([[s.dx, s.dy, 0.0]])
        energy = np.array([float(s.dx**2 + s.dy**2)])
        return {"position": place, "velocity": speed, "energy": energy, "plausibility": np.array(0.75)}

    def fork(self) -> Any:
        self._check()
        other = type(self)(self.name, self.backend, self.precision, self.steps)
        other._state = self._state
        return other

    def _check(self) -> None:
        assert threading.get_ident() == self._thread, "a world is used on the thread that made it"

    def _frame(self, model_ms: float) -> ToyFrame:
        s = self._state
        video = np.empty((128, 128, 3), np.uint8)
        video[:] = np.linspace(18, 40, 128, dtype=np.uint8)[:, None, None] * np.array([0.6, 0.8, 1.2])
        video[s.y : s.y + 16, s.x : s.x + 16] = COLOURS[s.colour]
        t = np.arange(s.index * self.samples, (s.index + 1) * self.samples) / self.sample_rate
        audio = 0.25 * np.sin(2 * np.pi * 480 * t) * (s.beep > 0)
        return ToyFrame(video, audio.astype(np.float32), s.index, model_ms)


class ToyReal:
    """The real game of the toy world: its colour tells it from the dream."""

    closed = 0

    def __init__(self):
        self._world, self._past = ToyWorld.load("real"), []

    @classmethod
    def beside(cls, world) -> Any:
        return cls()

    def reset(self, seed: int) -> ToyFrame:
        self._past = [(self._world.reset(seed), 0)]
        return self._past[-1][0]

    def step(self, action: int) -> ToyFrame:
        self._past = [*self._past[-7:], (self._world.step(action), action)]
        return self._past[-1][0]

    @property
    def state(self) -> dict[str, np.ndarray]:
        """Where the square is, and its speed a second."""
        s = self._world._state
        return {"position": np.array([[s.x + 8, s.y + 8]]), "velocity": np.array([[30.0 * s.dx, 30.0 * s.dy]])}

    def clip(self) -> mlxworld.Clip:
        frames, actions = zip(*self._past, strict=True)
        video, audio = (np.stack([getattr(frame, kind) for frame in frames]) for kind in ("video", "audio"))
        return mlxworld.Clip(video, audio, np.array(actions, np.int32))

    def snapshot(self) -> Any:
        return self._world.snapshot(), list(self._past)

    def restore(self, moment: Any) -> None:
        self._world.restore(moment[0])
        self._past = moment[1]

    def close(self) -> None:
        type(self).closed += 1


def bounce(position: int, speed: int) -> tuple[int, int, bool]:
    """Position and speed after the borders at 0 and 112, and whether one was met."""
    if 0 <= position <= 112:
        return position, speed, False
    return min(max(position, 0), 112), -speed, True


def heavy() -> tuple[type[ToyWorld], threading.Event]:
    """A toy of which every world but pong is loaded when the event is set, and not before."""
    may_load = threading.Event()

    class Heavy(ToyWorld):
        @classmethod
        def load(cls, name, *args, **options):
            assert name == "pong" or may_load.wait(20)
            return super().load(name, *args, **options)

    return Heavy, may_load


if __name__ == "__main__":  # the app by hand: python -m tests.apps.toy [port [seconds that a connection may wait]]
    import sys

    from apps.play import connections
    from apps.play.__main__ import bind, make_server
    from apps.play.app import create_app
    from apps.play.game import Choice

    play = create_app(ToyWorld.load, Choice("pong"), worlds=["pong", "doom"], backends=["torch", "mlx"])
    connections.WAIT_S = float(sys.argv[2]) if len(sys.argv) > 2 else connections.WAIT_S
    make_server(play).run(sockets=[bind("127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 7860)])
