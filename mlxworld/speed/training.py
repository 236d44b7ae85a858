"""Training as `mlxworld train` does it, over random data: how fast, at what share of the machine's matrix products,
and how long the loader keeps the device waiting.

Utilisation is a step's FLOPs, forward and backward as they run, over time and `gemm_tflops`. Operations that are
computed again for gradient checkpointing count too; the optimizer does not.
"""

import contextlib
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from .. import families
from ..training.monitor import Monitor
from ..training.run import Run
from ..training.stage import Source, Stage
from . import counts
from .measure import Show, silent

SECONDS = 8.0  # how long steps are measured, at least 3 and at most 200
COUNTED = 8  # clips of the batch whose operations are counted


def training(
    package: ModuleType,
    config: Any,
    clips: int | None,
    precision: str,
    compiled: bool,
    gemm_tflops: float,
    show: Show = silent,
) -> dict[str, dict[str, float]]:
    """For each stage of the family's recipe, on its longest clips: steps and samples (clips) a second, first_s, tflops
    reached, utilisation of `gemm_tflops`, and the share of time that the loop waited for a batch. clips: of a step."""
    rows = {}
    with tempfile.TemporaryDirectory() as folder, Monitor(Path(folder) / "events", quiet=True) as monitor:
        recipe = families.recipe(config.family)
        settings = recipe.Settings(
            data="random", out=Path(folder), model=config.family, config=config, precision=precision, compile=compiled
        )
        longest = {n: replace(s, batch=clips or s.batch, frames=s.frames[-1:]) for n, s in settings.stages()}
        settings = replace(settings, **longest)
        run = Run(package, settings, recipe.rehearsed(settings), monitor)
        for stage in run.stages:
            if stage.steps:
                rows[stage.name] = _measured(run, stage, gemm_tflops, show)
    return rows


def _measured(run: Run, stage: Stage, gemm_tflops: float, show: Show) -> dict[str, float]:
    if stage.prepare:
        stage.prepare()
    trainer = run.trainer(stage)
    with contextlib.closing(stage.batches[0](0)) as batches:
        first = next(batches)
        size, T = next(iter(first.values())).shape[:2]
        few = {name: x[:COUNTED] for name, x in first.items()}
        flops = counts.summary(trainer.operations(few))["flops"] * size / min(size, COUNTED)
        row = timed(run.engine, trainer, batches, lambda turns: show(stage.name, turns))
    tflops = flops * row["steps_per_s"] / 1e12
    row |= {"samples_per_s": row["steps_per_s"] * size, "clips": size, "frames": T}
    return row | {"tflops": tflops, "utilisation": tflops / gemm_tflops}


def timed(engine: Any, trainer: Any, batches: Source, show: Any) -> dict[str, float]:
    """first_s, steps_per_s and the loader's share of the time, after the first step and two more."""
    start = time.perf_counter()
    engine.numpy(trainer.step(next(batches), 0, 0.1)["loss"])
    first = time.perf_counter() - start
    for i in (1, 2):
        start = time.perf_counter()
        engine.numpy(trainer.step(next(batches), i, 0.1)["loss"])
    steps = int(np.clip(SECONDS / (time.perf_counter() - start), 3, 200))
    waited, metrics, start = 0.0, {}, time.perf_counter()
    for i in show(range(steps)):
        asked = time.perf_counter()
        batch = next(batches)
        waited += time.perf_counter() - asked
        metrics = trainer.step(batch, i + 3, 0.1)
        if i % 20 == 19:
            engine.numpy(metrics["loss"])  # as often as training reads its losses
    engine.numpy(metrics["loss"])
    taken = time.perf_counter() - start
    return {"first_s": first, "steps_per_s": steps / taken, "loader_wait": waited / taken}
