"""The smallest OmniLatent, on either backend, with something of each modality to read."""

import importlib
from typing import Any

import numpy as np

from mlxworld import on
from mlxworld.configs.hook import HookConfig
from mlxworld.configs.omnilatent import Config

_TEXT: dict[str, Any] = {"vocab_size": 30, "max_text": 12, "bands": 8, "audio_frames": 6}
_PICTURE: dict[str, Any] = {
    "image_size": 16,
    "image_patch": 8,
    "video_size": 16,
    "video_patch": 8,
    "frames": 4,
    "tubelet": 2,
}
CONFIG = Config(hidden_dim=32, num_layers=3, num_heads=2, **_TEXT, **_PICTURE)
BOTH = ("mlx", "torch")


def model(backend, seed=0, config=CONFIG, fresh=True):
    """fresh: with first weights."""
    package = on(backend)
    made = importlib.import_module(f"{package.__name__}.models.omnilatent").Model(config)
    return package, made.init(package.random.key(seed)) if fresh else made


def hook(package, name="h", layers=(0, 2), bias=0.0, seed=5, tokens=3):
    """A hook whose tokens are large and whose transforms do something."""
    hooks = importlib.import_module(f"{package.__name__}.models.blocks.hooks")
    made = hooks.LatentNeuralHook(HookConfig(name, tokens, CONFIG.hidden_dim, layers, bias))
    made.init(package.random.key(seed))
    package.nn.assign(made, {"tokens": package.random.normal(package.random.key(seed), (tokens, CONFIG.hidden_dim))})
    return made


def data():
    r = np.random.default_rng(0)
    return {
        "text": np.array([[3, 4, 5, 6], [7, 8, 9, 2]], np.int32),
        "audio": r.normal(size=(2, 6, 8)).astype(np.float32),
        "image": r.random((2, 16, 16, 3), dtype=np.float32),
        "video": r.random((2, 4, 16, 16, 3), dtype=np.float32),
    }
