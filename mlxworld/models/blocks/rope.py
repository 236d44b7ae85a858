"""Rotary positions (Su et al. 2021). Angles are (2, ..., E): cosines, and sines that are negative in the first half.

E width of a head, even: number i turns with number i + E / 2. B batch, T positions.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

from ... import ops
from ..arrays import Array


def rotate(x: Array, angles: Any, gains: Array | None = None) -> Array:
    """x (B, T, K, H, E), times gains (H, E) where they are given, turned by angles (cosines and signed sines, each
    (T, 1, 1, E) or (B, T, 1, 1, E)) in x's dtype."""
    return ops.rotary(x, angles[0], angles[1], gains)


def turning(angles: Any, interleaved: bool = False) -> Callable[..., Array]:
    """What `Attention` takes as rope: a function of queries or keys, and of their gains (H, E) if there are any, that
    turns them by these angles.

    interleaved: numbers 2 i and 2 i + 1 turn together. They come out as i and i + E / 2: queries and keys are put into
    the same other order, which their products do not see.
    """

    def turn(x: Array, gains: Array | None = None) -> Array:
        if not interleaved:
            return rotate(x, angles, gains)
        return rotate(_apart(x if gains is None else x * gains), angles)

    return turn


def _apart(x):
    """x (..., E), its even numbers before its odd ones."""
    return x.reshape(-1, x.shape[-1] // 2, 2).swapaxes(1, 2).reshape(x.shape)


def whole_turns(period: int, width: int) -> list[list[list[float]]]:
    """A table (2, period, width) in which every frequency makes whole turns in `period` positions, geometric from one
    radian a position down to one turn: row `position % period` is exact for ever, in any dtype."""
    half = width // 2
    turns = [round((period / math.tau) ** (1 - j / max(1, half - 1))) for j in range(half)]
    angles = [math.tau * t / period for t in range(period)]
    cosines, sines = [math.cos(a) for a in angles], [math.sin(a) for a in angles]
    places = [[t * n % period for n in turns] for t in range(period)]
    cos = [[cosines[p] for p in row] * 2 for row in places]
    sin = [[-sines[p] for p in row] + [sines[p] for p in row] for row in places]
    return [cos, sin]


def first_rows(table: Array, frames: int) -> Array:
    """The rows of frames 0 .. frames - 1 of a table (2, period, E) of `whole_turns`: (2, frames, E), begun anew after
    each period. Attention sees differences of frames only, so this is exact where no frame sees a period back."""
    periods = -(-frames // table.shape[1])
    return (table if periods == 1 else ops.concat([table] * periods, axis=1))[:, :frames]


def frequencies(width: int, base: float = 10000.0, factors: Sequence[float] | None = None) -> list[float]:
    """Radians a position (E / 2,): base^(-2 i / E), each divided by its factor (LongRoPE, Ding et al. 2024)."""
    plain = [base ** (-2 * i / width) for i in range(width // 2)]
    return [f / factor for f, factor in zip(plain, factors or [1.0] * len(plain), strict=True)]


def by_wave_length(
    frequencies: Sequence[float], factor: float, low_freq_factor: float, high_freq_factor: float, trained_length: int
) -> list[float]:
    """Frequencies (E / 2,) for texts `factor` times as long (Llama 3.1, Dubey et al. 2024): those that turn less than
    low_freq_factor times in the trained length are divided by it, those that turn more than high_freq_factor times
    stay, and between them they change smoothly."""
    turns = [trained_length * f / math.tau for f in frequencies]
    smooth = [min(1.0, max(0.0, (n - low_freq_factor) / (high_freq_factor - low_freq_factor))) for n in turns]
    return [f * s + f / factor * (1 - s) for f, s in zip(frequencies, smooth, strict=True)]


def angles(positions: Array, frequencies: Array, scale: float = 1.0) -> Array:
    """positions (..., T) and frequencies (E / 2,) -> angles (2, ..., T, E), float32, times `scale`."""
    turned = ops.float32(positions)[..., None] * frequencies
    cos, sin = ops.cos(turned) * scale, ops.sin(turned) * scale
    return ops.stack([ops.concat([cos, cos], axis=-1), ops.concat([-sin, sin], axis=-1)])


def by_section(angles: Array, sections: Sequence[int]) -> Array:
    """Angles (2, S, ..., T, E) of S kinds of position (time, height, width) -> (2, ..., T, E): the first sections[0]
    frequencies turn by the first kind, and so on (M-RoPE, Wang et al. 2024). The sections add up to E / 2."""
    half = angles.shape[-1] // 2
    chosen = []
    for first in (0, half):
        start = first
        for kind, size in enumerate(sections):
            chosen.append(angles[:, kind, ..., start : start + size])
            start += size
    return ops.concat(chosen, axis=-1)
