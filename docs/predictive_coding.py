"""python -m docs.predictive_coding [digits | scenes]: the figures of docs/predictive_coding.md.

Drawn digits by an MLP, and told scenes by a small OmniLatent: the same steps by backprop and by predictive coding.
"""

import argparse
import importlib
import itertools
import time
from collections.abc import Callable
from dataclasses import replace
from types import ModuleType
from typing import Any

import numpy as np

from mlxworld import families, on
from mlxworld.cli import entry
from mlxworld.configs.omnilatent import preset_of
from mlxworld.configs.optim import OptimConfig
from mlxworld.configs.predictive_coding import PredictiveCodingConfig
from mlxworld.data.pairs.scenes import ToldScenes, batch_of, held_out
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
    "pc, T 20, output clamped": PredictiveCodingConfig("pc", nudge=1.0),
    "pc, analytical": PredictiveCodingConfig("pc", analytical=True),
}


WAYS = {
    f"T {steps}, beta {nudge}": PredictiveCodingConfig("pc", inference_steps=steps, nudge=nudge)
    for steps, nudge in ((5, 0.1), (20, 0.1), (60, 0.1), (200, 0.1), (20, 1.0), (200, 1.0))
}
WAYS |= {f"analytical, beta {n}": PredictiveCodingConfig("pc", nudge=n, analytical=True) for n in (1.0, 0.1, 0.001)}
WAYS |= {
    f"fixed prediction, T {n}": PredictiveCodingConfig("pc", fixed_prediction=True, inference_steps=n)
    for n in (2, 4, 20)
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
            self.layers = [package.nn.Linear(a, b) for a, b in itertools.pairwise(widths)]

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
    held_out = digits(test, 1)
    with package.engine.inference():
        z = package.engine.numpy(logits(package, model, package.engine.array(held_out["x"])))
    each = 1e3 * (time.perf_counter() - begun) / steps
    return float((z.argmax(-1) == held_out["y"]).mean()), each


PAIRS = (("text", "image"), ("image", "text"))
CONFIG = replace(preset_of("nano"), num_layers=4)  # 5 values in each pass: before the first layer, and after each


def scenes_loss(package: ModuleType, model: Any, batch: Any, relay: Callable[[Any], Any] | None = None) -> Any:
    """Pictures from words and words from pictures."""
    losses = importlib.import_module(f"{package.__name__}.models.omnilatent.losses")
    return losses.pairs_loss(model, batch, PAIRS, 0.0, relay)


def omnilatent(package: ModuleType) -> Any:
    """A fresh small model, on the device."""
    return package.engine.place(families.model(package, "omnilatent")(CONFIG).init(package.random.key(0)))


def told(
    package: ModuleType, cfg: PredictiveCodingConfig | None, steps: int, rows: int = 2
) -> tuple[float, float, float]:
    """A small OmniLatent after so many steps on told scenes: its losses of text and of pictures on held-out ones, and
    milliseconds a step."""
    model, data, engine = omnilatent(package), ToldScenes(CONFIG), package.engine
    turn = Turn("scenes", objective(package, scenes_loss, cfg), OptimConfig(name="muon", lr=2e-3, ema=0.0))
    trainer, spent = engine.Trainer(model, (turn,)), 0.0
    for step in range(steps):
        batch = data.batch(np.random.default_rng([0, step]), rows)
        begun = time.perf_counter()
        metrics = trainer.step(batch, step, 0.5 * (1 + np.cos(np.pi * step / steps)))
        engine.numpy(metrics)
        spent += time.perf_counter() - begun
    with engine.inference():
        batch = batch_of(held_out(32, False), CONFIG.bands, CONFIG.max_text, Bytes())
        _, parts = scenes_loss(package, model, engine.array(batch))
        parts = engine.numpy(parts)
    return float(parts["text"]), float(parts["image"]), 1e3 * spent / steps


def gradients(model: Any, loss: Callable[..., Any], batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The gradient of each weight, on PyTorch."""
    import torch

    package = on("torch")
    weights = dict(package.engine.parameters(model))
    value = loss(model, package.engine.array(batch), None)[0]
    slopes = torch.autograd.grad(value, [*weights.values()], materialize_grads=True)
    return package.engine.numpy(dict(zip(weights, slopes, strict=True)))


def cosines(model: Any, loss: Callable[..., Any], batch: dict[str, np.ndarray], parts: tuple[str, ...]) -> list[str]:
    """A line for each way to predictive coding: the cosine of its gradient with that of backprop, in all and in the
    weights whose names begin with each of `parts`."""
    package = on("torch")
    backprop, lines = gradients(model, objective(package, loss, None), batch), []
    for name, cfg in WAYS.items():
        own = gradients(model, objective(package, loss, cfg), batch)
        each = []
        for part in ("", *parts):
            a, b = (np.concatenate([g[n].ravel() for n in sorted(g) if n.startswith(part)]) for g in (own, backprop))
            each.append(f"{a @ b / (np.linalg.norm(a) * np.linalg.norm(b) + 1e-30):.4f}")
        lines.append(f"| {name} | {' | '.join(each)} |")
    return lines


def show(lines: list[str]) -> None:
    """Prints them as they are made."""
    print("\n".join(lines), flush=True)


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backend", default="torch", choices=("mlx", "torch"))
    parser.add_argument("part", nargs="?", choices=("digits", "scenes"), help="one part alone")
    parser.add_argument("--seeds", type=int, default=3, help="MLPs taught each way")
    parser.add_argument("--steps", type=int, default=400, help="of the MLP")
    parser.add_argument("--scenes", type=int, default=60, help="steps of OmniLatent, of two scenes each")
    args = parser.parse_args()
    for part in (args.part,) if args.part else ("digits", "scenes"):
        {"digits": of_digits, "scenes": of_scenes}[part](args)


def of_digits(args: argparse.Namespace) -> None:
    """How near to backprop an MLP's gradient is, and how well it learns."""
    layers = tuple(f"layers.{n}." for n in range(3))
    show(["digits: cosine with backprop's gradient, MLP", f"| way | all | {' | '.join(layers)} |"])
    show(cosines(mlp(on("torch")), cross_entropy, digits(64, 0), layers))
    show([f"digits: accuracy after {args.steps} steps, {args.seeds} seeds; ms a step", "| method | accuracy | ms |"])
    for name, cfg in METHODS.items():
        rows = np.array([taught(on(args.backend), cfg, args.steps, seed) for seed in range(args.seeds)])
        show([f"| {name} | {100 * rows[:, 0].mean():.2f} +- {100 * rows[:, 0].std():.2f} | {rows[:, 1].mean():.0f} |"])


def of_scenes(args: argparse.Namespace) -> None:
    """The same of a small OmniLatent."""
    layers = ("text.", "image.", *(f"blocks.{n}." for n in range(CONFIG.num_layers)), "norm.")
    batch = batch_of(held_out(4, False), CONFIG.bands, CONFIG.max_text, Bytes())
    show(["scenes: cosine with backprop's gradient, OmniLatent", f"| way | all | {' | '.join(layers)} |"])
    show(cosines(omnilatent(on("torch")), scenes_loss, batch, layers))
    head = f"scenes: held-out loss of text and pictures after {args.scenes} steps; ms a step"
    show([head, "| method | text | image | ms |"])
    for name, cfg in METHODS.items():
        text, image, each = told(on(args.backend), cfg, args.scenes)
        show([f"| {name} | {text:.3f} | {image:.4f} | {each:.0f} |"])


if __name__ == "__main__":
    entry(main)
