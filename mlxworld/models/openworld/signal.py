"""Spectra of sound, written once: mel bands, power spectrograms, and the frequency inside each band.

Columns are causal: column j of hop h ends with sample (j + 1) * h - 1, so a frame's columns never hear the next frame.
B batch, N samples, J columns, F frequencies, M mel bands.
"""

import bisect
import math

from ... import ops
from ...nn import Module
from ..arrays import Array

FLOOR = 1e-4  # magnitude below which sound counts as silence: -80 dB of a full-scale tone


def hz_to_mel(hz: float) -> float:
    """Slaney's scale: linear below 1 kHz, logarithmic above (Auditory Toolbox, 1998)."""
    return hz * 3 / 200 if hz < 1000 else 15 + 27 * math.log(hz / 1000) / math.log(6.4)


def mel_to_hz(mel: float) -> float:
    """The inverse of `hz_to_mel`."""
    return mel * 200 / 3 if mel < 15 else 1000 * math.exp(math.log(6.4) / 27 * (mel - 15))


def mel_edges(bands: int, sample_rate: int) -> list[float]:
    """Hertz of the bands' M + 2 edges, from 0 to half the sample rate: band m is a triangle over edges m, m+1, m+2."""
    top = hz_to_mel(sample_rate / 2)
    return [mel_to_hz(top * i / (bands + 1)) for i in range(bands + 2)]


def mel_filters(bands: int, window: int, sample_rate: int) -> list[list[float]]:
    """(F, M) triangular filters of unit height, F = window / 2 + 1."""
    edges = mel_edges(bands, sample_rate)
    rows = []
    for i in range(window // 2 + 1):
        f, row = i * sample_rate / window, [0.0] * bands
        band = bisect.bisect_right(edges, f) - 1  # the band that rises here; the one before it falls
        for m in range(max(0, band - 1), min(bands, band + 1)):
            low, mid, high = edges[m : m + 3]
            row[m] = max(0.0, min((f - low) / (mid - low), (high - f) / (high - mid)))
        rows.append(row)
    return rows


def columns(x: Array, window: int, hop: int) -> Array:
    """x (B, N), N a multiple of hop, window a multiple of hop -> (B, N / hop, window); silence before the start."""
    B, N = x.shape
    n = window // hop
    x = ops.pad(x, [(0, 0), (window - hop, 0)]).reshape(B, N // hop + n - 1, hop)
    return ops.concat([x[:, i : N // hop + i] for i in range(n)], axis=-1)


class Spectrum(Module):
    """Short-time spectra with a Hann window, scaled so that a full-scale tone has magnitude 1, and their mel bands."""

    def __init__(self, window: int, hop: int, bands: int = 0, sample_rate: int = 0):
        """window, hop: samples, window a multiple of hop. bands: mel bands, 0 for none."""
        super().__init__()
        self.window, self.hop = window, hop
        turns = [math.tau * i / window for i in range(window)]
        self._taper = ops.array([(2 - 2 * math.cos(t)) / window for t in turns])
        if bands:
            self._slope = ops.array([2 * math.tau / window**2 * math.sin(t) for t in turns])  # of the taper, per sample
            self._filters = ops.array(mel_filters(bands, window, sample_rate))
            self._bins = ops.array([i / window for i in range(window // 2 + 1)])

    def power(self, x: Array) -> Array:
        """(B, N) -> squared magnitudes (B, J, F)."""
        real, imag = ops.rfft(columns(x, self.window, self.hop) * self._taper)
        return ops.square(real) + ops.square(imag)

    def log_power(self, x: Array) -> Array:
        """(B, N) -> natural logarithm of magnitudes (B, J, F)."""
        return 0.5 * ops.log(self.power(x) + FLOOR**2)

    def log_mel(self, x: Array) -> Array:
        """(B, N) -> natural logarithm of mel magnitudes (B, J, M), from -9.2 (silence)."""
        return 0.5 * ops.log(self.power(x) @ self._filters + FLOOR**2)

    def frequency(self, x: Array) -> tuple[Array, Array]:
        """(B, N) -> power and mean frequency of each band, both (B, J, M), frequency in cycles a sample.

        Frequencies are reassigned (Auger & Flandrin 1995): bin k's is f_k - Im(X_slope conj X) / (2 pi |X|^2), so
        that a pure tone is exact however wide the bin.
        """
        x = columns(x, self.window, self.hop)
        a, b = ops.rfft(x * self._taper)
        c, d = ops.rfft(x * self._slope)
        p = ops.square(a) + ops.square(b)
        band = p @ self._filters
        moved = p * self._bins - (d * a - c * b) / math.tau
        return band, (moved @ self._filters) / (band + FLOOR**2)
