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
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils._pytree import tree_flatten, tree_unflatten

from mlxworld import families, on
from mlxworld.configs.world import WorldConfig
from mlxworld.play.folder import model_config, read_config, read_starts, read_weights
from torch_backend import engine, ops
from torch_backend.stateful import Stateful, named

GROUPS = {
    "all": ("step", "observe", "video", "audio", "encode"),
    "dynamics": ("step", "observe"),
    "decoder": ("video", "audio"),
    "encoder": ("encode",),
}
KEPT = ("step", "observe")  # they share one state, the past, which stays inside; other states go in and come out


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
    cfg: WorldConfig
    model: Any
    starts: dict[str, np.ndarray]


def load(world: str | Path) -> Source:
    """A world by name or path. Raises MlxworldError, in one line, for one that is unknown, broken or of no export."""
    folder, about = read_config(world)
    cfg = model_config(folder, about).played(kv_cache="float")  # states are floats everywhere outside
    weights = read_weights(folder, about)
    starts = read_starts(folder / "starts.safetensors", cfg)
    package = on("torch")
    model = families.built(package, cfg, weights)
    engine.load_parameters(model, weights, str(folder / "model.safetensors"))
    return Source(folder, about, cfg, model.eval().requires_grad_(False), starts)


def parts(source: Source, group: str = "all") -> list[Part]:
    """The parts of a group of GROUPS."""
    own = source.model.parts(1)
    return [_kept(source, own[name]) if name in KEPT else _open(source, own[name]) for name in GROUPS[group]]


def frames(source: Source) -> int:
    """N, the frames of a clip that `encode` takes."""
    return source.model.parts(1)["encode"].inputs["video"].shape[1]


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
    """A function of tensors as a module that holds the model whose weights it reads."""

    def __init__(self, model: torch.nn.Module, call: Callable[..., Any]):
        super().__init__()
        self.model, self.call = model, call

    def forward(self, **inputs):
        return self.call(**inputs)


def _kept(source: Source, part: Any) -> Part:
    """A part whose state stays inside."""

    def call(model, state, **inputs):
        return part.fn(state, *(inputs[name] for name in part.inputs))

    module = Stateful(source.model, part.state, call)
    return Part(part.name, part.about, module, _inputs(source, part), _outputs(part), module.state())


def _open(source: Source, part: Any) -> Part:
    """A part whose state, if it has one, goes in and comes out: x and x_next."""
    leaves, tree = tree_flatten(part.state)
    names = list(named(part.state))

    def call(**inputs):
        state = tree_unflatten([inputs[name] for name in names], tree)
        outputs, state = part.fn(state, *(inputs[name] for name in part.inputs))
        return *outputs, *tree_flatten(state)[0]

    before = {n: Port(x, f"{n} of the call before; zeros at first") for n, x in zip(names, leaves, strict=True)}
    after = {f"{n}_next": f"{n} for the next call" for n in names}
    inputs, outputs = _inputs(source, part) | before, _outputs(part) | after
    return Part(part.name, part.about, _Call(source.model, call), inputs, outputs)


def _inputs(source: Source, part: Any) -> dict[str, Port]:
    cfg = source.cfg
    actions = ", ".join(f"{i} {name}" for i, name in enumerate(cfg.actions))
    about = {
        "z": "Latent (1, 1, K, D), each token of mean square 1.",
        "noise": "Noise (1, 1, K, D) of mean 0 and variance 1, from the seed.",
        "action": f"The action (1, 1) that leads to this frame: {actions}.",
        "video": "Pictures (1, N, H, W, 3): red, green, blue, 0..1.",
        "audio": f"Samples (1, N, S) in [-1, 1], {cfg.sample_rate} a second.",
    }
    # Clones: two inputs that are one tensor would be one input of the exported program.
    return {name: Port(example.clone(), about[name]) for name, example in part.inputs.items()}


def _outputs(part: Any) -> dict[str, str]:
    about = {
        "z": "Latents, each token of mean square 1.",
        "observed": "The latent z itself.",
        "video": "Picture (1, 1, H, W, 3): red, green, blue, about 0..1; clip it.",
        "audio": "Samples (1, 1, S) in [-1, 1].",
    }
    return {name: about[name] for name in part.outputs}
