"""python benchmarks/protocol_cost.py --backend torch: what the backend protocol costs, against the same model by hand.

The latent dynamics of a preset, with the same weights, noise and actions, run from `mlxworld/models` as a world runs
them and from `plain_torch.py` or `plain_mlx.py`, which know nothing of the protocol. Blocks of frames alternate (ours,
plain, ours, ...), so that a busy machine slows both; the ratio is the median over pairs, its range holds that median
with 95 % confidence (bootstrap). First both must give the same latents.
"""

import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import tyro

from mlxworld import families, on
from mlxworld.cli import entry
from mlxworld.errors import MlxworldError
from mlxworld.training.settings import TrainConfig

TOLERANCE = {"float32": 1e-4, "float16": 2e-2, "bfloat16": 2e-1}  # of a latent's greatest difference, after 40 frames
MODES = {"cpu": ("eager", "compiled"), "cuda": ("eager", "graph", "compiled"), "metal": ("eager", "compiled")}
Step = Callable[[Any, Any], Any]  # noise (B, 1, K, D), action (B, 1) -> z, still on the device


@dataclass(frozen=True)
class CostConfig:
    backend: Literal["mlx", "torch"] = "torch"
    preset: str = "nano"
    mode: Literal["eager", "graph", "compiled"] | None = None  # graph: a CUDA graph; compiled is one too there; all
    precision: Literal["float32", "float16", "bfloat16"] = "float32"
    batch: int = 1  # worlds at once
    frames: int = 10  # of a block
    pairs: int = 30  # of blocks
    json: bool = False  # print JSON


@dataclass(frozen=True)
class Cost:
    mode: str
    ours_ms: float  # a frame, the median block
    plain_ms: float
    ratio: float  # ours / plain: above 1 plain is faster
    low: float  # the range of the ratio
    high: float
    difference: float  # greatest, of latents


def main(argv: list[str] | None = None) -> None:
    cfg = tyro.cli(CostConfig, args=sys.argv[1:] if argv is None else argv, description=__doc__)
    package = on(cfg.backend)
    device = package.engine.device()
    known = [mode for mode in MODES[device] if cfg.backend == "torch" or mode != "graph"]
    if cfg.mode is not None and cfg.mode not in known:
        raise MlxworldError(f"{cfg.backend} on {device} runs {' and '.join(known)}, not {cfg.mode}")
    found = [compare(package, cfg, mode) for mode in ([cfg.mode] if cfg.mode else known)]
    if cfg.json:
        about = {"preset": cfg.preset, "backend": cfg.backend, "device": device, "precision": cfg.precision}
        print(json.dumps(about | {"batch": cfg.batch, "protocol": [asdict(cost) for cost in found]}))
        return
    for x in found:
        line = f"{x.mode:8} ours {x.ours_ms:.3f} ms, plain {x.plain_ms:.3f} ms a frame, "
        print(f"{line}ratio {x.ratio:.3f} ({x.low:.3f} to {x.high:.3f}), latents differ by {x.difference:.0e}")


def compare(package: Any, cfg: CostConfig, mode: str) -> Cost:
    """Both in one mode. Raises MlxworldError unless they agree."""
    engine, world = package.engine, families.preset(TrainConfig.model, cfg.preset)
    model = families.model(package, TrainConfig.model)(world).init(package.random.key(0))
    rng, arrays = np.random.default_rng(0), engine.numpy(package.nn.parameters(model.dynamics))
    arrays |= {n: x + rng.normal(0, 0.1, x.shape).astype(np.float32) for n, x in arrays.items() if _flat(n)}
    engine.load_parameters(model.dynamics, arrays, "fresh weights")
    engine.place(engine.cast(model, cfg.precision))
    shape = (cfg.batch, 1, world.latent.tokens, world.latent.dim)
    noise = [engine.array(rng.standard_normal(shape).astype(np.float32)) for _ in range(8)]
    action = [engine.array(np.full((cfg.batch, 1), i % len(world.actions), np.int32)) for i in range(8)]
    with engine.inference():
        hand = plain_torch if package.__name__ == "torch_backend" else plain_mlx
        steps = ours(engine, model.dynamics, cfg, mode), hand(world, arrays, cfg, mode, engine.device())

        def play(step: Step, frames: int) -> list:
            return [step(noise[t % 8], action[t % 8]) for t in range(frames)]

        latents = [np.stack([engine.numpy(step(noise[t % 8], action[t % 8])) for t in range(40)]) for step in steps]
        difference = float(np.abs(latents[0] - latents[1]).max())
        if not difference < TOLERANCE[cfg.precision]:
            raise MlxworldError(f"the two are not the same model ({mode}): latents differ by {difference:.1e}")
        times = np.zeros((cfg.pairs, 2))
        for pair in range(cfg.pairs):
            for which in (0, 1) if pair % 2 else (1, 0):
                begun = time.perf_counter()
                engine.numpy(play(steps[which], cfg.frames)[-1])  # waits for the device
                times[pair, which] = 1e3 * (time.perf_counter() - begun) / cfg.frames
    ratios = times[:, 0] / times[:, 1]
    medians = np.median(rng.choice(ratios, (2000, len(ratios))), axis=1)
    low, high = np.percentile(medians, [2.5, 97.5])
    middle = np.median(times, axis=0)
    return Cost(mode, middle[0], middle[1], float(np.median(ratios)), float(low), float(high), difference)


def ours(engine: Any, dynamics: Any, cfg: CostConfig, mode: str) -> Step:
    """The dynamics as a world runs it."""

    def fn(state, noise, action):
        return dynamics.step(state, noise, action)

    state = dynamics.init_state(cfg.batch)
    if mode == "eager" and engine.device() != "cpu":  # a world would record it
        held = [state]

        def step(noise, action):
            z, held[0] = fn(held[0], noise, action)
            return z

        return step
    loop = engine.Loop({"step": fn}, compile="step" if mode == "compiled" else None)
    loop.begin(state)
    if mode == "compiled":
        loop("step", *_nothing(engine, dynamics, cfg))
        loop.settle()
        loop.begin(state)
    return lambda noise, action: loop("step", noise, action)


def plain_torch(world: Any, arrays: dict, cfg: CostConfig, mode: str, device: str) -> Step:
    import torch

    from benchmarks import plain_torch

    size, dtype = (world.latent.tokens, world.latent.dim, len(world.actions)), getattr(torch, cfg.precision)
    model = plain_torch.PlainDynamics(world.dynamics, *size, batch=cfg.batch, dtype=dtype).to(device)
    model.load_state_dict({name: torch.tensor(x) for name, x in arrays.items()})
    step = model.step
    if mode == "compiled":
        step = torch.compile(step, dynamic=False, options={"freezing": device == "cpu"})
    if device == "cuda" and mode != "eager":
        state = {name: x.clone() for name, x in model.named_buffers()}
        noise = torch.zeros(cfg.batch, 1, *size[:2], device=device)
        step = plain_torch.recorded(step, noise, torch.zeros(cfg.batch, 1, dtype=torch.int32, device=device))
        for name, x in model.named_buffers():
            x.copy_(state[name])
    return step


def plain_mlx(world: Any, arrays: dict, cfg: CostConfig, mode: str, device: str) -> Step:
    import mlx.core as mx

    from benchmarks import plain_mlx

    model = plain_mlx.PlainDynamics(world.dynamics, world.latent.tokens, world.latent.dim, len(world.actions))
    model.load_weights([(name, mx.array(x)) for name, x in arrays.items()])
    model.set_dtype(getattr(mx, cfg.precision))
    held, fn = [model.init_state(cfg.batch)], mx.compile(model.step) if mode == "compiled" else model.step

    def step(noise, action):
        z, held[0] = fn(held[0], noise, action)
        mx.async_eval(held[0])
        return z

    return step


def _flat(name: str) -> bool:
    """Whether fresh weights of this name are all but nothing, or all the same, which would hide a difference."""
    return name.startswith(("head", "embed_", "tokens")) or name.endswith("gain")


def _nothing(engine, dynamics, cfg):
    K, D = dynamics.size
    shape = (cfg.batch, 1, K, D)
    return engine.array((np.zeros(shape, np.float32), np.zeros(shape[:2], np.int32)))


if __name__ == "__main__":
    entry(main)
