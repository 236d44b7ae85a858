"""Core ML on a Mac as what plays a world: a package that `convert/to_coreml.py` wrote, through coremltools.

A package is several functions (see `convert/parts.py`): `observe` and `step` share one MLState, the ring of keys and
values; `video` and `audio` decode the latent that either gave. coremltools 9 reads and writes an MLState, so a snapshot
is its arrays, and restoring one gives the same future wherever Core ML computes the same twice. Random numbers are the
backend's, so a seed is the same world as on MLX and PyTorch, but for float16.

K latent tokens of width D, T frames, H, W pixels, S samples of a frame, N frames that `encode` takes.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from .. import installed, on
from ..configs.world import WorldConfig
from ..errors import MlxworldError, require_alike
from ..files.reading import parse_json
from .encode import windows
from .player import Options, Pending

AUTHOR, STARTS, WORLD = "org.mlxworld", "starts.safetensors", "org.mlxworld.world"  # names inside a package
FUNCTIONS = {  # where each runs best: attention over a ring on the GPU, convolutions on the Neural Engine
    **{"step": "CPU_AND_GPU", "observe": "CPU_AND_GPU", "encode": "CPU_AND_GPU"},
    **{"video": "CPU_AND_NE", "audio": "CPU_AND_NE"},
}
NEEDED = (9, 0)  # of coremltools: the first that reads and writes states


def is_package(name: str | Path) -> bool:
    """Whether this names a Core ML package rather than a world's folder."""
    return Path(name).suffix == ".mlpackage"


def read_package(path: str | Path) -> tuple[Path, dict[str, Any]]:
    """The folder of a package's start clips, and the world's config.json. Raises MlxworldError."""
    advice = "mlxworld convert coreml --world NAME --out NAME.mlpackage makes one"
    if not is_package(path):
        raise MlxworldError(f"backend 'coreml' plays a .mlpackage, not {str(path)!r}: {advice}")
    metadata = specification(path).description.metadata.userDefined
    if WORLD not in metadata:
        raise MlxworldError(f"{path} is no world's package: {advice}")
    return Path(path) / "Data" / AUTHOR, parse_json(metadata[WORLD], f"{path}: the world's config.json")


def specification(path: str | Path) -> Any:
    """Apple's description of a package: functions with their inputs, outputs and states. Raises MlxworldError."""
    logging.getLogger("coremltools").setLevel(logging.ERROR)  # it warns of every newer torch and of not being on a Mac
    try:
        import coremltools
    except ImportError as error:
        raise MlxworldError('Core ML packages need coremltools: pip install "mlxworld[coreml]"') from error
    if tuple(map(int, coremltools.__version__.split(".")[:2])) < NEEDED:
        raise MlxworldError(f"coremltools {coremltools.__version__} is too old: 9.0 or newer reads and writes states")
    try:
        return coremltools.utils.load_spec(str(path))
    except Exception as error:  # whatever a damaged package makes of protobuf or of Apple's library
        raise MlxworldError(f"cannot read {path}: {' '.join(str(error).split())}") from error


def open_function(path: str | Path, name: str) -> Any:
    """A function of a package, ready to `predict`, where it runs best. Raises MlxworldError off a Mac."""
    import coremltools as ct

    unit = ct.ComputeUnit[FUNCTIONS[name]]
    model = ct.models.MLModel(str(path), function_name=name, compute_units=unit)
    if getattr(model, "__proxy__", None) is None:
        raise MlxworldError("Core ML runs on macOS 15 or newer only: here a world plays with backend mlx or torch")
    return model


class CoreMLPlayer:
    """A Player (see `player.py`) of one world on Core ML."""

    batch, device, precision, model, runs_ahead = 1, "coreml", "float16", None, False
    bodies = 0  # a package has no physics modules

    def __init__(self, path: str | Path, cfg: WorldConfig, options: Options):
        """Raises MlxworldError for a package that lacks a function, and for options that conversion has settled."""
        settled = replace(options, precision=None, steps=None, temperature=1.0) != Options()
        if settled or options.precision not in (None, self.precision) or options.steps not in (None, cfg.passes):
            made = f"float16 and {cfg.passes} steps a frame"
            raise MlxworldError(f"{path} is one world, made for {made}: options are settled when a world is converted")
        functions = {f.name: f for f in specification(path).description.functions}
        if missing := ", ".join(sorted(FUNCTIONS.keys() - functions.keys())):
            raise MlxworldError(f"{path} lacks {missing}: convert the world with --part all")
        self.package, self._temperature = on(installed()[0]), options.temperature
        self._action = np.zeros(cfg.action_space.shape, cfg.action_space.dtype)
        self._past_frames, self._tokens = cfg.receptive_field, (1, 1, *cfg.latent_shape)
        self._states = [feature.name for feature in functions["step"].state]
        self._silence = {f.name: _zeros(f) for f in functions["audio"].input if f.name != "z"}
        self._clip = next(tuple(f.type.multiArrayType.shape) for f in functions["encode"].input if f.name == "video")
        self._functions = {name: open_function(path, name) for name in FUNCTIONS}

    def begin(self, seed: int) -> None:
        """No frames yet; the noise is that of the seed."""
        self._past = self._functions["step"].make_state()
        self._sound, self._key = dict(self._silence), self.package.random.key(seed)

    def observe(self, z: np.ndarray, action: np.ndarray) -> Pending:
        """A frame that happened: z (1, 1, K, D), action (1, 1)."""
        self._advance("observe", action, z=z.astype(np.float32))
        return self._decode(z)

    def step(self, action: np.ndarray) -> Pending:
        """The next frame, after action (1, 1)."""
        return self._decode(self._advance("step", action)["z"])

    def physics(self) -> None:
        """Nothing: a package has no physics modules."""

    def encode(self, video: np.ndarray, audio: np.ndarray) -> np.ndarray:
        """The latents z (T, K, D) float32 of video (T, H, W, 3) uint8 with audio (T, S)."""
        n, latents = self._clip[1], []
        for window in windows(len(video), self._past_frames, n - self._past_frames):
            rows = slice(window.past, window.end)
            pictures = _padded(video[rows].astype(np.float32) / 255, n)
            sound = _padded(audio[rows].astype(np.float32), n)
            z = self._functions["encode"].predict({"video": pictures, "audio": sound})["z"]
            z = np.asarray(z, np.float32).reshape(n, *self._tokens[2:])
            latents.append(z[window.begin - window.past : window.end - window.past])
        return np.concatenate(latents)

    def state(self) -> Any:
        """The whole state now, as arrays."""
        past = {name: np.array(self._past.read_state(name)) for name in self._states}
        return past, dict(self._sound), self._key

    def restore(self, state: Any) -> None:
        """Goes back to a `state`, which can be used again. Raises MlxworldError for one of another package."""
        require_alike(_shapes(self.state()), _shapes(state))
        past, self._sound, self._key = state[0], dict(state[1]), state[2]
        self._past = self._functions["step"].make_state()
        for name, value in past.items():
            self._past.write_state(name, value)

    def fork(self) -> "CoreMLPlayer":
        """A second player of the same functions, in the same state."""
        twin = object.__new__(type(self))
        twin.__dict__ |= self.__dict__
        twin.restore(self.state())
        return twin

    def settle(self) -> None:
        """Nothing is compiled in the background: Core ML did it while loading."""

    def memory(self) -> dict[str, int]:
        """Bytes of this process, as the backend counts them; Core ML does not say."""
        return self.package.engine.memory()

    def _advance(self, name: str, action: np.ndarray, **inputs: np.ndarray) -> Mapping[str, np.ndarray]:
        engine, random = self.package.engine, self.package.random
        with engine.inference():
            self._key, now = random.split(self._key)
            noise = engine.numpy(random.normal(now, self._tokens)) * np.float32(self._temperature)
        action = np.asarray(action).reshape(1, 1, *self._action.shape).astype(self._action.dtype)
        return self._functions[name].predict({**inputs, "noise": noise, "action": action}, self._past)

    def _decode(self, z: np.ndarray) -> Pending:
        """Sound now, because it has a state; the picture when it is asked for."""
        z = np.asarray(z, np.float32).reshape(self._tokens)
        heard = self._functions["audio"].predict({"z": z, **self._sound})
        self._sound = {name: _like(heard[f"{name}_next"], x) for name, x in self._sound.items()}
        audio = np.asarray(heard["audio"], np.float32).reshape(1, 1, -1)
        paint: Callable[..., Mapping[str, np.ndarray]] = self._functions["video"].predict

        def pending() -> tuple[np.ndarray, np.ndarray]:
            video = np.asarray(paint({"z": z})["video"], np.float32).reshape(1, 1, *self._clip[2:])
            return np.clip(np.floor(video * 255 + 0.5), 0, 255).astype(np.uint8), audio

        return pending


def _shapes(state) -> list:
    past, sound, _ = state
    return [(name, x.shape, str(x.dtype)) for name, x in (past | sound).items()]


def _zeros(feature) -> np.ndarray:
    kind = feature.type.multiArrayType
    return np.zeros(tuple(kind.shape), np.int32 if kind.dataType == kind.INT32 else np.float32)


def _like(x, example: np.ndarray) -> np.ndarray:
    return np.asarray(x).reshape(example.shape).astype(example.dtype)


def _padded(x: np.ndarray, n: int) -> np.ndarray:
    """x (T, ...) as (1, n, ...), zeros after its end: no latent depends on later frames."""
    return np.pad(x, [(0, n - len(x))] + [(0, 0)] * (x.ndim - 1))[None]
