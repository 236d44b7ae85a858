"""A toy: one stage."""

import importlib
from dataclasses import dataclass, field, replace

from mlxworld.configs.toy import Config
from mlxworld.data import Clips
from mlxworld.training.settings import StageConfig, TrainConfig
from mlxworld.training.stage import Stage
from mlxworld.training.turn import Turn
from mlxworld.training.worlds import WorldRecipe


@dataclass(frozen=True)
class Settings(TrainConfig):
    learn: StageConfig = StageConfig(steps=50, batch=4, frames=(4, 8), lr=1e-3)
    config: Config = field(default_factory=Config)


class Recipe(WorldRecipe):
    Settings = Settings

    def begin(self, run):
        run.package.nn.assign(run.model, {"mean_frame": run.engine.array(self.mean_frame.reshape(-1))})

    def stages(self, run):
        c, loss = self.cfg.learn, importlib.import_module(f"{run.package.__name__}.models.toy").loss
        turn = Turn("learn", loss, replace(self.cfg.optim, lr=c.lr))
        batches = tuple(lambda start, T=T: Clips(self.frames, c.batch, T, self.cfg.seed, start) for T in c.frames)
        return (Stage("learn", c.steps, (turn,), batches, c.accumulate, sample=lambda path: self.sample(run, path)),)
