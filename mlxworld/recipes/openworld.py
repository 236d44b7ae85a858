"""OpenWorld, in three stages: the tokenizer learns to see and to hear; the dynamics learns to foresee, on latents
computed once, first over short clips, then over long ones; if --forcing.steps asks for it, from its own dreams (self
forcing); then, where the data has the state of a simulator, the physics modules learn to read it from latents; last, if
--sharpen.steps asks for it, the decoder of pictures learns from a critic, which is not kept. With --hook a latent hook
alone learns, in the stage of the dynamics, and all else stays what --from has; with --lora matrices of low rank beside
those of its attention, which are part of the weights in the end."""

import importlib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..configs.openworld import OpenWorldConfig, preset
from ..data import Bodies, Clips, FrameStore, easiest, read_bodies, read_scenes
from ..errors import MlxworldError
from ..training.latents import BodyClips, LatentClips, encode_dataset
from ..training.run import Run
from ..training.settings import StageConfig, TrainConfig
from ..training.stage import Batch, Stage
from ..training.together import once
from ..training.turn import Turn
from ..training.worlds import WorldRecipe, dataset_folder

CRITIC = ("tokenizer.critic.",)  # names of what no saved model holds


@dataclass(frozen=True)
class Settings(TrainConfig):
    tokenizer: StageConfig = StageConfig(steps=4000, batch=32, frames=(8,), lr=1e-3, share=0.35)
    dynamics: StageConfig = StageConfig(steps=8000, batch=48, frames=(8, 16, 32), lr=1e-3, share=0.65)
    forcing: StageConfig = StageConfig(steps=0, batch=48, frames=(32,), lr=1e-4, share=0.2)  # off unless it has steps
    own_frames: int = 0  # of a clip of self forcing, at its end, that are dreamt; 0: half of it
    physics: StageConfig = StageConfig(steps=4000, batch=48, frames=(16, 16, 16), lr=5e-4, share=0.15)
    sharpen: StageConfig = StageConfig(steps=0, batch=32, frames=(8,), lr=2e-4, share=0.2)  # off unless it has steps
    critic: float = 0.5  # weight of the critic's pull at the pixels, where that of the truth is 1
    config: OpenWorldConfig = field(default_factory=lambda: preset("nano"))


class Recipe(WorldRecipe):
    Settings = Settings
    cfg: Settings
    _run: Run
    from_data = (*WorldRecipe.from_data, "physics.objects")
    aids = CRITIC
    bodies: Bodies | None = None  # what the data's simulator knew
    scenes: np.ndarray = np.zeros(1, int)  # how hard each episode is
    _latents: np.ndarray | None = None

    def __init__(self, cfg: Settings, frames: FrameStore | None = None):
        if cfg.own_frames < 0 or cfg.critic < 0:
            raise MlxworldError("--own-frames and --critic must not be negative")
        super().__init__(cfg, frames)
        if cfg.adds:
            return
        if frames is None:
            folder = dataset_folder(cfg)
            self.scenes = read_scenes(folder, self.frames)
            self.bodies = read_bodies(folder, self.frames) if cfg.physics.steps else None
        objects = self.bodies.count if self.bodies else 0
        self.config = replace(self.config, physics=replace(self.config.physics, objects=objects))

    def begin(self, run: Run) -> None:
        if self.cfg.adds:
            return
        mean = run.engine.array(self.mean_frame.reshape(-1))
        run.package.nn.assign(run.model, {"tokenizer.mean_frame": mean})
        if self.bodies:
            units = {f"physics.predictor.{name}": run.engine.array(x) for name, x in self.bodies.units().items()}
            run.package.nn.assign(run.model, units)
        if self.cfg.sharpen.steps:
            rooms, key = f"{run.package.__name__}.models", run.package.random.key(self.cfg.seed + 1)
            critic = importlib.import_module(f"{rooms}.objectives.adversarial").PatchCritic()
            importlib.import_module(f"{rooms}.blocks").init_weights(critic, key, 1)
            run.model.tokenizer.critic = critic

    def stages(self, run: Run) -> tuple[Stage, ...]:
        cfg, rooms = self.cfg, f"{run.package.__name__}.models.openworld"
        losses, physics = (importlib.import_module(f"{rooms}.{name}") for name in ("losses", "physics_losses"))
        dynamics, fixed = run.model.dynamics, run.engine.fixed
        self._run, self._observe, self._step = run, fixed(dynamics.observe, dynamics), fixed(dynamics.step, dynamics)

        def tokenizer_loss(model, batch, key):
            return losses.tokenizer_loss(model.tokenizer, batch, key)

        def dynamics_loss(model, batch, key):
            return losses.dynamics_loss(model.dynamics, batch, key, self.config.checkpointing)

        def physics_loss(model, batch, key):
            return physics.physics_loss(model.physics, batch, key)

        def stage(index: int, name: str, part: str, loss: Any, **more: Any) -> Stage:
            c: StageConfig = getattr(cfg, name)
            turn = Turn(part, loss, replace(cfg.optim, lr=c.lr), (f"{part}.",))
            batches = tuple(
                self._batches(part, c.batch, frames, cfg.seed * 8 + index, (i, len(c.frames)))
                for i, frames in enumerate(c.frames)
            )
            return Stage(name, c.steps, (turn,), batches, c.accumulate, c.share, **more)

        dreams: dict[str, Any] = {"prepare": self._encode, "sample": lambda path: self.sample(run, path)}
        if cfg.adds:
            return (stage(1, "dynamics", "dynamics", dynamics_loss, **dreams),)
        stages = (
            stage(0, "tokenizer", "tokenizer", tokenizer_loss, sample=self._reconstruct),
            stage(1, "dynamics", "dynamics", dynamics_loss, **dreams),
            stage(2, "forcing", "dynamics", dynamics_loss, **dreams, extend=self._dreamt, continues=True),
        )
        if self.bodies:
            stages = (*stages, stage(3, "physics", "physics", physics_loss, **dreams))
        return (*stages, self._sharpening(losses)) if cfg.sharpen.steps else stages

    def _sharpening(self, losses: Any) -> Stage:
        """The decoder of pictures and its critic, in turn."""
        cfg, c = self.cfg, self.cfg.sharpen
        optim = replace(cfg.optim, name="adamw", lr=c.lr, beta1=0.5)

        def sharpen_loss(model, batch, key):
            return losses.sharpen_loss(model.tokenizer, batch, key, cfg.critic)

        def critic_loss(model, batch, key):
            return losses.critic_loss(model.tokenizer, batch, key)

        decoder = ("tokenizer.video_processor.", "tokenizer.video_decoder.")
        turns = (Turn("decoder", sharpen_loss, optim, decoder), Turn("critic", critic_loss, optim, CRITIC))
        batches = tuple(self._batches("tokenizer", c.batch, n, cfg.seed * 8 + 4, (0, 1)) for n in c.frames)
        return Stage("sharpen", c.steps, turns, batches, c.accumulate, c.share, sample=self._reconstruct)

    def _reconstruct(self, path: Path) -> None:
        """A picture of what the tokenizer makes of a clip."""
        self.sample(self._run, path, context=None)

    def _drawn(self, part: int, parts: int) -> FrameStore:
        """The dataset of one part of a curriculum: its easiest scenes first."""
        drawn = easiest(self.scenes, part, parts)
        return self.frames if drawn.all() else replace(self.frames, drawn=drawn)

    def _batches(self, part: str, size: int, frames: int, seed: int, place: tuple[int, int]):
        """The batches of one part of a curriculum, from a step on. place: its number, and how many there are."""

        def batches(start: int) -> Clips:
            store = self._drawn(*place)
            if part == "tokenizer":
                return Clips(store, size, frames, seed, start, rare=self.cfg.rare)
            assert self._latents is not None
            if part == "physics":
                assert self.bodies is not None
                return BodyClips(self.bodies, self._latents, store, size, frames, seed, start, rare=self.cfg.rare)
            return LatentClips(self._latents, store, size, frames, seed, start, self.cfg.rare)

        return batches

    def _encode(self) -> None:
        """All frames as latents of the tokenizer that is done."""
        run = self._run
        if self._latents is None:
            run.monitor.stage("latents", len(self.frames.actions))
            path, show = run.out / "latents.npy", lambda frames: run.monitor.update(frames, {})
            once(run.engine, lambda: encode_dataset(run.package, run.model, self.frames, path, show))
            self._latents = np.load(path, mmap_mode="r")

    def _dreamt(self, batch: Batch, step: int) -> Batch:
        """The batch with "dream" (B, T, K, D): its beginning is seen, the rest is what the model makes of it."""
        run, random = self._run, self._run.package.random
        z, actions = run.engine.array(batch["z"]), run.engine.array(batch["actions"])
        B, T = actions.shape[:2]
        keys = random.split(random.key((self.cfg.seed * 8 + 7) * 2**32 + step, like=z), T)
        cache, dream = run.model.dynamics.init_state(B), []
        seen = T - min(self.cfg.own_frames or T // 2, T - 1)
        with run.engine.inference():
            for t in range(T):
                noise, new, action = random.normal(keys[t], z[:, :1].shape), z[:, t : t + 1], actions[:, t : t + 1]
                if t < seen:
                    cache = self._observe(cache, new, noise, action)
                else:
                    new, cache = self._step(cache, noise, action)
                dream.append(run.engine.copy(new))
            return batch | {"dream": run.package.ops.concat(dream, axis=1)}
