"""python -m docs.predictive_coding [--backend torch] [--out table.json]: the figures of docs/predictive_coding.md.

Drawn digits by an MLP, and told scenes by a small OmniLatent: the same steps by backprop and by predictive coding.
"""

import argparse
import importlib
import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from mlxworld import families, on
from mlxworld.cli import entry
from mlxworld.configs.omnilatent import preset_of
from mlxworld.configs.optim import OptimConfig
from mlxworld.configs.predictive_coding import PredictiveCodingConfig
from mlxworld.data.pairs.scenes import batch_of, held_out
from mlxworld.files import atomic
from mlxworld.text.bytes import Bytes
from mlxworld.training.turn import Turn

GLYPHS = (  # seven rows of five dots
    "01110 10001 10011 10101 11001 10001 01110",
    "00100 01100 00100 00100 00100 00100 01110",
    "01110 10001 00001 00110 01000 10000 11111",
    "11111 00010 00100 00010 00001 10001 01110",
    "00010 00110 01010 10010 11111 00010 00010",
    "11111 10000 11110 00001 00001 10001 01110",
    "00110 01000 10000 11110 10001 10001 01110",
    "11111 00001 00010 00100 01000 01000 01000",
    "01110 10001 10001 01110 10001 10001 01110",
    "01110 10001 10001 01111 00001 00010 01100",
)
SIDE = 12  # pixels
METHODS: dict[str, PredictiveCodingConfig | None] = {
    "backprop": None,
    "pc, T 20": PredictiveCodingConfig("pc"),
    "pc, T 60": PredictiveCodingConfig("pc", inference_steps=60),
    "pc, T 20, output clamped": PredictiveCodingConfig("pc", nudge=1.0),
    "half pc, half backprop": PredictiveCodingConfig("pc", blend=0.5),
    "pc, fixed prediction": PredictiveCodingConfig("pc", fixed_prediction=True),
    "pc, analytical": PredictiveCodingConfig("pc", analytical=True),
}


def digits(count: int, seed: int) -> dict[str, np.ndarray]:
    """{"x" (B, SIDE * SIDE) in about 0..1, "y" (B,)}: digits moved, turned, sheared and scaled, in noise."""
    rng = np.random.default_rng(seed)
    font = np.zeros((10, 11, 9))
    font[:, 2:9, 2:7] = [[[int(dot) for dot in row] for row in glyph.split()] for glyph in GLYPHS]
    y = rng.integers(0, 10, count)
    turn, shear, size = (
        rng.uniform(-0.25, 0.25, (2, count)),
        rng.uniform(-0.2, 0.2, count),
        rng.uniform(0.6, 0.8, count),
    )
    grid = np.stack(np.meshgrid(*[np.arange(SIDE) - (SIDE - 1) / 2] * 2, indexing="ij"))
    cos, sin = np.cos(turn[0]) * size, np.sin(turn[0]) * size
    warp = np.array([[cos, -sin], [sin + shear, cos]]).transpose(2, 0, 1)
    at = (
        np.einsum("nij,jhw->nihw", warp, grid) + rng.uniform(-0.8, 0.8, (count, 2, 1, 1)) + np.array([[[5.0]], [[4.0]]])
    )
    at = at.clip(0, np.array([9.999, 7.999])[:, None, None])
    low = np.floor(at).astype(int)
    (r, c), (a, b) = low.swapaxes(0, 1), (at - low).swapaxes(0, 1)
    n = y[:, None, None]
    x = (1 - a) * ((1 - b) * font[n, r, c] + b * font[n, r, c + 1])
    x = x + a * ((1 - b) * font[n, r + 1, c] + b * font[n, r + 1, c + 1])
    x = x * rng.uniform(0.6, 1, (count, 1, 1)) + 0.15 * rng.normal(size=x.shape)
    return {"x": x.reshape(count, -1).astype(np.float32), "y": y.astype(np.int32)}


def mlp(package: ModuleType, widths: tuple[int, ...] = (SIDE * SIDE, 64, 64, 10), seed: int = 0) -> Any:
    """Layers tanh(W x + b), the last one without tanh."""

    class Mlp(package.nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = [package.nn.Linear(a, b) for a, b in zip(widths, widths[1:], strict=False)]

    rng, model = np.random.default_rng(seed), Mlp()
    for name, x in package.engine.numpy(package.nn.parameters(model)).items():
        draw = rng.normal(size=x.shape) / np.sqrt(x.shape[-1]) if x.ndim == 2 else 0 * x
        package.nn.assign(model, {name: package.engine.array(draw.astype(np.float32))})
    return model


def logits(package: ModuleType, model: Any, x: Any, relay: Callable[[Any], Any] | None = None) -> Any:
    """(B, 10); the relay after every layer but the last, whose energy the loss is."""
    layers = [lambda x, layer=layer: package.ops.tanh(layer(x)) for layer in model.layers[:-1]]
    chain = importlib.import_module(f"{package.__name__}.models.objectives.predictive_coding").chain
    return model.layers[-1](chain(layers, x, relay))


def cross_entropy(package: ModuleType, model: Any, batch: Any, relay: Callable[[Any], Any] | None = None) -> Any:
    """(mean loss, no parts)."""
    ops, z = package.ops, logits(package, model, batch["x"], relay)
    top = ops.stop_gradient(ops.max(z, axis=-1, keepdims=True))
    right = ops.float32(batch["y"][:, None] == ops.arange(10, like=batch["y"]))
    return (ops.log(ops.exp(z - top).sum(axis=-1)) + top[:, 0] - (z * right).sum(axis=-1)).mean(), {}


def objective(package: ModuleType, loss: Callable[..., Any], cfg: PredictiveCodingConfig | None) -> Callable[..., Any]:
    """loss(package, model, batch, relay) as a turn's loss, by backprop where there is no cfg."""
    coded = importlib.import_module(f"{package.__name__}.models.objectives.predictive_coding").predictive_coding
    if cfg is None:
        return lambda model, batch, key: loss(package, model, batch)
    return lambda model, batch, key: coded(lambda relay: loss(package, model, batch, relay), cfg, cfg.blend)


def taught(
    package: ModuleType, cfg: PredictiveCodingConfig | None, steps: int = 300, seed: int = 0, test: int = 4000
) -> tuple[float, float]:
    """An MLP after so many steps on digits: its accuracy on others, and milliseconds a step."""
    model, data = mlp(package, seed=seed), digits(64 * steps, 1000 + seed)
    package.engine.place(model)
    optim = OptimConfig(name="adamw", lr=3e-3, weight_decay=0.0, ema=0.0)
    trainer = package.engine.Trainer(model, (Turn("digits", objective(package, cross_entropy, cfg), optim),))
    begun = time.perf_counter()
    for step in range(steps):
        batch = {name: x[64 * step : 64 * step + 64] for name, x in data.items()}
        trainer.step(batch, step, 0.5 * (1 + np.cos(np.pi * step / steps)))
    told = digits(test, 1)
    with package.engine.inference():
        z = package.engine.numpy(logits(package, model, package.engine.array(told["x"])))
    each = 1e3 * (time.perf_counter() - begun) / steps
    return float((z.argmax(-1) == told["y"]).mean()), each
