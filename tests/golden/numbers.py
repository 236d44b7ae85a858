"""Arrays as a few fixed numbers, and their comparison with those that were written down in `numbers.json`."""

import json
from pathlib import Path
from typing import Any

import numpy as np

FILE = Path(__file__).parent / "numbers.json"
WHOLE, SAMPLES, VIEWS = 16, 24, 8  # an array of at most WHOLE numbers is written down as it is


def digest(x: Any) -> list[float]:
    """Few numbers of an array: all, or mean, spread, VIEWS sums under random signs, then SAMPLES of its elements."""
    flat = np.asarray(x, np.float64).reshape(-1)
    if flat.size <= WHOLE:
        return flat.tolist()
    rng = np.random.default_rng(flat.size)
    signs = 2.0 * rng.integers(0, 2, (VIEWS, flat.size), np.int8) - 1
    samples = flat[rng.integers(0, flat.size, SAMPLES)]
    return [flat.mean(), flat.std(), *(signs @ flat / flat.size**0.5), *samples]


def far(expected: list[float], x: Any, tolerance: float) -> float:
    """How far an array is from the numbers expected of it, in tolerances: 1 is the limit.

    Differences are measured against the array's spread, or its largest number where all are written down. A sample of
    whole numbers may be one off: rounding decides it.
    """
    wanted, numbers = np.array(expected), np.array(digest(x))
    if wanted.shape != numbers.shape or not np.isfinite(numbers).all():
        return np.inf
    if len(wanted) <= WHOLE:
        return float(np.abs(numbers - wanted).max() / (tolerance * max(np.abs(wanted).max(), 1e-12)))
    limit = np.full(wanted.shape, tolerance * wanted[1])
    if np.asarray(x).dtype.kind in "iu":
        limit[-SAMPLES:] = 1
    return float((np.abs(numbers - wanted) / limit).max())


def load() -> dict[str, dict[str, list[float]]]:
    """{case: {what: its numbers}}."""
    return json.loads(FILE.read_text())


def save(cases: dict[str, dict[str, list[float]]]) -> None:
    """One line for each array."""
    blocks = []
    for case, arrays in cases.items():
        lines = [f"  {json.dumps(what)}: [{', '.join(f'{x:.7g}' for x in xs)}]" for what, xs in arrays.items()]
        blocks.append(f" {json.dumps(case)}: {{\n" + ",\n".join(lines) + "\n }")
    FILE.write_text("{\n" + ",\n".join(blocks) + "\n}\n")
