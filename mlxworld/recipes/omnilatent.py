"""OmniLatent on told scenes (--data scenes), made as they are needed: first each modality again, then every pair of
two, last all 16 with latents that agree (InfoNCE)."""

import hashlib
import importlib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..configs.omnilatent import MODALITIES, OmniLatentConfig, preset_of
from ..data.envs.scenes import FRAMES, SIZE
from ..data.pairs.scenes import COLUMNS, SceneBatches, batch_of, held_out
from ..errors import MlxworldError
from ..evaluate.strip import save_png
from ..text.bytes import SIZE as LETTERS
from ..text.bytes import Bytes
from ..training.recipe import Recipe as BaseRecipe
from ..training.settings import StageConfig, TrainConfig
from ..training.stage import Stage
from ..training.turn import Turn

if TYPE_CHECKING:
    from ..training.run import Run

SAME = tuple((m, m) for m in MODALITIES)
CROSS = tuple((a, b) for a in MODALITIES for b in MODALITIES if a != b)


@dataclass(frozen=True)
class Settings(TrainConfig):
    preset: str = "scenes"
    reconstruct: StageConfig = StageConfig(steps=1000, batch=32, frames=(FRAMES,), lr=1e-3, share=0.1)
    cross: StageConfig = StageConfig(steps=6000, batch=32, frames=(FRAMES,), lr=1e-3, share=0.6)
    joint: StageConfig = StageConfig(steps=3000, batch=32, frames=(FRAMES,), lr=5e-4, share=0.3)
    contrast: float = 0.2  # weight of InfoNCE in the last two stages
    config: OmniLatentConfig = field(default_factory=lambda: preset_of("scenes"))


class Recipe(BaseRecipe):
    Settings = Settings
    cfg: Settings

    def __init__(self, cfg: Settings):
        super().__init__(cfg)
        if cfg.data != "scenes":
            raise MlxworldError(f"OmniLatent learns from --data scenes, not {cfg.data}")
        c = self.config = cfg.config
        needed = (LETTERS, COLUMNS * FRAMES, SIZE, SIZE, FRAMES)
        if (c.vocab_size, c.audio_frames, c.image_size, c.video_size, c.frames) != needed:
            raise MlxworldError("told scenes need a model of their sizes: --preset scenes, or nano")
        for name, stage in cfg.stages():
            if stage.frames != (FRAMES,):
                raise MlxworldError(f"--{name}.frames is {FRAMES}: a told scene has as many")
        first = batch_of(held_out(2, False), c.bands, c.max_text)
        digest = hashlib.sha256(b"".join(x.tobytes() for x in first.values())).hexdigest()[:16]
        self.identity = {"source": "scenes", "digest": digest}
        self.card = {"data": {"source": "scenes"}, "licence": "CC0-1.0"}

    def stages(self, run: "Run") -> tuple[Stage, ...]:
        cfg, losses = self.cfg, importlib.import_module(f"{run.package.__name__}.models.omnilatent.losses")

        def stage(index: int, name: str, pairs: tuple, contrast: float) -> Stage:
            c: StageConfig = getattr(cfg, name)

            def loss(model, batch, key):
                return losses.pairs_loss(model, batch, pairs, contrast)

            def batches(start: int) -> SceneBatches:
                return SceneBatches(c.batch, self.config.bands, self.config.max_text, cfg.seed * 8 + index, start)

            turn = Turn(name, loss, replace(cfg.optim, lr=c.lr))
            return Stage(
                name, c.steps, (turn,), (batches,), c.accumulate, c.share, sample=lambda path: self.sample(run, path)
            )

        return (
            stage(0, "reconstruct", SAME, 0.0),
            stage(1, "cross", CROSS, cfg.contrast),
            stage(2, "joint", SAME + CROSS, cfg.contrast),
        )

    def sample(self, run: "Run", path: Path) -> None:
        """PATH.png: pictures of four held-out scenes, and under each what the model draws from its text; PATH.txt: what
        it writes of each picture, under what is so."""
        engine, c = run.engine, self.config
        batch = batch_of(held_out(4, False), c.bands, c.max_text)
        image = engine.array(batch["image"].astype(np.float32) / 255)
        with engine.inference():
            drawn = engine.numpy(run.model("text", engine.array(batch["text"]), "image")["output"]).astype(np.float32)
            told = engine.numpy(run.model.generate("image", image, c.max_text))
        drawn = (255 * drawn.clip(0, 1) + 0.5).astype(np.uint8)
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = [np.concatenate(list(x), axis=1) for x in (batch["image"], drawn)]
        save_png(path.with_name(f"{path.name}.png"), np.concatenate(rows))
        lines = [f"{Bytes().decode(a)}\n  {Bytes().decode(b)}\n" for a, b in zip(batch["text"], told, strict=True)]
        path.with_name(f"{path.name}.txt").write_text("".join(lines))
