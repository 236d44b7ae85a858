"""A world's folder as training writes it, loaded and played: for the tests of World."""

import numpy as np

import mlxworld
from mlxworld import World
from mlxworld.files import model_folder
from tests.models.small import SMALL, latents, lively

ACTIONS = [0, 1, 2, 2, 1, 0, "up", "down", "noop", 1, 1, 1, 2, 0, 2, 1]


def write(folder, cfg=SMALL, name="small", net=None):
    """A world's folder, made on PyTorch; three start clips of four frames."""
    backend = mlxworld.on("torch")
    net = lively(backend, cfg) if net is None else net
    starts = latents(cfg, frames=4, count=3)
    weights = backend.engine.numpy(backend.nn.parameters(net) | backend.nn.buffers(net))
    model_folder.save(folder, name, cfg, weights, {"made": "by a test"}, {"starts.safetensors": starts})
    return folder


def load(folder, backend, **options):
    """In float32, as tests that compare want it; unless told otherwise."""
    name = "mlx" if backend.__name__ == "mlxworld" else "torch"
    return World.load(folder, name, **({"precision": "float32"} | options))


def play(world, actions=ACTIONS):
    """Frames of video (T, ..., H, W, 3) and audio (T, ..., S)."""
    frames = [world.step(a) for a in actions]
    return np.stack([f.video for f in frames]), np.stack([f.audio for f in frames])


def same(a, b):
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))
