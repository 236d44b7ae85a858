"""Lines as SVG. Colours are classes, so that the page's style (light, dark) decides."""

import itertools
import math
from collections.abc import Sequence
from html import escape

import numpy as np

from ..figures import Plot

WIDTH, HEIGHT = 560, 300
LEFT, RIGHT, TOP, BOTTOM = 46, 132, 22, 42
ORDER = ("real game", "real frames", "reconstruction", "model")  # drawn last, above the others
POINTS = 160  # of a line at most: means over neighbours


def line_class(name: str) -> str:
    """The class of a candidate's colour: "repeat last" -> "c-repeat-last"."""
    return "c-" + "-".join(word for word in "".join(c if c.isalnum() else " " for c in name.lower()).split())


def svg(plot: Plot) -> str:
    """A plot with its axes; each line is named at its end. Lines with fewer than two values are points."""
    lines = {name: _thinned(plot.x, values) for name, values in plot.lines.items()}
    lines = {name: points for name, points in lines.items() if points}
    if not lines:
        return ""
    xs, ys = ([p[k] for points in lines.values() for p in points] for k in (0, 1))
    across = _Axis(min(xs), max(xs), LEFT, WIDTH - RIGHT, plot.log)
    low, high = _room(min(ys), max(ys))
    up = _Axis(low, high, HEIGHT - BOTTOM, TOP, False)
    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(plot.title)}">']
    for value in _round_steps(low, high, 5):
        y = up(value)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="tick" x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{_short(value)}</text>')
    for value in _powers(min(xs), max(xs)) if plot.log else _round_steps(min(xs), max(xs), 6):
        x = across(value)
        parts.append(
            f'<line class="stub" x1="{x:.1f}" x2="{x:.1f}" y1="{HEIGHT - BOTTOM}" y2="{HEIGHT - BOTTOM + 4}"/>'
            f'<text class="tick" x="{x:.1f}" y="{HEIGHT - BOTTOM + 17}" text-anchor="middle">{_short(value)}</text>'
        )
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(f'<text class="axis" x="{middle}" y="{HEIGHT - 4}" text-anchor="middle">{escape(plot.x_label)}</text>')
    if plot.y_label:
        parts.append(f'<text class="axis" x="0" y="{TOP - 5}">{escape(plot.y_label)}</text>')
    for name in sorted(lines, key=lambda n: ORDER.index(n) if n in ORDER else -1):
        parts.append(_line(name, [(across(x), up(y)) for x, y in lines[name]]))
    parts += _names({name: up(points[-1][1]) for name, points in lines.items()})
    return "".join([*parts, "</svg>"])


class _Axis:
    """Values to pixels."""

    def __init__(self, low: float, high: float, start: float, stop: float, log: bool):
        self._map = math.log if log else float
        self._low, span = self._map(low), self._map(high) - self._map(low)
        self._start, self._scale = start, (stop - start) / span if span else 0.0

    def __call__(self, value: float) -> float:
        return self._start + (self._map(value) - self._low) * self._scale


def _thinned(x: Sequence[float], values: Sequence[float | None]) -> list[tuple[float, float]]:
    points = [(a, b) for a, b in zip(x, values, strict=True) if b is not None and math.isfinite(b)]
    if len(points) <= POINTS:
        return points
    edges = np.unique(np.geomspace(1, len(points), POINTS).astype(int))
    means = [np.mean(points[a:b], 0).tolist() for a, b in itertools.pairwise(edges)]
    return [points[0], *((x, y) for x, y in means)]


def _line(name: str, points: list[tuple[float, float]]) -> str:
    path = " ".join(f"{'L' if i else 'M'}{x:.1f} {y:.1f}" for i, (x, y) in enumerate(points))
    dots = points if len(points) <= 8 else []
    circles = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3"/>' for x, y in dots)
    return f'<g class="line {line_class(name)}"><path d="{path}"/>{circles}</g>'


def _names(ends: dict[str, float]) -> list[str]:
    """Each line's name at the right, as near to its end as its neighbours let it."""
    places, last = {}, -math.inf
    for name, y in sorted(ends.items(), key=lambda item: item[1]):
        last = places[name] = max(y, last + 14)
    over = max(0.0, last - (HEIGHT - BOTTOM))
    return [
        f'<text class="name {line_class(name)}" x="{WIDTH - RIGHT + 8}" y="{y - over + 4:.1f}">{escape(name)}</text>'
        for name, y in places.items()
    ]


def _room(low: float, high: float) -> tuple[float, float]:
    """A little more than the values take, from 0 on where they begin near it."""
    span = (high - low) or abs(high) or 1.0
    below = 0.0 if 0 <= low < 0.5 * span else low - 0.06 * span
    return below, high + 0.06 * span


def _round_steps(low: float, high: float, count: int) -> list[float]:
    span = (high - low) or 1.0
    raw = span / count
    size = 10 ** math.floor(math.log10(raw))
    step = next(size * m for m in (1, 2, 5, 10) if size * m >= raw)
    first = math.ceil(low / step - 1e-9)
    return [k * step for k in range(first, math.floor(high / step + 1e-9) + 1)]


def _powers(low: float, high: float) -> list[float]:
    """1, 4, 16, ... where they lie on the axis."""
    return [4.0**k for k in range(12) if low <= 4.0**k <= high]


def _short(x: float) -> str:
    return f"{x:.0f}" if abs(x) >= 10 or x == round(x) else f"{x:.2g}"
