"""The stages of a training, and how a run survives: every step is a function of (settings, step), every file is whole.

Killed at any moment, a run goes on from its last checkpoint to the same weights, bit for bit on the CPU.
"""

import contextlib
import hashlib
import importlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import BACKENDS
from ..data import Clips, FrameStore
from ..errors import MlxworldError
from ..files import checkpoint
from ..play.world import save_world
from .latents import LatentClips, encode_dataset, start_clips
from .monitor import Monitor
from .samples import sample
from .schedule import cosine

if TYPE_CHECKING:
    from ..train import StageConfig, TrainConfig

STAGES = ("tokenizer", "dynamics", "forcing")
CONTEXT = 16  # frames of a start clip, and what a sample sees before it dreams
PATIENCE = {"float16": 20}  # steps in a row that may be not finite, while the scale of the loss is sought; else none


class Run:
    """One training from its first step, or from its last checkpoint, to a world that can be played."""

    def __init__(self, package: ModuleType, cfg: "TrainConfig", cache: FrameStore, monitor: Monitor):
        """package: a backend; cache: the decoded dataset, whose actions and rates the model takes on."""
        self.package, self.engine, self.cfg, self.cache, self.monitor = package, package.engine, cfg, cache, monitor
        self.out, self.checkpoint = Path(cfg.out), Path(cfg.out) / "checkpoint.safetensors"
        info, models = cache.info, f"{package.__name__}.models.openworld"
        self.config = cfg.model.fitted(info.actions, info.fps, info.sample_rate, info.samples)
        self.losses = importlib.import_module(f"{models}.losses")
        world = importlib.import_module(f"{models}.model").TransformerWorldModel
        self.model = world(self.config).init(package.random.key(cfg.seed))  # what is trained
        still = mean_picture(cache)
        package.nn.assign(self.model.tokenizer, {"still": self.engine.array(still.reshape(-1))})
        self.averaged = world(self.config)  # what samples show, and what is saved as the world
        for model in (self.model, self.averaged):
            self.engine.place(model)
        dynamics = self.model.dynamics
        self._observe, self._step = (self.engine.fixed(f, dynamics) for f in (dynamics.observe, dynamics.step))
        self.dataset = identity(cache, still)
        self.averages: dict[str, np.ndarray] = {}  # of the parts that are done, by the model's names
        self.latents: np.ndarray | None = None
        self.seconds, self._bad = 0.0, 0  # trained before this start; steps in a row that were not finite
        self._begun = self._sampled = self._saved = time.monotonic()

    def go(self) -> None:
        """All stages that are not done yet. Raises MlxworldError for a loss that is not finite and for a full disk."""
        first, step, state = self._resumed()
        trainer: Any = None
        for index in range(first, len(STAGES)):
            trainer = self._trainer(index, state)
            self._train(index, trainer, step)
            self.averages |= self._averages(index, trainer)
            # The last stage goes on with the weights, averages and moments of the second.
            state, step = (trainer.state() if STAGES[index] == "dynamics" else {}), 0
        self._sample(len(STAGES) - 1, trainer, "final")
        self.save(len(STAGES), 0, trainer)

    def _trainer(self, index: int, state: dict[str, np.ndarray]) -> Any:
        """The trainer of a stage, fresh or from a state, and for the dynamics the latents that it learns from."""
        stage, dynamics = self._stage(index), self._part(index) == "dynamics"
        if dynamics and self.latents is None:
            self.engine.load_parameters(self.averaged, self._weights(), "the averaged weights")
            self.monitor.stage("latents", len(self.cache.actions))
            path = self.out / "latents.npy"
            show = lambda frames: self.monitor.update(frames, {})  # noqa: E731
            self.latents = encode_dataset(self.package, self.averaged, self.cache, path, show)
        loss = self._dynamics_loss if dynamics else self.losses.tokenizer_loss
        options = {"precision": self.cfg.precision, "accumulate": stage.accumulate, "compile": self.cfg.compile}
        trainer = self.engine.Trainer(getattr(self.model, self._part(index)), loss, self.cfg.optim, **options)
        if state:
            trainer.load_state(state, str(self.checkpoint))
        return trainer

    def _dynamics_loss(self, model, batch, key):
        return self.losses.dynamics_loss(model, batch, key, self.config.checkpointing)

    def _train(self, index: int, trainer: Any, done: int) -> None:
        """The steps of a stage after the first `done`. The device is waited for at log steps only."""
        name, stage = STAGES[index], self._stage(index)
        seed = self.cfg.seed * 8 + index
        self.monitor.stage(name, stage.steps, done, first=sum(self._stage(i).steps for i in range(index)))
        pending = []
        for frames, first, last in phases(stage.frames, stage.steps):
            if done >= last:
                continue
            reported, waited = time.monotonic(), 0.0
            with contextlib.closing(self._clips(index, frames, seed, max(first, done))) as clips:
                for step in range(max(first, done), last):
                    batch: dict[str, Any] = next(clips)
                    if name == "forcing":
                        batch["dream"] = self._dreamt(batch, step)
                    lr = stage.lr * cosine(step, stage.steps, warmup(stage.steps))
                    pending.append(trainer.step(batch, seed * 2**32 + step, lr))
                    if (step + 1) % self.cfg.log_steps == 0 or step + 1 == stage.steps:
                        now = time.monotonic()
                        share = (clips.waited - waited) / (now - reported)  # without a batch: the loader is too slow
                        reported, waited = now, clips.waited
                        self._report(name, step + 1, pending, {"lr": lr, "frames": frames, "wait": share})
                        self._keep(index, step + 1, trainer)
                        pending = []

    def _clips(self, index: int, frames: int, seed: int, start: int) -> Clips:
        batch = self._stage(index).batch
        if self._part(index) == "tokenizer":
            return Clips(self.cache, batch, frames, seed, start)
        assert self.latents is not None
        return LatentClips(self.latents, self.cache, batch, frames, seed, start)

    def _report(self, name: str, step: int, pending: list, settings: dict[str, float]) -> None:
        """Reads the metrics of the last steps, which waits for the device, and shows their means."""
        found = [self.engine.numpy(metrics) for metrics in pending]
        for metrics in found:
            self._bad = 0 if metrics["finite"] else self._bad + 1
            if self._bad >= PATIENCE.get(self.cfg.precision, 1):
                known = self.checkpoint.exists()
                kept = f"the last good checkpoint is {self.checkpoint}" if known else "no checkpoint was saved yet"
                way = f"go on with --resume and a lower --{name}.lr" if known else f"try a lower --{name}.lr"
                raise MlxworldError(f"the loss of {name} is not finite before step {step}: {kept}; {way}")
        good = [metrics for metrics in found if metrics["finite"]]
        means = {key: float(np.mean([m[key] for m in good])) for key in (good[0] if good else ()) if key != "finite"}
        self.monitor.update(step, means | settings if good else {})

    def _keep(self, index: int, step: int, trainer: Any) -> None:
        """A sample and a checkpoint, if it is time."""
        if time.monotonic() - self._sampled > 60 * self.cfg.sample_minutes:
            self._sample(index, trainer, f"{index + 1}-{STAGES[index]}-{step:06d}")
        if time.monotonic() - self._saved > 60 * self.cfg.save_minutes or step == self._stage(index).steps:
            self.save(index, step, trainer)

    def save(self, index: int, step: int, trainer: Any) -> None:
        """The world as it is now, then a checkpoint, each whole: `step` steps of stage `index` are done."""
        seconds = self.seconds + time.monotonic() - self._begun
        weights = self._weights(min(index, len(STAGES) - 1), trainer)
        self.engine.load_parameters(self.averaged, weights, "the averaged weights")
        half = {n: x.astype(np.float16) if x.dtype == np.float32 else x for n, x in weights.items()}
        starts = start_clips(self.package, self.averaged, self.cache, CONTEXT)
        card = self._card(index, step, seconds)
        save_world(self.out, self.out.resolve().name, self.config, half, starts, card)
        state = trainer.state() | {f"done.{n}": x for n, x in self.averages.items()}
        state |= {"place": np.array([index, step]), "seconds": np.array(seconds)}
        checkpoint.save(self.checkpoint, state, {"format": "1", "dataset": json.dumps(self.dataset)})
        self._saved = time.monotonic()

    def _card(self, index: int, step: int, seconds: float) -> dict[str, Any]:
        """What a world's card says of its training; hours are those that it took."""
        done = {name: self._stage(i).steps if i < index else step * (i == index) for i, name in enumerate(STAGES)}
        info, frames = self.cache.info, len(self.cache.actions)
        hours = round(frames / info.fps / 3600, 3)
        data = {"source": info.source, "frames": frames, "episodes": len(self.cache.names), "hours": hours}
        backend = next(name for name, (package, _) in BACKENDS.items() if package == self.package.__name__)
        where = {"backend": backend, "device": self.engine.device(), "precision": self.cfg.precision}
        about = {"data": data, "licence": info.licence, "preset": self.cfg.preset, "steps": done}
        return about | {"hours": round(seconds / 3600, 3)} | where

    def _sample(self, index: int, trainer: Any, name: str) -> None:
        weights = self._weights(index, trainer)
        self.engine.load_parameters(self.averaged, weights, "the averaged weights")
        context = None if self._part(index) == "tokenizer" else CONTEXT  # dreams only once there is what dreams
        path = self.out / "samples" / name
        sample(self.package, self.averaged, self.cache, path, context=context, seed=self.cfg.seed)
        self.monitor.say(f"sample: {path}.png, .mp4")
        self._sampled = time.monotonic()

    def _resumed(self) -> tuple[int, int, dict[str, np.ndarray]]:
        """A stage, its steps that are done and the trainer's state: of the last checkpoint, if this run resumes."""
        if not (self.cfg.resume and self.checkpoint.exists()):
            return 0, 0, {}
        state, about = checkpoint.load(self.checkpoint)
        try:
            index, step = map(int, state.pop("place"))
            self.seconds, dataset = float(state.pop("seconds")), json.loads(about["dataset"])
        except (KeyError, ValueError) as error:
            raise MlxworldError(f"{self.checkpoint} is not the checkpoint of a training") from error
        self.cache.require_actions(dataset["actions"])
        now = self.dataset
        wrong = [f"{key} {now[key]}, not {value}" for key, value in dataset.items() if value != now[key]]
        if wrong:
            raise MlxworldError(f"{self.cfg.data} is not the dataset that {self.out} began with: {', '.join(wrong)}")
        if index == len(STAGES):
            raise MlxworldError(f"{self.out} is done: choose another --out, or python -m apps.play --world {self.out}")
        self.averages = {n.removeprefix("done."): state.pop(n) for n in list(state) if n.startswith("done.")}
        self.monitor.resumed(sum(self._stage(i).steps for i in range(index)) + step)
        self.monitor.say(f"goes on after step {step} of {STAGES[index]}")
        return index, step, state

    def _stage(self, index: int) -> "StageConfig":
        return getattr(self.cfg, STAGES[index])

    def _part(self, index: int) -> str:
        """The part of the model that a stage trains."""
        return "tokenizer" if STAGES[index] == "tokenizer" else "dynamics"

    def _averages(self, index: int, trainer: Any) -> dict[str, np.ndarray]:
        return {f"{self._part(index)}.{n}": x for n, x in self.engine.numpy(trainer.ema).items()}

    def _weights(self, index: int = 0, trainer: Any = None) -> dict[str, np.ndarray]:
        """All weights, averaged where there are averages: of what is done, and of what `trainer` trains now."""
        now = self._averages(index, trainer) if trainer else {}
        return self.engine.numpy(self.engine.parameters(self.model)) | self.averages | now

    def _dreamt(self, batch: dict[str, Any], step: int) -> Any:
        """What the model makes of a batch's frames: the first half is seen, the rest dreamt. (B, T, K, D)."""
        engine, random = self.engine, self.package.random
        z, actions = engine.array(batch["z"]), engine.array(batch["actions"])
        B, T = actions.shape
        keys = random.split(random.key((self.cfg.seed * 8 + 7) * 2**32 + step, like=z), T)
        cache, frames = self.model.dynamics.empty(B), []
        with engine.inference():
            for t in range(T):
                noise, new, action = random.normal(keys[t], z[:, :1].shape), z[:, t : t + 1], actions[:, t : t + 1]
                if t < T // 2:
                    cache = self._observe(cache, new, noise, action)
                else:
                    new, cache = self._step(cache, noise, action)
                frames.append(engine.copy(new))
            return self.package.ops.concat(frames, axis=1)


def phases(frames: tuple[int, ...], steps: int) -> Iterator[tuple[int, int, int]]:
    """The curriculum: (frames of a clip, first step, last + 1) of each equal part of `steps`."""
    edges = [-(-i * steps // len(frames)) for i in range(len(frames) + 1)]
    yield from zip(frames, edges, edges[1:], strict=False)


def warmup(steps: int) -> int:
    """Steps over which the learning rate rises."""
    return max(1, min(500, steps // 20))


def mean_picture(cache: FrameStore) -> np.ndarray:
    """The mean (H, W, 3) float32 in [0, 1] of 512 frames from all over the dataset."""
    rows = np.linspace(0, len(cache.video) - 1, 512).astype(int)
    return (cache.video[rows].mean(axis=0) / 255).astype(np.float32)


def identity(cache: FrameStore, still: np.ndarray) -> dict[str, Any]:
    """What must not change between a run and its resumption: the dataset's facts, and a digest of what it holds."""
    digest = hashlib.sha256(b"".join(np.ascontiguousarray(x).tobytes() for x in (cache.offsets, cache.actions, still)))
    info = cache.info
    facts = {"actions": list(info.actions), "fps": info.fps, "samples": info.samples, "frames": len(cache.actions)}
    return facts | {"digest": digest.hexdigest()[:16]}
