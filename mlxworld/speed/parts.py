"""What is measured of a world: the whole step, and dynamics, decoder and encoder alone, each a pure function.

B worlds, T frames, S samples of a frame.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any

import numpy as np


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
    own, one, space = model.parts(batch), model.parts(1), model.cfg.action_space
    video, audio = own["video"], own["audio"]

    def step(state, action):
        cache, key = state
        key, present = random.split(key)
        pictures, sound, _, cache = model.step(cache, model.noise(present, batch), action)
        return (ops.uint8(pictures * 255), sound), (cache, key)

    def decoder(state, z):
        (pictures,), _ = video.fn(video.state, z)
        (sound,), state = audio.fn(state, z)
        return (ops.uint8(pictures * 255), sound), state

    action = engine.array(np.zeros((batch, 1, *space.shape), space.dtype))
    key = random.key(7, like=engine.array(np.zeros(1, np.float32)))
    return {
        "step": Part(step, (model.init_state(batch), key), (action,), batch),
        "dynamics": _alone(engine, own["step"], batch),
        "decoder": replace(_alone(engine, audio, batch), fn=decoder),
        "encoder": _alone(engine, one["encode"], one["encode"].inputs["video"].shape[1]),
    }


def _alone(engine: Any, part: Any, frames: int) -> Part:
    """A part of the model with random numbers as its inputs."""
    rng = np.random.default_rng(0)
    examples = [engine.numpy(x) for x in part.inputs.values()]
    drawn = [rng.standard_normal(x.shape).astype(np.float32) if x.dtype.kind == "f" else x for x in examples]
    state = part.state or engine.array(np.zeros(1, np.float32))  # a loop passes something on
    return Part(part.fn, state, tuple(engine.array(x) for x in drawn), frames)
