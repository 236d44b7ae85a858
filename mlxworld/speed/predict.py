"""Frames a second before anything has run: a roofline over the operations of the real graph.

    t = sum over operations of max(FLOPs / (compute * gemm), bytes / (bandwidth * copy)) + operations * launch

gemm and copy are what the machine reaches at best: measured in the same run where there is one, published where there
is none (`chips.py`). compute, bandwidth and launch are fitted to measured rows, for each backend and device: a row is
what `mlxworld bench --json` prints, and `measured.json` is a list of them, to which any machine's may be added.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .chips import Chip

MEASURED = Path(__file__).parent / "measured.json"
PARTS = {"step": "rollout", "dynamics": "dynamics", "decoder": "decoder"}  # counted: timed; what a rollout does
USUAL = (0.55, 0.7, 5e-6)  # a Fit before anything is known; it decides what the samples leave open
LIMITS = ((0.01, 1.5), (0.01, 1.5), (2e-7, 2e-4))
METAL = (2e-6, 8e-6)  # seconds an operation costs on a Mac: assumed, until one is measured
GEMM = 0.75  # of the peak, in large products on M4 Max (Qwen3-4B prefill, 70-78 %)
COPY = (0.45, 0.77)  # of the bandwidth: MLX's copies on M4, and decoding in 16 bits on M4 Max
UNKNOWN_PEAK = 2.0  # times what was achieved with thin matrices: 1.5 to 2.5 where both are known


@dataclass(frozen=True)
class Rates:
    """What a machine reaches at best: FLOP/s of a large product, bytes/s of a large copy."""

    gemm: float
    copy: float


@dataclass(frozen=True)
class Fit:
    """Shares of those rates that a world's operations reach, and seconds that each costs however small it is."""

    compute: float
    bandwidth: float
    launch: float


@dataclass(frozen=True)
class Sample:
    """A function that was timed: its operations (N, 3) as in `counts.histogram`, where it ran, and its seconds."""

    operations: np.ndarray
    rates: Rates
    seconds: float


@dataclass(frozen=True)
class Band:
    """Seconds between which a prediction lies."""

    least: float
    most: float

    def fps(self) -> tuple[float, float]:
        """Frames a second, the lower first."""
        return 1 / self.most, 1 / self.least


def seconds(operations: np.ndarray, rates: Rates, fit: Fit) -> float:
    """The predicted time of operations (N, 3): FLOPs, bytes, how often."""
    flops, moved, times = np.asarray(operations, np.float64).T
    each = np.maximum(flops / (fit.compute * rates.gemm), moved / (fit.bandwidth * rates.copy))
    return float((each * times).sum() + times.sum() * fit.launch)


def fit(samples: list[Sample]) -> Fit:
    """The Fit of least squared error of the logarithms, by a pattern search from several beginnings."""
    lows, highs = np.log(LIMITS).T
    found = []
    for launch in (1e-6, 5e-6, 4e-5):
        here, step = np.log([*USUAL[:2], launch]), 1.0
        error = _error(samples, here)
        while step > 0.01:
            tries = np.clip(here + step * np.concatenate([np.eye(3), -np.eye(3)]), lows, highs)
            errors = [_error(samples, t) for t in tries]
            if min(errors) < error:
                error, here = min(errors), tries[int(np.argmin(errors))]
            else:
                step /= 2
        found.append((error, Fit(*np.exp(here).tolist())))
    return min(found, key=lambda pair: pair[0])[1]


def _error(samples: list[Sample], logs: np.ndarray) -> float:
    guess = Fit(*np.exp(logs).tolist())
    wrong = sum(np.log(seconds(s.operations, s.rates, guess) / s.seconds) ** 2 for s in samples)
    return wrong / len(samples) + 1e-4 * float(((logs - np.log(USUAL)) ** 2).sum())


def measured(path: Path = MEASURED) -> dict[tuple[str, ...], list[dict[str, Any]]]:
    """The rows by what they have in common: backend, chip, precision, and what weights are quantised to, or ""."""
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for row in json.loads(path.read_text()):
        kind = row["backend"], row["chip"], row["precision"], row.get("weights") or ""
        groups.setdefault(kind, []).append(row)
    return groups


def samples(row: dict[str, Any]) -> dict[str, Sample]:
    """The functions of a row that were timed, by part."""
    rates = Rates(row["rates"]["gemm_tflops"] * 1e12, row["rates"]["copy_gbs"] * 1e9)
    timed = {part: row[name]["p50_ms"] / 1e3 for part, name in PARTS.items() if name in row}
    return {part: Sample(np.array(row["histogram"][part]), rates, s) for part, s in timed.items()}


def all_samples(rows: list[dict[str, Any]]) -> list[Sample]:
    """The timed functions of all rows."""
    return [sample for row in rows for sample in samples(row).values()]


def fits(rows: list[dict[str, Any]]) -> list[Fit]:
    """The fit to all rows, then to all but one, each in turn: how much the figures hang on single rows."""
    left_out = [[r for r in rows if r is not out] for out in rows] if len(rows) > 1 else []
    return [fit(all_samples(chosen)) for chosen in (rows, *left_out)]


def at_hand(operations: np.ndarray, rows: list[dict[str, Any]]) -> Band:
    """Where a machine has been measured: by all of `fits`, and as far off as the fit to all rows is from them."""
    whole, found = all_samples(rows), fits(rows)
    rates = Rates(*(float(np.median([getattr(s.rates, n) for s in whole])) for n in ("gemm", "copy")))
    wrong = np.log([seconds(s.operations, s.rates, found[0]) / s.seconds for s in whole])
    off = float(np.exp(np.sqrt((wrong**2).mean())))
    times = [seconds(operations, rates, f) for f in found]
    return Band(min(times) / off, max(times) * off)


def shares(groups: dict[tuple[str, ...], list[dict[str, Any]]]) -> tuple[Fit, Fit]:
    """The least and the most that worlds reached on the GPUs at hand; a launch costs Metal's, as assumed."""
    gpus = [rows for rows in groups.values() if rows[0]["device"] != "cpu"]
    found = [f for rows in gpus or groups.values() for f in fits(rows)]
    low, high = ([f(getattr(x, n) for x in found) for n in ("compute", "bandwidth")] for f in (min, max))
    return Fit(low[0], low[1], METAL[1]), Fit(min(1.0, high[0]), min(1.0, high[1]), METAL[0])


def unseen(operations: np.ndarray, chip: Chip, worst: Fit, best: Fit) -> Band:
    """Where nothing was measured: from what others achieved to what a data sheet allows, at the shares of `shares`."""
    if chip.achieved:
        low, (slow, _) = chip.achieved
        high = GEMM * (chip.peak[1] if chip.peak else UNKNOWN_PEAK * low)
    else:
        assert chip.peak
        (low, high), slow = chip.peak, COPY[0] * chip.bandwidth
    poor = Rates(low * 1e12, slow * 1e9)
    rich = Rates(max(low, high) * 1e12, max(slow, COPY[1] * chip.bandwidth) * 1e9)
    return Band(seconds(operations, rich, best), seconds(operations, poor, worst))
