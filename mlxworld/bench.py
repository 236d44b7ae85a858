"""`mlxworld bench`: how fast a world runs here, from the action to picture and sound on the host."""

import json
import platform
import sys
import time
from dataclasses import asdict, dataclass

import numpy as np
import tyro

from . import config
from .cli import entry
from .errors import MlxworldError
from .world import World


@dataclass(frozen=True)
class BenchConfig:
    world: str | None = None  # a shipped world or a folder
    preset: str | None = None  # or a preset with random weights
    backend: str | None = None  # mlx or torch; the best one installed
    precision: str | None = None  # float32, float16 or bfloat16; the device's best
    steps: int | None = None  # denoising passes a frame; what the world was made for
    batch: int = 1  # worlds at once
    frames: int = 300  # measured, after the context is full
    json: bool = False  # print JSON


@dataclass(frozen=True)
class Rollout:
    fps: float  # frames of all worlds a second
    p50_ms: float  # of one step, milliseconds
    p99_ms: float
    first_ms: float  # the first step, with whatever is compiled or recorded then


def main(argv: list[str] | None = None) -> None:
    cfg = tyro.cli(BenchConfig, args=sys.argv[1:] if argv is None else argv, description=__doc__)
    world = open_world(cfg)
    found = rollout(world, cfg.frames)
    about = {"world": world.name, "backend": world.backend, "device": world.device, "precision": world.precision}
    about |= {"steps": world.steps, "batch": world.batch, "machine": platform.platform(), "memory": world.memory()}
    if cfg.json:
        print(json.dumps(about | {"rollout": asdict(found)}))
    else:
        line = f"{found.fps:.1f} frames/s, p50 {found.p50_ms:.2f} ms, p99 {found.p99_ms:.2f} ms"
        print(f"{world.name} on {world.backend} ({world.device}, {world.precision}, {world.steps} passes): {line}")


def open_world(cfg: BenchConfig) -> World:
    """The world to measure: a trained one, or a preset with random weights, which costs the same."""
    if (cfg.world is None) == (cfg.preset is None):
        raise MlxworldError("give either --world or --preset")
    if cfg.frames < 1:
        raise MlxworldError(f"--frames must be at least 1, got {cfg.frames}")
    if cfg.world is not None:
        return World.load(cfg.world, cfg.backend, batch=cfg.batch, precision=cfg.precision, steps=cfg.steps)
    assert cfg.preset is not None
    return World.untrained(
        config.preset(cfg.preset),
        cfg.backend,
        name=cfg.preset,
        batch=cfg.batch,
        precision=cfg.precision,
        steps=cfg.steps,
    )


def rollout(world: World, frames: int) -> Rollout:
    """Plays `frames` frames after as many as fill the context, with actions that change every eighth frame."""
    world.reset(seed=7)
    actions = np.arange(frames + world.config.dynamics.memory) // 8 % len(world.actions)
    times = []
    for action in actions:
        begun = time.perf_counter()
        world.step([int(action)] * world.batch)
        times.append(1e3 * (time.perf_counter() - begun))
    settled = np.array(times[world.config.dynamics.memory :])
    p50, p99 = np.percentile(settled, [50, 99])
    return Rollout(1e3 * world.batch / settled.mean(), float(p50), float(p99), times[0])


if __name__ == "__main__":
    entry(main)
