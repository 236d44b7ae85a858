"""A small world with random weights, as a folder that World.load takes: for tests of what plays worlds."""

from pathlib import Path

import numpy as np

from mlxworld import families, on
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
    dynamics=DynamicsConfig(dim=64, heads=1, depth=2, local_window=4, global_window=8, global_every=2),
    decoder=DecoderConfig(dim=32, heads=1, depth=1, channels=(16, 16, 16, 16)),
)


def small_world(folder: Path, cfg: OpenWorldConfig = SMALL) -> Path:
    """Writes the world to `folder` and returns it."""
    torch, draw = on("torch"), np.random.default_rng(0)
    model = families.model(torch, cfg.family)(cfg)
    shapes = {name: tuple(x.shape) for name, x in (torch.nn.parameters(model) | torch.nn.buffers(model)).items()}
    weights = {name: 0.2 * draw.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    z = draw.standard_normal((2, 4, *cfg.latent_shape)).astype(np.float16)
    starts = {"z": z, "actions": np.zeros((2, 4), np.int32)}
    model_folder.save(folder, "small", cfg, weights, {}, {"starts.safetensors": starts})
    return folder
