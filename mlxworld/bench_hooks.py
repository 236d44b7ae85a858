"""`mlxworld bench hooks`: how much attention latent hooks get in a world, layer by layer and head by head."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tyro

from .cli import entry
from .errors import MlxworldError
from .evaluate.heat import heat
from .evaluate.held_out import clips_for
from .evaluate.strip import save_png
from .files import atomic
from .play.folder import model_config, read_config, read_starts
from .play.masses import of_world
from .play.world import World

CLIPS = 8


@dataclass(frozen=True)
class BenchHooksConfig:
    hook: tuple[Path, ...]
    """files of latent hooks that join, in this order"""
    world: str = "pong"
    """a shipped world or a folder"""
    data: Path | None = None
    """held-out episodes to foresee; the world's own start clips"""
    frames: int = 16
    """of each clip of --data"""
    picture: Path | None = None
    """a PNG: layers down, heads across"""
    backend: Literal["mlx", "torch"] | None = None
    """the best one installed"""
    json: bool = False
    """print JSON"""


def main(argv: list[str] | None = None) -> None:
    argv = sys.argv[1:] if argv is None else argv
    cfg = tyro.cli(BenchHooksConfig, args=argv, description=__doc__, prog="mlxworld bench hooks")
    if not cfg.hook:
        raise MlxworldError("--hook names at least one file")
    if cfg.frames < 1:
        raise MlxworldError(f"--frames must be at least 1, got {cfg.frames}")
    if cfg.picture is not None:
        atomic.require_writable(cfg.picture)
    figures = bench(cfg)
    if cfg.picture is not None:
        tables = {name: np.array(x, np.float32) for name, x in figures["mass"].items()}
        save_png(cfg.picture, heat(f"{figures['world']}: % of attention that a hook gets", tables))
    print(json.dumps(figures) if cfg.json else report(figures))


def bench(cfg: BenchHooksConfig) -> dict[str, Any]:
    """{"world", "device", "clips", "frames", "mass": {hook: [[share of each head] of each layer]}}."""
    world = World.load(cfg.world, cfg.backend, precision="float32", compile=False, hooks=cfg.hook)
    z, actions = clips(cfg, world)
    mass = of_world(world.package, world.model, z, actions)
    figures = {"world": world.name, "device": world.device, "clips": len(z), "frames": z.shape[1]}
    return figures | {"mass": {name: x.tolist() for name, x in mass.items()}}


def clips(cfg: BenchHooksConfig, world: World) -> tuple[np.ndarray, np.ndarray]:
    """Latents (N, T, K, D) and actions (N, T, ...) of clips that happened."""
    if cfg.data is None:
        folder, config = read_config(cfg.world)
        starts = read_starts(folder / "starts.safetensors", model_config(folder, config))
        return starts["z"][:CLIPS], starts["actions"][:CLIPS]
    episodes = clips_for(world, cfg.data, CLIPS, cfg.frames)
    return np.stack([world.encode(c) for c in episodes]), np.stack([c.actions for c in episodes])


def report(figures: dict[str, Any]) -> str:
    """The figures as lines: of each layer the mean over heads, and the greatest."""
    f = figures
    lines = [f"{f['world']} on {f['device']}, {f['clips']} clips of {f['frames']} frames: attention that a hook gets"]
    for name, rows in f["mass"].items():
        lines += [f"{name:<16} layer {i}  {np.mean(x):7.2%}, at most {max(x):7.2%}" for i, x in enumerate(rows)]
    return "\n".join(lines)


if __name__ == "__main__":
    entry(main)
