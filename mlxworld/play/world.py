"""World: what a person or an agent plays with. A trained model, a cache, and an action in for a frame out.

A world is a folder: `config.json` (what it is), `model.safetensors` (weights; either backend reads them) and
`starts.safetensors` (clips in latent form to begin from). Knows nothing of browsers, datasets or training.
"""

import contextlib
import functools
import itertools
import operator
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import Any

import numpy as np

from .. import families, installed, on
from ..configs.world import WorldConfig
from ..errors import MlxworldError
from . import coreml
from .context import Clip, checked, clip_of
from .folder import aspect, check_about, digest, game, model_config, read_config, read_starts, read_weights
from .folder import worlds as worlds
from .frame import Frame, Snapshot
from .futures import Dreams, near
from .lockstep import Lockstep
from .plan import Plan, Search, plans
from .player import Options, Player
from .rollouts import Request, rollouts

Action = int | str | np.integer | Set[str] | Mapping[str, Any] | Sequence[float] | np.ndarray  # see ActionSpace.encode
Context = int | Clip | np.ndarray | str | Path | None
AnyPlayer = Player | coreml.CoreMLPlayer
_END: Any = object()  # of a stream's actions
KEYS = {
    **{"up": "ArrowUp", "down": "ArrowDown", "left": "ArrowLeft", "right": "ArrowRight"},
    **{"fire": "Space", "attack": "Space", "use": "KeyE"},
}


def _locked(method):
    """A method of one thread at a time: a world is one state, and MLX does not survive two threads in it."""

    @functools.wraps(method)
    def alone(self, *args, **kwargs):
        with self._lock:
            self._return()
            return method(self, *args, **kwargs)

    return alone


class World:
    """Worlds are made by `World.load`; then `reset`, `step`, `snapshot`, `restore`, `fork`.

    name, actions (their names), action_space, keys (KeyboardEvent.code -> action name), fps, sample_rate, samples (S),
    size (H, W), aspect (times as wide as high a pixel is to be shown), backend, device, precision, steps (denoising
    passes), starts (number of start clips), batch (B), game (what it was taught, as `record` calls it), bodies (whose
    physics it reads: see `physics`), and underneath config, package (the backend's) and model, may be read.
    """

    def __init__(
        self, player: AnyPlayer, cfg: WorldConfig, starts: Mapping, name: str, backend: str, source: Path | None = None
    ):
        """starts: z (N, T, K, D) and actions (N, T); source: the file of the weights. `load` makes all of it."""
        self._player, self._starts, self.starts, self._source = player, starts, len(starts["z"]), source
        self.config, self.name, self.backend, self.batch = cfg, name, backend, player.batch
        self.device, self.precision = player.device, player.precision
        self.action_space, self.bodies = cfg.action_space, player.bodies
        self.actions, self.fps, self.sample_rate, self.samples = cfg.actions, cfg.fps, cfg.sample_rate, cfg.samples
        self.keys = {KEYS[a]: a for a in cfg.actions if a in KEYS}
        self.size, self.steps = (cfg.size, cfg.size), cfg.passes
        self._index: int | None = None
        self.game, self.aspect = name, 1.0
        self._lock = threading.RLock()
        self._locksteps: dict[tuple[int, str], Lockstep] = {}  # by their number of worlds, and what is compiled
        self._shown: Snapshot | None = None  # the moment of the frame that was given last, where the player is ahead

    @classmethod
    def load(cls, name: str | Path, backend: str | None = None, **options) -> "World":
        """A shipped world by name, any world or run folder by path, one on a hub: hf://owner/name[@revision], or
        a .mlpackage of `convert/to_coreml.py`.

        backend: "mlx" or "torch"; None is the first that is installed, MLX where it has a GPU; for a package "coreml".
        options: see `Options` (batch, precision, weights, steps, kv_cache, hooks, compile). Raises MlxworldError for a
        world that is unknown, broken or of another model.
        """
        chosen = Options.read(options)
        packed = backend == "coreml" or (backend is None and coreml.is_package(name))
        folder, about = coreml.read_package(name) if packed else read_config(name)
        check_about(about, str(name))
        cfg = model_config(folder, about)
        starts = read_starts(folder / "starts.safetensors", cfg)
        if packed:
            world = cls(coreml.CoreMLPlayer(name, cfg, chosen), cfg, starts, about["name"], "coreml", Path(name))
        else:
            path, weights = folder / "model.safetensors", read_weights(folder, about)
            world = cls._made(cfg, weights, starts, about["name"], path, backend, chosen)
        world.game, world.aspect = game(about), aspect(about)
        return world

    @classmethod
    def untrained(cls, cfg: WorldConfig, backend: str | None = None, *, name: str = "untrained", **options) -> "World":
        """A world of this configuration with fresh weights, as fast as a trained one. Arguments as in `load`."""
        package = on(backend or preferred_backend())
        model = families.built(package, cfg).init(package.random.key(0))
        arrays = package.engine.numpy(package.nn.parameters(model) | package.nn.buffers(model))
        z = np.random.default_rng(0).standard_normal((1, 4, *cfg.latent_shape)).astype(np.float32)
        space = cfg.action_space
        starts = {"z": z, "actions": np.zeros((1, 4, *space.shape), space.dtype)}
        return cls._made(cfg, arrays, starts, name, None, backend, Options.read(options))

    @classmethod
    def _made(cls, cfg, weights, starts, name, path, backend, options):
        cfg, backend = cfg.played(options.steps, options.kv_cache), backend or preferred_backend()
        return cls(Player(on(backend), cfg, weights, str(path or name), options), cfg, starts, name, backend, path)

    @property
    def package(self):
        """The backend, as `mlxworld.on` gives it."""
        return self._player.package

    @property
    def model(self):
        """The model underneath. Raises MlxworldError for a Core ML world, which has none to look into."""
        if self._player.model is None:
            raise MlxworldError(
                f"{self.name} runs on Core ML: it plays, but only its world's folder can be measured so"
            )
        return self._player.model

    @property
    def hooks(self) -> tuple[str, ...]:
        """Names of the latent hooks that joined as it was loaded. Loaded without them it is the world that it was."""
        return getattr(self._player, "hooks", ())

    def memory(self) -> dict[str, int]:
        """Bytes in use now ("active") and at most ("peak"), of everything on this backend."""
        return self._player.memory()

    def settle(self) -> None:
        """Waits for what is being compiled in the background: from the next reset on the world runs at full speed."""
        self._player.settle()

    @property
    def digest(self) -> str:
        """A hexadecimal digest of the world's configuration and weights: the same digest is the same world."""
        if self._source is not None and not self.hooks:
            return digest(self.config, self._source)
        return digest(self.config, self.package.engine.numpy(self.package.nn.parameters(self.model)))

    @_locked
    def reset(self, seed: int = 7, context: Context = None) -> Frame:
        """Begins anew and returns the last frame of the beginning. The same seed and context give the same world.

        context: the number of a start clip, or what you have: a Clip, a picture or pictures of any size, a path of a
        film or a picture (see `context.clip_of`). None lets the seed choose a start clip.
        """
        seed = _whole(seed, "a seed is a whole number")
        z, actions = self._context(seed, context)
        begun, pending = time.perf_counter(), None
        self._index = None
        self._player.begin(seed % 2**63)
        for t in range(z.shape[1]):
            pending = self._player.observe(z[:, t : t + 1], actions[:, t : t + 1])
        assert pending is not None
        self._index = 0
        return self._frame(pending, 0, begun)

    @_locked
    def step(self, action: Action | Sequence[Action] | np.ndarray) -> Frame:
        """The next frame, after an action; in a batch of worlds, one for each.

        An action is an index, a name, or the set of keys that are held, {"forward", "attack"}; in a world of buttons
        and axes also a row of numbers or a mapping of names to numbers (see `action_space`).
        """
        return self._frame(*self._begin(action))

    def stream(self, actions: Iterable[Action | Sequence[Action] | np.ndarray]) -> Iterator[Frame]:
        """The frames after these actions, one by one, as `step` gives them. Faster where actions are known ahead: the
        device works on the next frame while the one before is on its way.

        The world is always at the frame that was given last: a stream may be left at any time, and between two frames
        the world may be stepped, kept or restored; the stream goes on from there. What the actions raise comes after
        the frames of those before.
        """
        if not self._player.runs_ahead:
            yield from map(self.step, actions)
            return
        ahead = shown = None
        for action, following in itertools.pairwise(itertools.chain(_with_error(actions), [_END])):
            if isinstance(action, Exception):
                raise action
            with self._lock:
                if ahead is None or self._shown is not shown:  # or the world has been elsewhere meanwhile
                    self._return()
                    ahead = self._begin(action)
                self._shown, pending, ahead = None, ahead, None
                if following is not _END:
                    shown = self._moment()
                    with contextlib.suppress(MlxworldError):  # of an action that there is not: raised at its turn
                        ahead = self._begin(following)
                        self._shown = shown
                frame = self._frame(*pending)
            yield frame

    @_locked
    def snapshot(self) -> Snapshot:
        """The present moment, for `restore`: the same actions then give the same frames, bit for bit."""
        return self._moment()

    @_locked
    def restore(self, snapshot: Snapshot) -> None:
        """Goes back to the moment of the snapshot, which can be used again.

        Raises MlxworldError for a snapshot of another model, batch or backend; the world stays where it was.
        """
        if not isinstance(snapshot, Snapshot):
            raise MlxworldError(f"a world goes back to what `snapshot` gave, not to a {type(snapshot).__name__}")
        if snapshot.backend != self.backend:
            raise MlxworldError(f"this snapshot is of backend {snapshot.backend}: it does not fit {self.backend}")
        if self._index is None:
            self._player.begin(0)  # what does not fit this world is known by what it would have been
        self._player.restore(snapshot.state)
        self._index = snapshot.index

    @_locked
    def fork(self) -> "World":
        """A second world that begins at the present moment of this one and shares its weights."""
        self._begun()
        twin = object.__new__(type(self))
        twin.__dict__ |= self.__dict__ | {"_player": self._player.fork(), "_lock": threading.RLock(), "_shown": None}
        twin._locksteps = {}
        return twin

    def __copy__(self) -> "World":
        return self.fork()

    def __deepcopy__(self, memo: Any) -> "World":
        return self.fork()

    def __reduce__(self):
        raise MlxworldError("a world cannot be pickled: use fork for a second one, or World.load in the other process")

    @_locked
    def physics(self) -> dict[str, np.ndarray] | None:
        """What the model reads of the present frame: position, velocity (N, 3), energy (N,) of the world's N bodies,
        plausibility and more, in the units of the simulator that it was taught by; in a batch of worlds with a leading
        axis. None where it reads no physics. A world that is not asked is as fast as ever."""
        self._begun()
        readings = self._player.physics()
        return readings if readings is None or self.batch > 1 else {name: x[0] for name, x in readings.items()}

    @_locked
    def encode(self, clip: Clip) -> np.ndarray:
        """The latents (T, K, D) float32 of a clip; stereo folds to mono."""
        clip = checked(clip, self.config, self.name)
        return self._player.encode(clip.video, clip.audio)

    @_locked
    def plan(
        self, reward: Callable[[Frame], np.ndarray] | None = None, *, goal: Context = None, **options: Any
    ) -> Plan:
        """What to do from here, by dreams of `horizon` frames in many `worlds` at once; this one stays where it is.

        reward: of a Frame whose arrays have a leading axis of worlds, as many numbers; a frame is decoded when the
        reward looks at it. Or goal: a context whose last frame's latent is to be reached. options: method, worlds,
        horizon, hold, every and seed of a `play.plan.Search`. Raises MlxworldError for a world before its first frame,
        or one on Core ML.
        """
        index = self._begun()
        if self.batch != 1 or (reward is None) == (goal is None):
            raise MlxworldError("a plan is made from one world's moment, for either a reward or a goal")
        search = Search.read(options, len(self.actions))
        wanted = near(self._context(0, goal)[0][0, -1]) if reward is None else reward
        worlds = self._lockstep(search.rows, "dream")
        dreams = Dreams(worlds, worlds.moment(), wanted, [search.seed], search.hold, search.every, index)
        return plans(dreams, search, len(self.actions), [search.seed])[0]

    @_locked
    def rollouts(
        self,
        actions: Sequence[Sequence[Action]],
        contexts: Sequence[Context] | None = None,
        seeds: Sequence[int] | None = None,
        worlds: int = 8,
    ) -> list[Clip]:
        """Dreams of any lengths from beginnings of any lengths, at most so many `worlds` at once: each is what it would
        be alone. Context and seed of each are as in `reset`; this world stays where it is."""
        n = len(actions)
        contexts, seeds = [None] * n if contexts is None else contexts, range(n) if seeds is None else seeds
        if not len(contexts) == len(seeds) == n or min(map(len, actions), default=0) < 1 or worlds < 1:
            raise MlxworldError("rollouts are of as many contexts and seeds as lists of actions, none of them empty")
        requests, keep = [], self.config.context_frames  # a start clip may be longer
        for row, context, seed in zip(actions, contexts, seeds, strict=True):
            number = _whole(seed, "a seed is a whole number")
            z, before = self._context(number, context)
            taken = np.stack([self.action_space.encode(a) for a in row])
            requests.append(Request(z[0, -keep:].astype(np.float32), before[0, -keep:], taken, number % 2**63))
        dreams = rollouts(self._lockstep(worlds), requests)
        return [Clip(*clip, request.actions) for clip, request in zip(dreams, requests, strict=True)]

    def _lockstep(self, n: int, compiled: str = "step") -> Lockstep:
        """So many worlds of this model, which share what was compiled for them before (see `Lockstep`)."""
        if (n, compiled) not in self._locksteps:
            player: Any = self._player
            self._locksteps[n, compiled] = Lockstep(player, self.model, n, compiled)
        return self._locksteps[n, compiled]

    def _moment(self):
        index = self._begun()
        return Snapshot(self._player.state(), index, self.backend)

    def _return(self):
        """Back to the frame that was given last, where a stream has run ahead of it."""
        if self._shown is not None:
            self._player.restore(self._shown.state)
            self._index, self._shown = self._shown.index, None

    def _begin(self, action):
        """What `_frame` takes, of the frame after an action. The world is there now, waited for or not."""
        index = self._begun() + 1
        chosen = [action] if self._is_one(action) else list(action)
        if len(chosen) != self.batch:
            raise MlxworldError(f"{self.batch} actions are needed, one for each world; got {len(chosen)}")
        actions = np.stack([self.action_space.encode(a) for a in chosen])[:, None]
        begun = time.perf_counter()
        pending, self._index = self._player.step(actions), index
        return pending, index, begun

    def _frame(self, pending, index, begun):
        video, audio = pending()
        video, audio = video[:, 0], audio[:, 0].astype(np.float32)
        if self.batch == 1:
            video, audio = video[0], audio[0]
        return Frame(video, audio, index, 1e3 * (time.perf_counter() - begun))

    def _begun(self):
        if self._index is None:
            raise MlxworldError("reset the world first: it has not begun")
        return self._index

    def _context(self, seed, context):
        number = seed % self.starts if context is None else _index(context)
        if number is None:
            clip, keep = clip_of(context, self.config, self.name), self.config.context_frames
            z = self._player.encode(clip.video, clip.audio)
            return z[None, -keep:], clip.actions[None, -keep:]
        if not 0 <= number < self.starts:
            raise MlxworldError(f"start clip {number} does not exist: there are {self.starts}, counted from 0")
        return self._starts["z"][number : number + 1], self._starts["actions"][number : number + 1]

    def _is_one(self, action: Any) -> bool:
        """Whether this is one action, and no sequence of them for a batch."""
        if isinstance(action, str | Set | Mapping) or not isinstance(action, Iterable):
            return True
        if getattr(action, "ndim", 1) == 0:
            return True
        numbers: Any = action if isinstance(action, Sequence | np.ndarray) else ()
        row = self.batch == 1 and self.action_space.shape == (len(numbers),)
        return row and all(np.ndim(x) == 0 and not isinstance(x, str | Set | Mapping) for x in numbers)


def _with_error(actions: Iterable) -> Iterator:
    """The actions, and what their source raises as the last of them."""
    try:
        yield from actions
    except Exception as error:  # whatever it is: its turn has not come
        yield error


def _whole(x: Any, what: str) -> int:
    if (number := _index(x)) is None:
        raise MlxworldError(f"{what}, not {type(x).__name__}")
    return number


def _index(x: Any) -> int | None:
    """A whole number, or None for what is none."""
    try:
        return operator.index(x)
    except TypeError:
        return None


def preferred_backend() -> str:
    """MLX where it has a GPU, else PyTorch, else whichever is installed. Raises MlxworldError when neither is."""
    names = installed()
    if not names:
        raise MlxworldError('no backend is installed: pip install "mlxworld[torch]", or on a Mac pip install mlx')
    if "mlx" in names and ("torch" not in names or on("mlx").engine.device() != "cpu"):
        return "mlx"
    return "torch"
