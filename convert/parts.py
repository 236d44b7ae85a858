"""The parts of a world that leave the house, as torch modules of named inputs and outputs and of fixed shapes.

| part | does |
|---|---|
| step | the next latent: every denoising pass in one graph; the ring cache is its state |
| observe | takes a latent that happened into the same state |
| video | a latent's picture; no state |
| audio | a latent's sound; its small state goes in and comes out |
| encode | a clip of N frames to latents, for a beginning of your own |

One world, one frame a call, float32; whoever exports a part chooses its precision. Knows nothing of file formats.
"""

import contextlib
import importlib
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils._pytree import tree_flatten, tree_unflatten

from mlxworld.configs.openworld import OpenWorldConfig
from mlxworld.files import checkpoint
from mlxworld.play.world import model_config, read_config, read_weights
from torch_backend import engine, ops
from torch_backend.stateful import Stateful, named

GROUPS = {
    "all": ("step", "observe", "video", "audio", "encode"),
    "dynamics": ("step", "observe"),
    "decoder": ("video", "audio"),
    "encoder": ("encode",),
}


class Port(NamedTuple):
    """An input or an output: its shape and dtype as an example, and what it is, with units."""

    example: torch.Tensor
    about: str


@dataclass(frozen=True)
class Part:
    """forward(**inputs) -> a tuple of outputs, in the order of their names. state: names to the buffers that the part
    keeps between calls, zeros before the first; `step` and `observe` have the same."""

    name: str
    about: str
    module: torch.nn.Module
    inputs: dict[str, Port]
    outputs: dict[str, str]
    state: dict[str, torch.Tensor] = field(default_factory=dict)

    @property
    def examples(self) -> dict[str, torch.Tensor]:
        """A tensor for each input."""
        return {name: port.example for name, port in self.inputs.items()}


class Source(NamedTuple):
    """A world read from its folder: what config.json says, the model on torch in float32, and the start clips."""

    folder: Path
    about: dict[str, Any]
    cfg: OpenWorldConfig
    model: Any
    starts: dict[str, np.ndarray]


def load(world: str | Path) -> Source:
    """A world by name or path. Raises MlxworldError, in one line, for one that is unknown, broken or of no export."""
    folder, about = read_config(world)
    cfg = model_config(folder, about)
    cfg = replace(cfg, dynamics=replace(cfg.dynamics, cache="float"))  # states are floats everywhere outside
    weights = read_weights(folder, about)
    starts, _ = checkpoint.load(folder / "starts.safetensors")
    model = importlib.import_module("torch_backend.models.openworld.model").TransformerWorldModel(cfg)
    engine.load_parameters(model, weights, str(folder / "model.safetensors"))
    return Source(folder, about, cfg, model.eval().requires_grad_(False), starts)


def parts(source: Source, group: str = "all") -> list[Part]:
    """The parts of a group of GROUPS."""
    return [_MAKERS[name](source.model) for name in GROUPS[group]]


def frames(cfg: OpenWorldConfig) -> int:
    """N, the frames of a clip that `encode` takes: those that a latent depends on, and a few more."""
    return cfg.reach + 8


def export(part: Part) -> torch.export.ExportedProgram:
    """The part as an exported program of ATen operations, none of which the exporters lack (see `exportable`)."""
    with torch.no_grad(), exportable():
        return torch.export.export(part.module.eval(), (), part.examples)


@contextlib.contextmanager
def exportable() -> Iterator[None]:
    """While models run inside it, the Fourier transform is a product with its basis: exporters have none for it."""
    held = ops.rfft
    ops.rfft = rfft
    try:
        yield
    finally:
        ops.rfft = held


def rfft(x):
    """`ops.rfft` as two matrix products: x (..., n) -> real and imaginary part (..., n / 2 + 1)."""
    n = x.shape[-1]
    angle = np.outer(np.arange(n), np.arange(n // 2 + 1)) % n * (math.tau / n)  # whole turns dropped before rounding
    real, imaginary = (torch.tensor(basis.astype(np.float32)) for basis in (np.cos(angle), -np.sin(angle)))
    return x @ real, x @ imaginary


class _Call(torch.nn.Module):
    """A function of a model and tensors as a module."""

    def __init__(self, model: torch.nn.Module, call: Callable[..., Any]):
        super().__init__()
        self.model, self.call = model, call

    def forward(self, **inputs):
        return self.call(self.model, **inputs)


def _step(model) -> Part:
    def call(dynamics, cache, noise, action):
        z, cache = dynamics.step(cache, noise, action)
        return (z,), cache

    about = "The next frame's latent, after an action. The state is the past."
    return _dynamics("step", about, model, call, {"noise": _noise(model), "action": _action(model)}, {"z": _LATENT})


def _observe(model) -> Part:
    def call(dynamics, cache, z, noise, action):
        return (z * 1,), dynamics.observe(cache, z, noise, action)  # Core ML wants an output

    about = "Takes a frame that happened into the state of `step`."
    inputs = {"z": _latent(model), "noise": _noise(model), "action": _action(model)}
    return _dynamics("observe", about, model, call, inputs, {"observed": "The latent z itself."})


def _dynamics(name, about, model, call, inputs, outputs) -> Part:
    module = Stateful(model.dynamics, model.dynamics.empty(1), call)
    return Part(name, about, module, inputs, outputs, module.state())


def _video(model) -> Part:
    about = "A latent's picture."
    outputs = {"video": "Picture (1, 1, H, W, 3): red, green, blue, about 0..1; clip it."}
    return Part("video", about, _Call(model.tokenizer, lambda t, z: (t.picture(z),)), {"z": _latent(model)}, outputs)


def _audio(model) -> Part:
    leaves, tree = tree_flatten(model.tokenizer.audio.empty(1))
    names = list(named(model.tokenizer.audio.empty(1)))

    def call(tokenizer, z, **state):
        sound, after, _ = tokenizer.sound(z, tree_unflatten([state[n] for n in names], tree))
        return sound, *tree_flatten(after)[0]

    state = {n: Port(x, f"{n} of the sound before; zeros in silence") for n, x in zip(names, leaves, strict=True)}
    outputs = {"audio": "Samples (1, 1, S) in [-1, 1]."}
    outputs |= {f"{n}_next": f"{n} for the next call" for n in names}
    return Part("audio", "A latent's sound.", _Call(model.tokenizer, call), {"z": _latent(model)} | state, outputs)


def _encode(model) -> Part:
    cfg, N = model.cfg, frames(model.cfg)
    inputs = {
        "video": Port(torch.zeros(1, N, cfg.size, cfg.size, 3), "Pictures (1, N, H, W, 3): red, green, blue, 0..1."),
        "audio": Port(torch.zeros(1, N, cfg.samples), f"Samples (1, N, S) in [-1, 1], {cfg.sample_rate} a second."),
    }
    about = f"Latents of N frames. A latent depends on {cfg.reach} frames before its own, nothing before the first."
    outputs = {"z": "Latents (1, N, K, D), each token of mean square 1."}
    return Part("encode", about, _Call(model, lambda m, video, audio: (m.encode(video, audio),)), inputs, outputs)


_LATENT = "Latent (1, 1, K, D), each token of mean square 1."
_MAKERS: Mapping[str, Callable[[Any], Part]] = {
    **{"step": _step, "observe": _observe, "video": _video, "audio": _audio, "encode": _encode},
}


def _latent(model) -> Port:
    cfg = model.cfg.latent
    return Port(torch.ones(1, 1, cfg.tokens, cfg.dim), _LATENT)


def _noise(model) -> Port:
    return Port(torch.zeros_like(_latent(model).example), "Noise (1, 1, K, D) of mean 0 and variance 1, from the seed.")


def _action(model) -> Port:
    actions = ", ".join(f"{i} {name}" for i, name in enumerate(model.cfg.actions))
    return Port(torch.zeros(1, 1, dtype=torch.int32), f"The action (1, 1) that leads to this frame: {actions}.")
