"""The stages of a training, and how a run survives: every step is a function of (settings, step), every file is whole.

Killed at any moment, a run goes on from its last checkpoint to the same weights, bit for bit on the CPU.
"""

import time
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from . import checkpoint, config
from .data import Clips, clip_starts, write_clip
from .dream import dream
from .errors import MlxworldError
from .evaluate.figures import save_png, strip
from .world import save_world

STAGES = ("tokenizer", "dynamics", "forcing")
CONTEXT = 16  # frames of a start clip, and what a sample sees before it dreams
CHUNK = 64  # frames that are encoded at once


class Run:
    """One training from its first step, or from a checkpoint, to a world that can be played."""

    def __init__(self, package: ModuleType, cfg, model_config: config.OpenWorldConfig, cache, monitor):
        """package: a backend; cfg: TrainConfig; cache: the decoded dataset; monitor: what shows progress."""
        self.package, self.engine = package, package.engine
        self.cfg, self.model_config, self.cache, self.monitor = cfg, model_config, cache, monitor
        self.out = Path(cfg.out)
        world = __import__(package.__name__ + ".models.openworld.model", fromlist=["x"]).TransformerWorldModel
        self.losses = __import__(package.__name__ + ".models.openworld.losses", fromlist=["x"])
        self.model = world(model_config).init(package.random.key(cfg.seed))
        still = cache.video[np.linspace(0, len(cache.video) - 1, 512).astype(int)].mean(axis=0) / 255
        self.package.nn.assign(self.model.tokenizer, {"still": self.engine.array(still.astype(np.float32).reshape(-1))})
        self.preview = world(model_config)  # the averaged weights, for samples and for the world that is saved
        for model in (self.model, self.preview):
            self.engine.place(model)
        self.stage = 0
        self.trainer: Any = None
        self.latents: Any = None
        self.averages: dict[str, np.ndarray] = {}  # of stages that are done
        self.sampled = self.saved = time.time()
        longest = max(max(getattr(cfg, name).frames) for name in STAGES if getattr(cfg, name).steps)
        clip_starts(cache, max(longest, CONTEXT), 1, cfg.seed, 0)  # says so now if every episode is too short

    def go(self) -> None:
        """All stages that are not done yet."""
        state = self._resumed()
        for number in range(self.stage, len(STAGES)):
            self.stage = number
            name = STAGES[self.stage]
            stage = getattr(self.cfg, name)
            part = "tokenizer" if name == "tokenizer" else "dynamics"
            if part == "dynamics" and self.latents is None:
                self._encode()
            if name != "forcing" or self.trainer is None:
                loss = self.losses.tokenizer_loss if part == "tokenizer" else self._dynamics_loss
                options = {"precision": self.cfg.precision, "accumulate": stage.accumulate, "compile": self.cfg.compile}
                self.trainer = self.engine.Trainer(getattr(self.model, part), loss, self.cfg.optim, **options)
            step = 0
            if state is not None:
                step = int(state.pop("stage_step"))
                self.trainer.load_state(state, str(self._checkpoint))
                state = None
            self._train(name, stage, step)
            self.averages |= {f"{part}.{n}": x for n, x in self.engine.numpy(self.trainer.ema).items()}
        self.save(len(STAGES), 0)
        self.sample("final")

    def _dynamics_loss(self, model, batch, key):
        return self.losses.dynamics_loss(model, batch, key, self.model_config.checkpointing)

    def _train(self, name, stage, step):
        self.monitor.stage(name, stage.steps)
        pending, batches, frames = [], None, 0
        while step < stage.steps:
            phase = stage.frames[step * len(stage.frames) // stage.steps]
            if phase != frames or batches is None:
                frames, batches = phase, self._batches(name, stage, phase, step)
            batch = next(batches)
            if name == "forcing":
                batch["dream"] = self._dreamt(batch, step)
            seed = (self.cfg.seed * 8 + self.stage) * 2**32 + step
            pending.append(
                self.trainer.step(batch, seed, stage.lr * config.cosine(step, stage.steps, warmup(stage.steps)))
            )
            step += 1
            if step % self.cfg.log_steps == 0 or step == stage.steps:
                self._report(name, step, frames, pending)
                pending = []
                self._look(name, step)

    def _batches(self, name, stage, frames, step):
        """Batches from `step` on: of pictures and sound, or of latents."""
        seed = self.cfg.seed * 8 + self.stage
        if name == "tokenizer":
            yield from Clips(self.cache, stage.batch, frames, seed, start=step)
        while True:
            rows = clip_starts(self.cache, frames, stage.batch, seed, step)[:, None] + np.arange(frames)
            yield {"z": self.latents[rows].astype(np.float32), "actions": self.cache.actions[rows].astype(np.int32)}
            step += 1

    def _report(self, name, step, frames, pending):
        found = [self.engine.numpy(metrics) for metrics in pending]
        if not all(metrics["finite"] for metrics in found):
            kept = (
                f"the last good checkpoint is {self._checkpoint}" if self._checkpoint.exists() else "none was saved yet"
            )
            raise MlxworldError(f"the loss of {name} is not finite before step {step}: {kept}; try a lower --{name}.lr")
        mean = {key: float(np.mean([metrics[key] for metrics in found])) for key in found[0] if key != "finite"}
        self.monitor.update(step, mean, f"{frames} frames")

    def _look(self, name, step):
        if time.time() - self.saved > 60 * self.cfg.save_minutes or step == getattr(self.cfg, name).steps:
            self.save(self.stage, step)
        if time.time() - self.sampled > 60 * self.cfg.sample_minutes:
            self.sample(f"{name}-{step:06d}")

    def save(self, stage: int, step: int) -> None:
        """A checkpoint to resume from, and the world as it is now. Whole or not at all."""
        assert self.trainer is not None
        state = self.trainer.state() | {"stage": np.array(stage), "stage_step": np.array(step)}
        state |= {f"done.{n}": x for n, x in self.averages.items()}
        checkpoint.save(self._checkpoint, state, {"format": "1"})
        self._save_world()
        self.saved = time.time()

    def sample(self, name: str) -> None:
        """A picture strip and a clip with sound: real above, dream below."""
        frames = CONTEXT + 48
        rows = clip_starts(self.cache, min(frames, self.cache.longest), 1, self.cfg.seed + 1, 0)[:, None]
        rows = rows + np.arange(min(frames, self.cache.longest))
        video, audio = self.cache.video[rows], self.cache.sound(rows)
        self._preview()
        dreamt, sound = dream(self.package, self.preview, video, audio, self.cache.actions[rows], CONTEXT)
        folder = self.out / "samples"
        folder.mkdir(exist_ok=True)
        rate = self.model_config.sample_rate
        picture = strip(
            video[0], dreamt[0], every=4, scale=1, real_audio=audio[0], dream_audio=sound[0], sample_rate=rate
        )
        save_png(folder / f"{name}.png", picture)
        both = np.concatenate([video[0], dreamt[0]], axis=1)
        write_clip(folder / f"{name}.mp4", both, sound[0], self.model_config.fps, rate)
        self.monitor.say(f"sample: {folder / name}.png, .mp4")
        self.sampled = time.time()

    @property
    def _checkpoint(self) -> Path:
        return self.out / "checkpoint.safetensors"

    def _resumed(self):
        """The state of the last checkpoint, if this run resumes one."""
        if not (self.cfg.resume and self._checkpoint.exists()):
            return None
        state, _ = checkpoint.load(self._checkpoint)
        self.stage = int(state.pop("stage"))
        self.averages = {n.removeprefix("done."): state.pop(n) for n in list(state) if n.startswith("done.")}
        if self.stage == len(STAGES):
            raise MlxworldError(f"{self.out} is done: choose another --out")
        return state

    def _preview(self):
        """The averaged weights of what is trained so far, in the preview model."""
        assert self.trainer is not None
        weights = self.engine.numpy(self.engine.parameters(self.model)) | self.averages
        part = "tokenizer" if self.stage == 0 else "dynamics"
        weights |= {f"{part}.{n}": x for n, x in self.engine.numpy(self.trainer.ema).items()}
        self.engine.load_parameters(self.preview, weights, "the averaged weights")
        return weights

    def _encode(self):
        """Latents (N, K, D) float16 of the whole dataset by the averaged tokenizer, in a memory-mapped file."""
        self._preview_tokenizer()
        c, memory, total = self.model_config.latent, self.model_config.vision.memory, len(self.cache.actions)
        path = self.out / "latents.npy"
        z = np.lib.format.open_memmap(path, "w+", np.float16, (total, c.tokens, c.dim))
        self.monitor.stage("latents", total)
        for first, last in self.cache.spans():
            for begin in range(first, last, CHUNK):
                past, end = max(first, begin - memory + 1), min(last, begin + CHUNK)
                found = self._latents(np.arange(past, past + CHUNK + memory).clip(max=last - 1))
                z[begin:end] = found[begin - past : end - past]
                self.monitor.update(end, {})
        self.latents = z

    def _latents(self, rows):
        engine = self.engine
        with engine.inference():
            video = engine.array(self.cache.video[rows][None].astype(np.float32) / 255)
            return engine.numpy(self.preview.encode(video, engine.array(self.cache.sound(rows)[None])))[0]

    def _preview_tokenizer(self):
        self.engine.load_parameters(
            self.preview, self.engine.numpy(self.engine.parameters(self.model)) | self.averages, "the averaged weights"
        )

    def _dreamt(self, batch, step):
        """What the model makes of a batch's frames: the first half is seen, the rest dreamt. (B, T, K, D)."""
        engine, random = self.engine, self.package.random
        model, z = self.model.dynamics, engine.array(batch["z"])
        B, T = batch["actions"].shape
        keys = random.split(random.key((self.cfg.seed * 8 + 7) * 2**32 + step, like=z), T)
        cache, out = model.empty(B), []
        if not hasattr(self, "_rollout"):
            self._rollout = engine.fixed(model.step), engine.fixed(model.observe)
        with engine.inference():
            for t in range(T):
                noise, action = random.normal(keys[t], z[:, :1].shape), engine.array(batch["actions"][:, t : t + 1])
                if t < T // 2:
                    new, cache = z[:, t : t + 1], self._rollout[1](cache, z[:, t : t + 1], noise, action)
                else:
                    new, cache = self._rollout[0](cache, noise, action)
                out.append(engine.copy(new))
            return self.package.ops.concat(out, axis=1)

    def _save_world(self):
        weights = self._preview()
        rows = np.linspace(0, 1, 16)
        spans = [(a, b) for a, b in self.cache.spans() if b - a > CONTEXT + 1]
        chosen = [spans[int(r * (len(spans) - 1))] for r in rows]
        firsts = [int(a + (b - a - CONTEXT) * ((i * 0.618) % 1)) for i, (a, b) in enumerate(chosen)]
        frames = np.array(firsts)[:, None] + np.arange(CONTEXT)
        z = np.stack([self._latents(row) for row in frames]).astype(np.float16)
        starts = {"z": z, "actions": self.cache.actions[frames].astype(np.int32)}
        weights = {n: x.astype(np.float16) if x.dtype == np.float32 else x for n, x in weights.items()}
        card = {
            "source": self.cache.info.source,
            "licence": self.cache.info.licence,
            "stage": STAGES[min(self.stage, 2)],
        }
        save_world(self.out, self.out.name, self.model_config, weights, starts, card)


def warmup(steps: int) -> int:
    """Steps over which the learning rate rises."""
    return max(1, min(500, steps // 20))
