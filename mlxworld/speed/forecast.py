"""`mlxworld bench --predict`: frames a second of a model on machines that were measured and on Macs that were not.

Every figure is a band with the figures that it is made from; nothing is run but the counting.
"""

import functools
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

from .. import families, installed, on
from ..configs.world import WorldConfig
from . import counts, predict
from .chips import CHIPS, SOURCES
from .parts import parts


def forecast(cfg: WorldConfig, weights: str | None = None) -> list[dict[str, Any]]:
    """For each machine: chip, backend, precision, fps_low, fps_high of one world, and source. weights: quantised to."""

    @functools.cache
    def operations(backend: str, precision: str, fused: bool) -> np.ndarray:
        return step(on(backend), cfg, precision, fused, weights)

    forecasts = []
    for (backend, chip, precision, kind), rows in predict.measured().items():
        if backend in installed() and kind == (weights or ""):
            band = predict.at_hand(operations(backend, precision, rows[0]["compiled"]), rows)
            notes = sorted({r["note"] for r in rows if "note" in r})
            source = "; ".join([f"fitted to {', '.join(sorted({r['world'] for r in rows}))}, measured there", *notes])
            forecasts.append(_row(chip, backend, precision, band, source))
    return forecasts + macs(lambda backend, precision: operations(backend, precision, True))


def macs(operations: Callable[[str, str], np.ndarray]) -> list[dict[str, Any]]:
    """How often a second a function runs on each Mac, as rows of `forecast`.

    operations(backend, precision): its own (N, 3), fused, as in `counts.histogram`.
    """
    traced = "mlx" if "mlx" in installed() else "torch"
    least, most = predict.shares(predict.measured())
    bounds = (f"{100 * getattr(least, n):.0f} to {100 * getattr(most, n):.0f} %" for n in ("compute", "bandwidth"))
    shares = "of those {} and {}, as fitted to what was measured on GPUs".format(*bounds)
    shares += f"; {1e6 * most.launch:.0f} to {1e6 * least.launch:.0f} us an operation, assumed"
    forecasts = []
    for chip in CHIPS:
        precision = "float16" if chip.name.startswith(("M1", "M2")) else "bfloat16"
        band = predict.unseen(operations(traced, precision), chip, least, most)
        source = "; ".join([*(SOURCES[s] for s in chip.sources), shares])
        forecasts.append(_row(f"Apple {chip.name}", "mlx", precision, band, source))
    return forecasts


def step(package: ModuleType, cfg: WorldConfig, precision: str, fused: bool, weights: str | None) -> np.ndarray:
    """The operations (N, 3) of a model's step, as in `counts.histogram`."""
    engine = package.engine
    model = engine.place(engine.cast(families.built(package, cfg), precision))
    if weights is not None:
        engine.quantize(model, weights)
    part = parts(package, model)["step"]
    ops = counts.operations(package, part.fn, part.state, *part.inputs)
    return np.array(counts.histogram(counts.fused(ops) if fused else ops))


def table(name: str, rows: list[dict[str, Any]], what: str = "one world, frames/s") -> str:
    """The forecast as lines to read, each source as a numbered note."""
    sources = list(dict.fromkeys(r["source"] for r in rows))
    width = max(len(r["chip"]) for r in rows)
    lines = [f"{name}, {what} (nothing was run; each figure is a band)"]
    for r in rows:
        band = f"{r['fps_low']:>6.0f} to {r['fps_high']:<6.0f}"
        lines.append(
            f"{r['chip']:<{width}}  {r['backend']:<5} {r['precision']:<8} {band} [{sources.index(r['source']) + 1}]"
        )
    return "\n".join([*lines, *(f"[{i}] {source}" for i, source in enumerate(sources, 1))])


def _row(chip: str, backend: str, precision: str, band: predict.Band, source: str) -> dict[str, Any]:
    low, high = band.fps()
    return {
        "chip": chip,
        "backend": backend,
        "precision": precision,
        "fps_low": low,
        "fps_high": high,
        "source": source,
    }
