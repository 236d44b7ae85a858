"""A small world with random weights, as a folder that World.load takes: for tests of what plays worlds."""

from pathlib import Path

import numpy as np

from mlxworld import on
from mlxworld.configs.openworld import (
    AudioConfig,
    DecoderConfig,
    DynamicsConfig,
    LatentConfig,
    OpenWorldConfig,
    VisionConfig,
)
from mlxworld.files import model_folder

SMALL = OpenWorldConfig(
    size=32,
    patch=16,
    vision=VisionConfig(dim=32, heads=1, depth=1, taps=(1,)),
    audio=AudioConfig(bands=16, dim=16),
    latent=LatentConfig(grid=2, dim=16, content=12),
    dynamics=DynamicsConfig(dim=64, heads=1, depth=2, window=4, memory=8, every=2),
    decoder=DecoderConfig(dim=32, heads=1, depth=1, channels=(16, 16, 16, 16)),
)


def small_world(folder: Path, cfg: OpenWorldConfig = SMALL) -> Path:
    """Writes the world to `folder` and returns it."""
    models = __import__(on("torch").__name__ + ".models.openworld.model", fromlist=["x"])
    draw = np.random.default_rng(0)
    shapes = {name: x.shape for name, x in on("torch").engine.parameters(models.TransformerWorldModel(cfg)).items()}
    weights = {name: 0.2 * draw.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    z = draw.standard_normal((2, 4, cfg.latent.tokens, cfg.latent.dim)).astype(np.float16)
    starts = {"z": z, "actions": np.zeros((2, 4), np.int32)}
    model_folder.save(folder, "small", cfg, weights, {}, {"starts.safetensors": starts})
    return folder
