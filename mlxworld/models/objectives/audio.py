"""Losses of sounds that need not agree in phase. B batch, N samples; sounds (B, N)."""

from collections.abc import Sequence
from typing import Any

from ... import ops
from ..arrays import Array


def short_time_energy(prediction: Array, audio: Array, chunk: int) -> Array:
    """Mean difference of the mean magnitudes of `chunk` samples, which divide N. Where a model holds no phase, a loss
    on samples themselves would reward silence."""
    a, b = (ops.abs(x).reshape(-1, chunk).mean(axis=-1) for x in (prediction, audio))
    return ops.abs(a - b).mean()


def multi_resolution_stft(spectra: Sequence[Any], prediction: Array, audio: Array) -> Array:
    """Mean difference of log magnitudes over several resolutions (Yamamoto et al. 2020). spectra: each has
    `log_power(audio)` (B, J, F), of J columns and F frequencies."""
    return sum(ops.abs(s.log_power(prediction) - s.log_power(audio)).mean() for s in spectra) / len(spectra)
