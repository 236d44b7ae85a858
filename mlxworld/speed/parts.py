"""What is measured of a world: the whole step, and dynamics, decoder and encoder alone, each a pure function.

B worlds, T frames, K tokens of width D, S samples of a frame.
"""

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

CLIP = 8  # frames that the encoder is given at once


@dataclass(frozen=True)
class Part:
    """fn(state, *inputs) -> outputs, state: arrays of fixed shapes. A call gives `frames` frames, of all worlds."""

    fn: Callable[..., tuple[Any, Any]]
    state: Any
    inputs: tuple
    frames: int


def parts(package: ModuleType, model: Any, batch: int = 1) -> dict[str, Part]:
    """The step of B = batch worlds (noise drawn, picture as bytes), and its pieces; all arrays are on the device."""
    engine, ops, random = package.engine, package.ops, package.random
    cfg, rng = model.cfg, np.random.default_rng(0)

    def step(state, action):
        cache, key = state
        key, now = random.split(key)
        video, audio, _, cache = model.step(cache, model.noise(now, batch), action)
        return (ops.uint8(video * 255), audio), (cache, key)

    def dynamics(cache, noise, action):
        return model.dynamics.step(cache, noise, action)

    def decoder(state, z):
        video, audio, state = model.decode(z, state)
        return (ops.uint8(video * 255), audio), state

    def encoder(state, video, audio):
        return model.encode(video, audio), state

    def normal(*shape):
        return engine.array(rng.standard_normal(shape).astype(np.float32))

    z, action = normal(batch, 1, cfg.latent.tokens, cfg.latent.dim), engine.array(np.zeros((batch, 1), np.int32))
    video, audio = normal(1, CLIP, cfg.size, cfg.size, 3), normal(1, CLIP, cfg.samples)
    key = random.key(7, like=z)
    return {
        "step": Part(step, (model.empty(batch), key), (action,), batch),
        "dynamics": Part(dynamics, model.dynamics.empty(batch), (z, action), batch),
        "decoder": Part(decoder, model.tokenizer.audio.empty(batch), (z,), batch),
        "encoder": Part(encoder, key, (video, audio), CLIP),
    }
