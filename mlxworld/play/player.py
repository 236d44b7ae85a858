"""Player: the running half of a World. A model on a backend, the state of its rollout, and numpy at both ends.

A World drives any object with these methods; `coreml.py` has one for Core ML. Knows nothing of start clips,
names of actions, or what a frame is for.

B worlds, T frames, H, W pixels, S samples of a frame, K latent tokens of width D.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from .. import families
from ..configs.world import WorldConfig
from ..errors import MlxworldError
from . import hooks
from .encode import encode

PHYSICS_FRAMES = 3  # whose latents a reading of physics depends on, its own included

MOST_WORLDS = 1 << 16
PRECISIONS = ("float32", "float16", "bfloat16")
Pending = Callable[[], Any]  # waits for video (B, 1, H, W, 3) uint8 and audio (B, 1, S)


@dataclass(frozen=True)
class Options:
    """How a world is run. None is what the world was made for, or the best for this device."""

    batch: int = 1  # B worlds at once
    precision: str | None = None  # of the arithmetic: float32, float16 or bfloat16
    weights: str | None = None  # quantised to int8, int4 or (MLX) mxfp8; None: as they are in the file
    steps: int | None = None  # denoising passes a frame: divides the model's noise levels
    kv_cache: str | None = None  # how keys and values of the past are kept: float or int8
    temperature: float = 1.0  # of the noise that a frame is made from; 0: the same future whatever the seed
    hooks: tuple[str | Path, ...] = ()  # files of latent hooks that join, in this order
    compile: bool | None = None  # the step; None: on a GPU. PyTorch does so in the background and swaps in at a reset

    def __post_init__(self):
        if self.precision not in (None, *PRECISIONS):
            raise MlxworldError(f"unknown precision {self.precision!r}: choose float32, float16 or bfloat16")
        if type(self.batch) is not int or not 1 <= self.batch <= MOST_WORLDS:
            raise MlxworldError(f"batch must be at least 1, and at most {MOST_WORLDS}, got {self.batch!r}")
        if self.steps is not None and type(self.steps) is not int:
            raise MlxworldError(f"steps must be a whole number, got {self.steps!r}")
        if type(self.temperature) not in (int, float) or not 0 <= self.temperature <= 10:
            raise MlxworldError(f"temperature must be from 0 to 10, got {self.temperature!r}")
        if not isinstance(self.hooks, tuple) or not all(isinstance(path, str | Path) for path in self.hooks):
            raise MlxworldError(f"hooks is a list of paths, got {self.hooks!r}")
        if not isinstance(self.compile, bool | None):
            raise MlxworldError(f"compile must be True or False, got {self.compile!r}")

    @classmethod
    def read(cls, options: Mapping[str, Any]) -> "Options":
        """Options from keywords. Raises MlxworldError, listing the options, for one that there is not."""
        names = [f.name for f in fields(cls)]
        unknown = [name for name in options if name not in names]
        if unknown:
            raise MlxworldError(f"unknown option {unknown[0]!r} of a world: there are {', '.join(names)}")
        listed: dict[str, Any] = {name: tuple(x) if isinstance(x, list) else x for name, x in options.items()}
        return cls(**listed)


class Player:
    """Begun by `begin`; then `observe` for frames that happened and `step` for the next one.

    device, precision, compiled, temperature, runs_ahead (whether a call returns before its frame is there), bodies
    (whose physics it reads), package (the backend, as `mlxworld.on` gives it), and model may be read.
    """

    def __init__(self, package: ModuleType, cfg: WorldConfig, weights: Mapping, source: str, options: Options):
        """weights by parameter name; source: where they are from, for what is said of bad ones."""
        engine = package.engine
        engine.leave_a_core()
        compiled = engine.device() != "cpu" if options.compile is None else options.compile
        self.package, self.batch, self._engine = package, options.batch, engine
        self.compiled, self.temperature = compiled, options.temperature
        self.device, self.precision = engine.device(), options.precision or engine.rollout_precision(options.weights)
        self.runs_ahead = engine.runs_ahead()
        self.model = families.built(package, cfg, weights)
        engine.load_parameters(self.model, weights, source)
        engine.ready(self.model, self.precision, compiled or options.weights is not None)
        if options.weights is not None:
            engine.quantize(self.model, options.weights)
        exact = compiled or options.weights is not None
        self.hooks = hooks.join(package, self.model, cfg.family, options.hooks, self.precision, exact)
        self._kind, self.bodies = cfg.action_space.dtype, cfg.bodies
        functions: dict[str, Any] = {"step": self._step, "observe": self._observe, "whole": self._whole}
        functions |= {"physics": self._physics} if self.bodies else {}
        self._loop = engine.Loop(functions, compile="step" if compiled else None)

    def begin(self, seed: int) -> None:
        """No frames yet; the noise is that of the seed."""
        with self._engine.inference():
            key = self.package.random.key(seed, like=self._engine.array(np.zeros(1, np.float32)))
            self._loop.begin({"model": self.model.init_state(self.batch), "key": key, **self._no_latents()})

    def observe(self, z: np.ndarray, action: np.ndarray) -> Pending:
        """A frame that happened: z (B, 1, K, D) float32, action (B, 1, ...), both may broadcast over B."""
        z = np.broadcast_to(z, (self.batch, *z.shape[1:])).astype(np.float32)
        return self._run("observe", z, np.broadcast_to(action, (self.batch, *action.shape[1:])).astype(self._kind))

    def step(self, action: np.ndarray) -> Pending:
        """The next frame, after action (B, 1) int32. Returns before the device is done: call the result to wait."""
        return self._run("step", action)

    def physics(self) -> dict[str, np.ndarray] | None:
        """What the model reads of the present frame, {name: (B, ...)}: see `read_physics` of the model; None where it
        reads nothing. It is read when it is asked for, and costs a frame nothing otherwise."""
        if not self.bodies:
            return None
        readings = self._run("physics")()
        return {name: x[:, -1] for name, x in readings.items()}

    def encode(self, video: np.ndarray, audio: np.ndarray) -> np.ndarray:
        """The latents z (T, K, D) float32 of video (T, H, W, 3) uint8 with audio (T, S)."""
        return encode(self.package, self.model, video, audio)

    def state(self) -> Any:
        """The whole state now; it does not change while the player goes on."""
        return self._loop.state()

    def restore(self, state: Any) -> None:
        """Goes back to a `state`, which can be used again: the same actions then give the same frames, bit for bit."""
        self._loop.restore(state)

    def fork(self) -> "Player":
        """A second player of the same weights, in the same state."""
        twin = object.__new__(type(self))
        twin.__dict__ |= self.__dict__
        twin._loop = self._loop.fork()
        return twin

    def settle(self) -> None:
        """Waits for what is being compiled in the background."""
        self._loop.settle()

    def memory(self) -> dict[str, int]:
        """Bytes in use now ("active") and at most ("peak"), of everything on this backend."""
        return self._engine.memory()

    def whole(self) -> Any:
        """The whole state now, as arrays by name that later steps leave alone: {"model", "key"}."""
        with self._engine.inference():
            return self._engine.copy(self._loop("whole"))

    def tempered(self, noise: Any) -> Any:
        """Noise at this player's temperature."""
        return noise if self.temperature == 1 else noise * self.temperature

    def _run(self, name, *inputs) -> Pending:
        with self._engine.inference():
            return self._engine.fetch(self._loop(name, *self._engine.array(inputs)))

    def _step(self, state, action):
        key, now = self.package.random.split(state["key"])
        video, audio, z, cache = self.model.step(state["model"], self._noise(now), action)
        return (self.package.ops.uint8(video * 255), audio), {"model": cache, "key": key, **self._recent(state, z)}

    def _observe(self, state, z, action):
        key, now = self.package.random.split(state["key"])
        video, audio, cache = self.model.observe(state["model"], z, self._noise(now), action)
        return (self.package.ops.uint8(video * 255), audio), {"model": cache, "key": key, **self._recent(state, z)}

    def _no_latents(self):
        """`latents` (B, PHYSICS_FRAMES, K, D) of the last frames, where physics is read from them, and whether there
        was a frame; nothing where none is read."""
        if not self.bodies:
            return {}
        shape = (self.batch, PHYSICS_FRAMES, *self.model.cfg.latent_shape)
        z, begun = self._engine.array((np.zeros(shape, np.float32), np.zeros(1, np.int32)))
        return {"latents": z, "begun": begun}

    def _recent(self, state, z):
        """The latents with that of the present frame, z (B, 1, K, D). Before the first frame the world stood still."""
        if not self.bodies:
            return {}
        ops, z = self.package.ops, self.package.ops.float32(z)
        known = ops.concat([state["latents"][:, 1:], z], axis=1)
        return {"latents": ops.where(state["begun"] > 0, known, z), "begun": state["begun"] * 0 + 1}

    def _physics(self, state):
        readings = self.model.read_physics(state["latents"])
        return {name: x * 1 for name, x in readings.items()}, state

    def _noise(self, key):
        return self.tempered(self.model.noise(key, self.batch))

    def _whole(self, state):
        return state, state
