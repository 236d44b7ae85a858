"""Training as `mlxworld train` does it, over random clips: how fast, at what share of the machine's matrix products,
and how long the loader keeps the device waiting.

Utilisation is a step's FLOPs over time and `gemm_tflops`: those of the loss, and twice as many again for the backward
pass of what is differentiated, which the dynamics' own longer steps, its teacher, are not. Operations that are computed
again for gradient checkpointing are not counted, nor is the optimizer.
"""

import contextlib
import importlib
import time
from types import ModuleType
from typing import Any

import numpy as np

from ..configs.openworld import OpenWorldConfig
from ..configs.optim import OptimConfig
from ..data import Clips, DatasetInfo, FrameStore
from ..training.latents import LatentClips
from . import counts
from .measure import Show, silent

FRAMES = {"tokenizer": 8, "dynamics": 32}  # of a clip
ROWS = 512  # frames of the random dataset
SECONDS = 8.0  # how long steps are measured, at least 3 and at most 200
COUNTED = 4  # clips of the batch whose operations are counted: with fewer the dynamics skips a part of its loss


def training(
    package: ModuleType,
    cfg: OpenWorldConfig,
    clips: dict[str, int],
    precision: str,
    compiled: bool,
    gemm_tflops: float,
    show: Show = silent,
) -> dict[str, dict[str, float]]:
    """For each stage of `clips` ({"tokenizer": clips a step, "dynamics": ...}): steps and samples (clips) a second,
    first_s, tflops reached, utilisation of `gemm_tflops`, and the share of time that the loop waited for a batch."""
    found, optim = {}, OptimConfig(name="muon")
    for stage, batch in clips.items():
        flops = step_flops(package, cfg, stage) * batch
        part, loss = stage_of(package, cfg, stage)
        trainer = package.engine.Trainer(part, loss, optim, precision=precision, compile=compiled)
        with contextlib.closing(feed(cfg, stage, batch)) as batches:
            found[stage] = timed(package.engine, trainer, batches, lambda turns, stage=stage: show(stage, turns))
        rate = found[stage]["steps_per_s"]
        tflops = flops * rate / 1e12
        found[stage] |= {"samples_per_s": rate * batch, "clips": batch, "frames": FRAMES[stage]}
        found[stage] |= {"tflops": tflops, "utilisation": tflops / gemm_tflops}
    return found


def timed(engine: Any, trainer: Any, batches: Clips, show: Any) -> dict[str, float]:
    """first_s, steps_per_s and the loader's share of the time, after the first step and two more."""
    start = time.perf_counter()
    engine.numpy(trainer.step(next(batches), 0, 1e-4)["loss"])
    first = time.perf_counter() - start
    for i in (1, 2):
        start = time.perf_counter()
        engine.numpy(trainer.step(next(batches), i, 1e-4)["loss"])
    steps = int(np.clip(SECONDS / (time.perf_counter() - start), 3, 200))
    waited, metrics, start = batches.waited, {}, time.perf_counter()
    for i in show(range(steps)):
        metrics = trainer.step(next(batches), i + 3, 1e-4)
        if i % 20 == 19:
            engine.numpy(metrics["loss"])  # as often as training reads its losses
    engine.numpy(metrics["loss"])
    taken = time.perf_counter() - start
    return {"first_s": first, "steps_per_s": steps / taken, "loader_wait": (batches.waited - waited) / taken}


def feed(cfg: OpenWorldConfig, stage: str, batch: int) -> Clips:
    """Batches of a stage from random frames, through the loader that training uses."""
    rng = np.random.default_rng(0)
    info = DatasetInfo(cfg.fps, cfg.samples, (cfg.size, cfg.size), cfg.actions)
    video = rng.integers(0, 256, (ROWS, cfg.size, cfg.size, 3), np.uint8)
    audio = rng.integers(-(2**12), 2**12, (ROWS, cfg.samples), np.int16)
    actions = rng.integers(0, len(cfg.actions), ROWS).astype(np.int32)
    cache = FrameStore(info, video, audio, actions, np.array([0, ROWS]), ("random",), (), ())
    if stage == "tokenizer":
        return Clips(cache, batch, FRAMES[stage], seed=0)
    latents = rng.standard_normal((ROWS, cfg.latent.tokens, cfg.latent.dim)).astype(np.float16)
    return LatentClips(latents, cache, batch, FRAMES[stage], seed=0)


def stage_of(package: ModuleType, cfg: OpenWorldConfig, stage: str) -> tuple[Any, Any]:
    """A fresh part of the model, on the device, and the loss that trains it."""
    models = f"{package.__name__}.models.openworld"
    model = importlib.import_module(f"{models}.model").TransformerWorldModel(cfg).init(package.random.key(0))
    losses = importlib.import_module(f"{models}.losses")
    return package.engine.place(getattr(model, stage)), getattr(losses, f"{stage}_loss")


def step_flops(package: ModuleType, cfg: OpenWorldConfig, stage: str) -> float:
    """FLOPs of a training step for one clip of a stage, forward and backward, counted from the graph."""
    part, loss = stage_of(package, cfg, stage)
    with contextlib.closing(feed(cfg, stage, COUNTED)) as batches:
        batch = package.engine.array(batches.batch(0))
    key = package.random.key(0, like=next(iter(batch.values())))

    def flops(fn, *args) -> int:
        return counts.summary(counts.operations(package, fn, *args))["flops"]

    once = learnt = flops(lambda batch, key: loss(part, batch, key)[0], batch, key)
    if stage == "dynamics":
        z, actions = package.ops.float32(batch["z"]), batch["actions"]
        learnt = flops(lambda z, a: part(z, a, a * 0, a * 0, z), z, actions)
    return (once + 2 * learnt) / COUNTED
