"""What the goldens are taken of: {case: function of a backend that returns arrays by name}. Float32, on the CPU."""

import functools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from mlxworld import Clip, World
from mlxworld.configs.optim import OptimConfig
from mlxworld.training.turn import Turn
from tests.golden import names
from tests.models.small import clip, gradients, latents

CLIPS, ROLLOUT = (Path(__file__).parent / name for name in ("pong.npz", "rollout.npz"))
ACTIONS = (0, 1, 1, 2, 0, 2, 2, 1, 0, 0, 2, 1, 1, 1, 2, 0)
Arrays = dict[str, Any]  # numpy


def recorded(name: str) -> Clip:
    """24 frames of real Pong, of games that no training saw: "opening", or "rally", which has more that moves."""
    with np.load(CLIPS) as arrays:
        video, audio, actions = (arrays[f"{name}.{what}"] for what in ("video", "audio", "actions"))
    return Clip(video, audio.astype(np.float32) / 32768, actions.astype(np.int32))


def shipped(backend: ModuleType) -> World:
    """The shipped world, exact."""
    return World.load("pong", "mlx" if backend.__name__ == "mlxworld" else "torch", precision="float32")


def noise(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def played(backend: ModuleType, net: Any, z: np.ndarray, actions: np.ndarray, seen: int) -> Arrays:
    """What a model decodes of latents z (1, T, K, D), and, after `seen` frames of them, its next ones."""
    engine = backend.engine
    with engine.inference():
        video, audio, _ = net.decode(engine.array(z))
        arrays = {"decoded video": engine.numpy(video), "decoded audio": engine.numpy(audio)}
        cache, steps = net.init_state(1), []
        for t in range(z.shape[1]):
            given = engine.array([z[:, t : t + 1], noise(z[:, :1].shape, t), actions[:, t : t + 1]])
            if t < seen:
                *_, cache = net.observe(cache, *given)
            else:
                *outputs, cache = net.step(cache, *given[1:])
                steps.append(engine.numpy(outputs))
    stepped = zip(("stepped video", "stepped audio", "stepped z"), zip(*steps, strict=True), strict=True)
    return arrays | {what: np.concatenate(frames, axis=1) for what, frames in stepped}


def preset(name: str, backend: ModuleType) -> Arrays:
    """A preset with golden weights: two frames encoded, two others decoded, one observed, one stepped to."""
    cfg = names.preset(name)
    net, engine, given, z = names.build(backend, cfg), backend.engine, clip(cfg, 2, 1), latents(cfg, 2, 1)
    with engine.inference():
        encoded = net.encode(*engine.array([given["video"].astype(np.float32) / 255, given["audio"]]))
        arrays = {"encoded": engine.numpy(encoded)}
    return arrays | played(backend, net, z["z"], z["actions"], seen=1)


def pong(name: str, backend: ModuleType) -> Arrays:
    """The shipped world on a recorded clip: encoded, decoded, and from the frame before its first beep on, dreamt."""
    world, given = shipped(backend), recorded(name)
    z, seen = world.encode(given), int(np.abs(given.audio).max(axis=1).argmax())
    return {"encoded": z} | played(backend, world.model, z[None, : seen + 6], given.actions[None], seen - 1)


@functools.cache
def rollout(backend: ModuleType) -> Arrays:
    """What a player sees and hears: a start clip's last frame, then 16 dreamt ones."""
    world = shipped(backend)
    frames = [world.reset(seed=11, context=3), *(world.step(a) for a in ACTIONS)]
    arrays = {f"video {i}": frames[i].video for i in (0, 1, 4, 16)}
    return arrays | {"audio": np.stack([f.audio for f in frames]), "video": np.stack([f.video for f in frames])}


def batch(loss: str) -> tuple[str, Arrays]:
    """The part that a loss trains, and what it is given: "forcing" is the dynamics over a past that was dreamt."""
    cfg = names.small()
    if loss == "tokenizer":
        return "tokenizer", clip(cfg, 4, 4)
    given = latents(cfg, 6, 8)
    return "dynamics", given | ({"dream": latents(cfg, 6, 8, seed=1)["z"]} if loss == "forcing" else {})


def loss(name: str, backend: ModuleType) -> Arrays:
    """A loss with its parts, and the norm of its gradient by each parameter."""
    part, given = batch(name)
    net, fn, engine = names.part(names.build(backend, names.small()), part), names.losses(backend)[part], backend.engine
    total, parts = fn(net, engine.array(given), backend.random.key(3))
    arrays = {"loss": engine.numpy(total)} | {f"loss {names.golden(n)}": x for n, x in engine.numpy(parts).items()}
    slopes = gradients(backend, net, fn, given, seed=3)
    today = names.trained(backend, net, f"{part}.")
    return arrays | {f"gradient {n}": np.linalg.norm(slopes[today[n]]) for n in sorted(today)}


def training(name: str, optimizer: str, backend: ModuleType) -> Arrays:
    """Three steps of a Trainer: its losses, and of each parameter the size and a view of how far it moved."""
    part, given = batch(name)
    net, engine = names.part(names.build(backend, names.small()), part), backend.engine
    before = engine.numpy(engine.parameters(net))
    trainer = engine.Trainer(net, (Turn(part, names.losses(backend)[part], replace(OPTIMIZERS[optimizer], lr=3e-4)),))
    metrics = [engine.numpy(trainer.step(given, seed)) for seed in range(3)]
    arrays = {f"metric {names.golden(n)}": np.array([m[n] for m in metrics]) for n in sorted(metrics[0])}
    for kind, after in (("weight", engine.parameters(net)), ("average", trainer.ema)):
        moved = {n: x - before[n] for n, x in engine.numpy(after).items()}
        today = names.trained(backend, net, f"{part}.")
        arrays |= {f"{kind} {n}": _seen(moved[today[n]]) for n in sorted(today)}
    return arrays


def _seen(x: np.ndarray) -> np.ndarray:
    flat = x.astype(np.float64).reshape(-1)
    return np.array(
        [np.linalg.norm(flat), flat @ (2.0 * np.random.default_rng(flat.size).integers(0, 2, flat.size) - 1)]
    )


OPTIMIZERS = {
    "adamw": OptimConfig(),
    "soft adamw": OptimConfig(eps=1e-5),  # AdamW's first steps are signs: of a gradient near 0, nothing but noise
    "muon": OptimConfig(name="muon"),
}
TRAININGS = [("tokenizer", "soft adamw"), ("tokenizer", "muon"), ("dynamics", "adamw"), ("dynamics", "muon")]
CASES: dict[str, Callable[[ModuleType], Arrays]] = {
    **{f"pong {name}": functools.partial(pong, name) for name in ("opening", "rally")},
    "pong rollout": rollout,
    **{f"preset {name}": functools.partial(preset, name) for name in names.PRESETS},
    **{f"loss {name}": functools.partial(loss, name) for name in ("tokenizer", "dynamics", "forcing")},
    **{f"training {name} {optimizer}": functools.partial(training, name, optimizer) for name, optimizer in TRAININGS},
}
