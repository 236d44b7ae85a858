"""A small OpenWorld whose every part matters, the same weights on either backend, and clips to feed it."""

import dataclasses
import importlib
from types import ModuleType
from typing import Any

import numpy as np

from mlxworld import families
from mlxworld.configs.openworld import (
    AudioConfig,
    DecoderConfig,
    DynamicsConfig,
    LatentConfig,
    OpenWorldConfig,
    VisionConfig,
)

SMALL = OpenWorldConfig(
    size=32,
    patch=8,
    fps=30,
    sample_rate=7680,
    samples=256,
    vision=VisionConfig(dim=64, heads=2, depth=2, taps=(1, 2), temporal_window=3),
    audio=AudioConfig(bands=16, columns=4, overlap=4, dim=32),
    latent=LatentConfig(grid=2, audio=1, dim=16, content=12),
    dynamics=DynamicsConfig(
        dim=64, heads=2, depth=2, global_every=2, local_window=3, global_window=4, period=24, noise_levels=4, steps=2
    ),
    decoder=DecoderConfig(dim=64, heads=2, depth=1, channels=(32, 16, 16)),
)
B, T = 2, 5


def changed(cfg: OpenWorldConfig = SMALL, **parts) -> OpenWorldConfig:
    """cfg with other values: changed(dynamics={"steps": 4}, size=64)."""
    parts = {n: dataclasses.replace(getattr(cfg, n), **v) if isinstance(v, dict) else v for n, v in parts.items()}
    return dataclasses.replace(cfg, **parts)


def module(backend: ModuleType, name: str) -> Any:
    """mlxworld/models/<name>.py as it runs on the backend."""
    return importlib.import_module(f"{backend.__name__}.models.{name}")


def fresh(backend: ModuleType, cfg: OpenWorldConfig = SMALL, seed: int = 0) -> Any:
    """The whole model, initialised as training does."""
    return families.model(backend, "openworld")(cfg).init(backend.random.key(seed))


def arrays(backend: ModuleType, net: Any) -> dict[str, Any]:
    """All that is saved of a model: parameters and buffers."""
    return backend.nn.parameters(net) | backend.nn.buffers(net)


def weights(backend: ModuleType, net: Any, seed: int = 0) -> dict[str, np.ndarray]:
    """Values by name that leave no part of `net` near zero, as a fresh head or embedding is."""
    rng, made = np.random.default_rng(seed), {}
    for name, now in sorted(backend.engine.numpy(arrays(backend, net)).items()):
        draw, kind = rng.normal(size=now.shape), name.split(".")[-1]
        if kind in ("channel_gate", "log_variance"):
            draw = now + 0.1 * draw
        elif kind in ("mass", "energy", "extent", "speed"):
            draw = 1 + 0.1 * np.abs(draw)
        elif kind == "mean_frame":
            draw = 0.4 + 0.1 * draw
        elif kind == "bias":
            draw = 0.1 * draw
        elif kind == "weight" and now.ndim == 1:
            draw = 1 + 0.1 * draw
        elif kind == "weight" and "embed_" not in name:
            draw = draw / np.sqrt(np.prod(now.shape[1:]))
        else:
            draw = 0.5 * draw
        made[name] = draw.astype(np.float32)
    return made


def lively(backend: ModuleType, cfg: OpenWorldConfig = SMALL, seed: int = 0) -> Any:
    """The whole model with the weights of `weights`."""
    net = families.model(backend, "openworld")(cfg)
    backend.engine.load_parameters(net, weights(backend, net, seed), "the test")
    return net


def clip(cfg: OpenWorldConfig = SMALL, frames: int = T, count: int = B, seed: int = 0) -> dict[str, np.ndarray]:
    """video (B, T, H, W, 3) uint8: a bright square that wanders over a gradient; audio (B, T, S): a tone that
    jumps in pitch and loudness each frame, in noise; actions (B, T) int32."""
    rng, n = np.random.default_rng(seed), cfg.size
    video = np.broadcast_to(np.linspace(20, 120, n)[:, None, None], (count, frames, n, n, 3)).copy()
    video[..., 1] *= 0.5
    for b, t in np.ndindex(count, frames):
        y, x = rng.integers(0, n - n // 8, 2)
        video[b, t, y : y + n // 8, x : x + n // 8] = rng.integers(128, 256, 3)
    time = np.arange(cfg.samples) / cfg.sample_rate
    pitch = rng.uniform(200, 0.4 * cfg.sample_rate, (count, frames, 1))
    audio = rng.uniform(0.05, 0.4, pitch.shape) * np.sin(2 * np.pi * pitch * time) + 0.02 * rng.normal(
        size=(count, frames, cfg.samples)
    )
    actions = rng.integers(0, len(cfg.actions), (count, frames))
    return {
        "video": video.round().astype(np.uint8),
        "audio": audio.astype(np.float32),
        "actions": actions.astype(np.int32),
    }


def unit(z: np.ndarray) -> np.ndarray:
    """Each token of z (..., D) scaled to mean square 1, where latents live."""
    return (z / np.sqrt((z**2).mean(-1, keepdims=True))).astype(np.float32)


def latents(cfg: OpenWorldConfig = SMALL, frames: int = T, count: int = B, seed: int = 0) -> dict[str, np.ndarray]:
    """z (B, T, K, D) of unit tokens, actions (B, T): what the dynamics trains on."""
    rng = np.random.default_rng(seed)
    z = unit(rng.normal(size=(count, frames, cfg.latent.tokens, cfg.latent.dim)))
    return {"z": z, "actions": rng.integers(0, len(cfg.actions), (count, frames)).astype(np.int32)}


def encode(backend: ModuleType, net: Any, given: dict[str, np.ndarray], **present: np.ndarray) -> np.ndarray:
    """z (B, T, K, D) of a clip."""
    engine = backend.engine
    with engine.inference():
        video = engine.array(given["video"].astype(np.float32) / 255)
        return engine.numpy(net.encode(video, engine.array(given["audio"]), **engine.array(present)))


def gradients(backend: ModuleType, net: Any, loss: Any, batch: dict, seed: int = 0) -> dict[str, np.ndarray]:
    """Gradients of loss(net, batch, key) by each parameter's name."""
    engine = backend.engine
    key, batch, held = backend.random.key(seed), engine.array(batch), dict(engine.parameters(net))
    if backend.__name__ == "mlxworld":
        import mlx.core as mx

        def total(values):
            backend.nn.assign(net, values)
            return loss(net, batch, key)[0]

        found = mx.grad(total)(held)
        backend.nn.assign(net, held)
        return engine.numpy(found)
    import torch

    found = torch.autograd.grad(loss(net, batch, key)[0], list(held.values()), materialize_grads=True)
    return engine.numpy(dict(zip(held, found, strict=True)))


def gap(a, b) -> float:
    """Largest absolute difference."""
    return float(np.abs(np.asarray(a, np.float64) - np.asarray(b, np.float64)).max())
