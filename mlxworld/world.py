"""World: what a person or an agent plays with. A trained model, a cache, and an action in for a frame out.

A world is a folder: `config.json` (what it is), `model.safetensors` (weights; either backend reads them) and
`starts.safetensors` (clips in latent form to begin from). Knows nothing of browsers, datasets or training.
"""

import copy
import importlib
import json
import operator
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from . import checkpoint, config, hub, installed, on
from .errors import MlxworldError

SHIPPED = Path(__file__).parent / "worlds"
KEYS = {
    **{"up": "ArrowUp", "down": "ArrowDown", "left": "ArrowLeft", "right": "ArrowRight"},
    **{"fire": "Space", "attack": "Space", "use": "KeyE"},
}


@dataclass(frozen=True)
class Clip:
    """Frames that happened: video (T, H, W, 3) uint8, audio (T, S) float32 in [-1, 1] or stereo (T, S, 2), actions
    (T,) int32, where actions[t] led to frame t."""

    video: np.ndarray
    audio: np.ndarray
    actions: np.ndarray


@dataclass(frozen=True)
class Frame:
    """One frame: video (H, W, 3) uint8 and audio (S,) float32 in [-1, 1], both with a leading axis B in a batch of
    worlds; index counts frames since the reset; model_ms is the time from the action to here, in milliseconds."""

    video: np.ndarray
    audio: np.ndarray
    index: int
    model_ms: float


@dataclass(frozen=True)
class Snapshot:
    """The whole state of a World at one moment: it does not change while the world goes on."""

    cache: Any
    key: Any
    index: int


def worlds() -> list[str]:
    """Names of the worlds that come with the package."""
    return sorted(p.parent.name for p in SHIPPED.glob("*/config.json"))


def save_world(folder: Path, name: str, cfg: config.OpenWorldConfig, weights: Mapping, starts: Mapping, card: Mapping):
    """Writes a world's folder. weights by parameter name; starts: z (N, T, K, D), actions (N, T); card: free facts."""
    about = {"format": 1, "name": name, "card": dict(card), "model": config.to_dict(cfg)}
    checkpoint.save(folder / "model.safetensors", weights, {"format": "1", "family": cfg.family})
    checkpoint.save(folder / "starts.safetensors", starts, {"format": "1"})
    checkpoint.write_text(folder / "config.json", json.dumps(about, indent=1) + "\n")


class World:
    """Worlds are made by `World.load`; then `reset`, `step`, `snapshot`, `restore`, `fork`.

    name, actions (their names), keys (KeyboardEvent.code -> action name), fps, sample_rate, samples (S), size (H, W),
    backend, device, precision, steps (denoising passes), starts (number of start clips), batch (B), and underneath the
    backend's package and the model, may be read.
    """

    def __init__(self, package, cfg: config.OpenWorldConfig, weights: Mapping, starts: Mapping, **about):
        """package: a backend, as `mlxworld.on` gives it. about: name, source, backend, batch, precision."""
        engine = package.engine
        self.package, self._engine = package, engine
        self.config, self.name, self.backend, self.batch = cfg, about["name"], about["backend"], about["batch"]
        self.actions, self.fps, self.sample_rate, self.samples = cfg.actions, cfg.fps, cfg.sample_rate, cfg.samples
        self.keys = {KEYS[a]: a for a in cfg.actions if a in KEYS}
        self.size, self.steps = (cfg.size, cfg.size), cfg.dynamics.steps if cfg.dynamics.head == "flow" else 1
        self.device, self.precision = engine.device(), about["precision"] or engine.rollout_precision()
        self._starts, self.starts = starts, len(starts["z"])
        self.model = importlib.import_module(f"{package.__name__}.models.openworld.model").TransformerWorldModel(cfg)
        engine.load_parameters(self.model, weights, about["source"])
        engine.place(engine.cast(self.model, self.precision))
        self._functions = engine.fixed(self._step), engine.fixed(self._observe)
        self._cache = self._key = None
        self._index = 0

    @classmethod
    def load(
        cls,
        name: str | Path,
        backend: str | None = None,
        *,
        batch: int = 1,
        precision: str | None = None,
        steps: int | None = None,
    ) -> "World":
        """A shipped world by name, any world or run folder by path, or one on a hub: hf://owner/name[@revision].

        backend: "mlx" or "torch"; None is the first that is installed, MLX where it has a GPU. batch: B worlds at once.
        precision: "float32", "float16" or "bfloat16"; None is the device's best. steps: denoising passes a frame; None
        is what the world was made for. Raises MlxworldError for a world that is unknown, broken or of another model.
        """
        folder, about = read_config(name)
        cfg = config.from_dict(config.OpenWorldConfig, about["model"], str(folder / "config.json"))
        if cfg.family != "openworld":
            raise MlxworldError(f"{folder / 'config.json'}: a world of another family ({cfg.family!r})")
        weights, _ = checkpoint.load(folder / "model.safetensors")
        starts, _ = checkpoint.load(folder / "starts.safetensors")
        if not _fits(cfg, starts):
            raise MlxworldError(f"{folder / 'starts.safetensors'} does not fit this model")
        about = {"name": about["name"], "source": str(folder / "model.safetensors")}
        return cls._made(cfg, weights, starts, about, backend, batch, precision, steps)

    @classmethod
    def untrained(
        cls,
        cfg: config.OpenWorldConfig,
        backend: str | None = None,
        *,
        name: str = "untrained",
        batch: int = 1,
        precision: str | None = None,
        steps: int | None = None,
    ) -> "World":
        """A world of this configuration with fresh weights, as fast as a trained one. Arguments as in `load`."""
        package = on(backend or preferred_backend())
        model = importlib.import_module(f"{package.__name__}.models.openworld.model").TransformerWorldModel(cfg)
        weights = package.engine.numpy(package.engine.parameters(model.init(package.random.key(0))))
        z = np.random.default_rng(0).standard_normal((1, 4, cfg.latent.tokens, cfg.latent.dim)).astype(np.float32)
        starts = {"z": z, "actions": np.zeros((1, 4), np.int32)}
        return cls._made(cfg, weights, starts, {"name": name, "source": name}, backend, batch, precision, steps)

    @classmethod
    def _made(cls, cfg, weights, starts, about, backend, batch, precision, steps):
        backend = backend or preferred_backend()
        if precision not in (None, "float32", "float16", "bfloat16"):
            raise MlxworldError(f"unknown precision {precision!r}: choose float32, float16 or bfloat16")
        if batch < 1:
            raise MlxworldError(f"batch must be at least 1, got {batch}")
        if steps is not None:
            if steps < 1 or cfg.dynamics.levels % steps:
                raise MlxworldError(f"steps must divide {cfg.dynamics.levels}, got {steps}")
            cfg = replace(cfg, dynamics=replace(cfg.dynamics, steps=steps))
        package = on(backend)
        package.engine.leave_a_core()
        return cls(package, cfg, weights, starts, backend=backend, batch=batch, precision=precision, **about)

    def memory(self) -> dict[str, int]:
        """Bytes in use now ("active") and at most ("peak"), of everything on this backend."""
        return self._engine.memory()

    def reset(self, seed: int = 7, context: int | Clip | None = None) -> Frame:
        """Begins anew and returns the last frame of the beginning. The same seed and context give the same world.

        context: the number of a start clip, or frames of your own; None lets the seed choose a start clip.
        """
        seed = _whole(seed, "a seed is a whole number")
        z, actions = self._context(seed, context)
        engine, begun = self._engine, time.perf_counter()
        self._key = self.package.random.key(seed % 2**63, like=engine.array(np.zeros(1, np.float32)))
        self._cache, self._index = self.model.empty(self.batch), -z.shape[1]
        frame = None
        for t in range(z.shape[1]):
            now = engine.array(np.broadcast_to(z[:, t : t + 1], (self.batch, 1, *z.shape[2:])).astype(np.float32))
            action = engine.array(np.full((self.batch, 1), actions[0, t], np.int32))
            frame = self._advance(self._functions[1], begun, now, action)
        assert frame is not None
        return self._frame(*frame)

    def step(self, action: int | str | np.integer | Sequence[int | str] | np.ndarray) -> Frame:
        """The next frame, after an action (its index or its name; in a batch of worlds, one for each)."""
        self._must_have_begun()
        if isinstance(action, Iterable) and not isinstance(action, str) and getattr(action, "ndim", 1):
            chosen = list(action)
        else:
            chosen = [action]
        if len(chosen) != self.batch:
            raise MlxworldError(f"{self.batch} actions are needed, one for each world; got {len(chosen)}")
        indices = np.array([[self._action(a)] for a in chosen], np.int32)
        return self._frame(*self._advance(self._functions[0], time.perf_counter(), self._engine.array(indices)))

    def snapshot(self) -> Snapshot:
        """The present moment, for `restore`: the same actions then give the same frames, bit for bit."""
        self._must_have_begun()
        cache, key = self._engine.copy((self._cache, self._key))
        return Snapshot(cache, key, self._index)

    def restore(self, snapshot: Snapshot) -> None:
        """Goes back to the moment of the snapshot, which can be used again."""
        self._cache, self._key = self._engine.copy((snapshot.cache, snapshot.key))
        self._index = snapshot.index

    def fork(self) -> "World":
        """A second world that begins at the present moment of this one and shares its weights."""
        twin = copy.copy(self)
        twin._functions = self._engine.fixed(self._step), self._engine.fixed(self._observe)
        twin.restore(self.snapshot())
        return twin

    def encode(self, clip: Clip) -> np.ndarray:
        """The latents (T, K, D) float32 of a clip; stereo folds to mono."""
        clip = self._checked(clip)
        engine = self._engine
        with engine.inference():
            video = engine.array(clip.video[None].astype(np.float32) / 255)
            return engine.numpy(self.model.encode(video, engine.array(clip.audio[None])))[0]

    def _step(self, cache, key, action):
        key, now = self.package.random.split(key)
        video, audio, _, cache = self.model.step(cache, self.model.noise(now, self.batch), action)
        return self.package.ops.uint8(video * 255), audio, cache, key

    def _observe(self, cache, key, z, action):
        key, now = self.package.random.split(key)
        video, audio, cache = self.model.observe(cache, z, self.model.noise(now, self.batch), action)
        return self.package.ops.uint8(video * 255), audio, cache, key

    def _advance(self, function, begun, *inputs):
        with self._engine.inference():
            video, audio, self._cache, self._key = function(self._cache, self._key, *inputs)
        self._index += 1
        return video, audio, begun

    def _frame(self, video, audio, begun):
        video, audio = self._engine.numpy((video, audio))
        video, audio = video[:, 0], audio[:, 0].astype(np.float32)
        if self.batch == 1:
            video, audio = video[0], audio[0]
        return Frame(video, audio, self._index, 1e3 * (time.perf_counter() - begun))

    def _must_have_begun(self):
        if self._cache is None:
            raise MlxworldError("reset the world first: it has not begun")

    def _context(self, seed, context):
        if isinstance(context, Clip):
            keep = self.config.dynamics.memory
            return self.encode(context)[None, -keep:], np.asarray(context.actions)[None, -keep:]
        number = seed % self.starts
        if context is not None:
            number = _whole(context, "a context is a start clip's number or a Clip")
        if not 0 <= number < self.starts:
            raise MlxworldError(f"start clip {number} does not exist: there are {self.starts}, counted from 0")
        return self._starts["z"][number : number + 1], self._starts["actions"][number : number + 1]

    def _action(self, action):
        if isinstance(action, str):
            if action not in self.actions:
                raise MlxworldError(f"unknown action {action!r}: choose one of {', '.join(self.actions)}")
            return self.actions.index(action)
        index = _whole(action, "an action is a number or a name")
        if not 0 <= index < len(self.actions):
            raise MlxworldError(f"unknown action {index}: there are {len(self.actions)}, counted from 0")
        return index

    def _checked(self, clip):
        """The clip as arrays, its sound mono float32. Raises MlxworldError for one that does not fit this world."""
        video, audio, actions = map(_array, (clip.video, clip.audio, clip.actions))
        if audio.ndim == 3 and audio.shape[2] == 2 and audio.dtype.kind == "f":
            audio = audio.mean(axis=2)
        (H, W), S, n = self.size, self.samples, len(self.actions)
        T = len(actions) if actions.ndim else 0
        if T == 0 or (video.shape, audio.shape, actions.shape) != ((T, H, W, 3), (T, S), (T,)):
            found = f"{video.shape}, {audio.shape} and {actions.shape}"
            wanted = f"(T, {H}, {W}, 3), (T, {S}) and (T,), T >= 1"
            raise MlxworldError(f"a clip for {self.name} has video, audio and actions of shapes {wanted}, not {found}")
        if video.dtype != np.uint8:
            raise MlxworldError(f"a clip's video is uint8, 0 to 255, not {video.dtype}")
        if audio.dtype.kind != "f" or not np.isfinite(audio).all():
            raise MlxworldError(f"a clip's audio is finite numbers in [-1, 1] of a float type, found {audio.dtype}")
        if not _in_range(actions, n):
            raise MlxworldError(f"a clip's actions are whole numbers from 0 to {n - 1}: {self.name} has {n}")
        return Clip(video, audio.astype(np.float32), actions)


def _array(x) -> np.ndarray:
    try:
        return np.asarray(x)
    except (ValueError, TypeError) as error:  # rows of several lengths
        raise MlxworldError(f"a clip is three arrays: {error}") from error


def _in_range(actions: np.ndarray, n: int) -> bool:
    return actions.dtype.kind in "iu" and bool(((actions >= 0) & (actions < n)).all())


def _fits(cfg: config.OpenWorldConfig, starts: Mapping[str, np.ndarray]) -> bool:
    """Whether start clips are finite latents of this model, z (N, T, K, D), with actions (N, T) that it has."""
    if {"z", "actions"} - set(starts):
        return False
    z, actions = starts["z"], starts["actions"]
    if z.ndim != 4 or z.size == 0 or z.shape[2:] != (cfg.latent.tokens, cfg.latent.dim):
        return False
    return actions.shape == z.shape[:2] and bool(np.isfinite(z).all()) and _in_range(actions, len(cfg.actions))


def _whole(x, what: str) -> int:
    try:
        return operator.index(x)
    except TypeError:
        raise MlxworldError(f"{what}, not {type(x).__name__}") from None


def preferred_backend() -> str:
    """MLX where it has a GPU, else PyTorch, else whichever is installed. Raises MlxworldError when neither is."""
    names = installed()
    if not names:
        raise MlxworldError('no backend is installed: pip install "mlxworld[torch]", or on a Mac pip install mlx')
    if "mlx" in names and ("torch" not in names or on("mlx").engine.device() != "cpu"):
        return "mlx"
    return "torch"


def read_config(name: str | Path) -> tuple[Path, dict[str, Any]]:
    """The folder of a world (a shipped name, a path, or hf://owner/name) and its config.json. Raises MlxworldError."""
    folder = SHIPPED / str(name) if str(name) in worlds() else Path(name)
    if str(name).startswith(hub.SCHEME):
        folder = hub.folder(str(name))
    path = folder / "config.json"
    if not path.is_file():
        if (folder / "train.json").is_file():
            raise MlxworldError(f"{folder} is a run that has no world yet: train on, with --resume if it has stopped")
        known = ", ".join(worlds()) or "none"
        raise MlxworldError(f"unknown world {str(name)!r}: shipped are {known}; else a folder with config.json")
    try:
        about = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise MlxworldError(f"{path} is no readable JSON file: {error}") from error
    if not isinstance(about, dict) or about.get("format") != 1 or not isinstance(about.get("model"), dict):
        raise MlxworldError(f"{path} is not the config of a world (format 1)")
    if not isinstance(about.get("name"), str):
        raise MlxworldError(f'{path} has no name: add one, as in {{"name": "pong", ...}}')
    return folder, about
