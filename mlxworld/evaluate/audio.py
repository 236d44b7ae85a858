"""How far two sounds are apart, and when a sound begins.

Audio is (..., T, S): S samples for each of T frames, float in [-1, 1]. The spectral distances read a clip as one
waveform of T * S samples; onsets are told per frame. Spectra are written in numpy; the mel scale is Slaney's.
"""

from functools import cache

import numpy as np

from mlxworld.errors import MlxworldError

MEL_FLOOR = 1e-4  # power; for 1,024 samples about -70 dB of a full sine, below which nothing is heard
STFT_FLOOR = 1e-3  # of a full sine's magnitude: -60 dB


def rms(audio: np.ndarray) -> np.ndarray:
    """Loudness of each frame: root mean square around the frame's mean (so a constant offset is silent), (..., T)."""
    return audio.std(-1, dtype=np.float64)


def stft(wave: np.ndarray, size: int, hop: int) -> np.ndarray:
    """Magnitudes (..., frames, size // 2 + 1) of waveforms (..., samples): periodic Hann, zeros around."""
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)
    wave = np.pad(wave, [(0, 0)] * (wave.ndim - 1) + [(size // 2, size // 2)])
    frames = np.lib.stride_tricks.sliding_window_view(wave, size, -1)[..., ::hop, :]
    return np.abs(np.fft.rfft(frames * window))


@cache
def mel_filters(sample_rate: int, size: int, bands: int) -> np.ndarray:
    """Triangles (bands, size // 2 + 1) of equal area, evenly spaced on Slaney's mel scale up to the Nyquist rate."""
    knee, step = 1000.0, np.log(6.4) / 27  # linear below 1 kHz (3 mels per 200 Hz), logarithmic above
    top = sample_rate / 2
    mel = np.linspace(0, 15 + np.log(top / knee) / step if top > knee else top * 3 / 200, bands + 2)
    edges = np.where(mel < 15, mel * 200 / 3, knee * np.exp((mel - 15) * step))
    bins = np.fft.rfftfreq(size, 1 / sample_rate)
    low, mid, high = (edges[k : k + bands, None] for k in range(3))
    filters = np.maximum(0, np.minimum((bins - low) / (mid - low), (high - bins) / (high - mid))) * 2 / (high - low)
    filters.flags.writeable = False  # the same array for all who ask
    return filters


def log_mel(audio: np.ndarray, sample_rate: int, size: int = 1024, hop: int = 512, bands: int = 64) -> np.ndarray:
    """Log-mel spectrogram in dB, (..., frames, bands), of audio (..., T, S)."""
    power = np.square(stft(_wave(audio), size, hop)) @ mel_filters(sample_rate, size, bands).T
    return 10 * np.log10(np.maximum(power, MEL_FLOOR))


def log_mel_distance(real: np.ndarray, dream: np.ndarray, sample_rate: int) -> np.ndarray:
    """Mean absolute difference of the log-mel spectrograms of each clip in dB, shape (...,)."""
    _same_shape(real, dream)
    return np.abs(log_mel(real, sample_rate) - log_mel(dream, sample_rate)).mean((-2, -1))


def stft_distance(real: np.ndarray, dream: np.ndarray, sizes: tuple[int, ...] = (512, 1024, 2048)) -> np.ndarray:
    """Multi-resolution STFT distance of each clip, shape (...,) (Yamamoto et al. 2020), the mean over `sizes` of

    spectral convergence + mean |log magnitude difference| (natural logarithm). The convergence is divided by the norms
    of both sounds, |R - D| / (|R| + |D|): it stays in [0, 1] where the real clip is silent.
    """
    _same_shape(real, dream)
    total = np.zeros(real.shape[:-2])
    for size in sizes:
        r, d = (stft(_wave(x), size, size // 4) for x in (real, dream))
        norm = [np.sqrt(np.square(x).sum((-2, -1))) for x in (r - d, r, d)]
        floor = STFT_FLOOR * size / 4
        silent = floor * np.sqrt(r.shape[-2] * r.shape[-1])
        log = np.log(np.maximum(r, floor)) - np.log(np.maximum(d, floor))
        total += norm[0] / np.maximum(norm[1] + norm[2], silent) + np.abs(log).mean((-2, -1))
    return total / len(sizes)


def onsets(audio: np.ndarray, loud: float = 0.05, rise: float = 2.5, likeness: float = 0.6) -> np.ndarray:
    """The frames in which a sound begins: bool (..., T) for audio (..., T, S).

    A frame louder than `loud` (RMS) begins a sound when it is `rise` times louder than the frame before, or when both
    are loud but their spectra differ: cosine of the magnitudes below `likeness` (another pitch). A sound that begins
    late in one frame grows in the next: two onsets are never in adjacent frames. Frame 0 has no past and no onset.
    """
    level = rms(audio)
    window = np.hanning(audio.shape[-1] + 1)[:-1]
    spectrum = np.abs(np.fft.rfft((audio - audio.mean(-1, keepdims=True)) * window))
    spectrum /= np.maximum(np.sqrt(np.square(spectrum).sum(-1, keepdims=True)), 1e-9)
    alike = (spectrum[..., 1:, :] * spectrum[..., :-1, :]).sum(-1)
    now, past = level[..., 1:], level[..., :-1]
    begins = np.zeros(level.shape, bool)
    begins[..., 1:] = (now > loud) & ((now > rise * past) | ((past > loud) & (alike < likeness)))
    for t in range(1, level.shape[-1]):
        begins[..., t] &= ~begins[..., t - 1]
    return begins


def onset_counts(real: np.ndarray, dream: np.ndarray, tolerance: int = 1) -> tuple[int, int, int]:
    """(matched, real, dreamt) onsets, each an (..., T) bool array. One real onset matches at most one dreamt onset,
    at most `tolerance` frames away; the greedy pairing in time order is the largest possible."""
    if real.shape != dream.shape:
        raise MlxworldError(f"onsets of one shape are compared, not {real.shape} and {dream.shape}")
    matched = 0
    for a, b in zip(real.reshape(-1, real.shape[-1]), dream.reshape(-1, real.shape[-1]), strict=True):
        want, have = list(np.flatnonzero(a)), list(np.flatnonzero(b))
        while want and have:
            if abs(want[0] - have[0]) <= tolerance:
                matched += 1
                want.pop(0)
                have.pop(0)
            else:
                (want if want[0] < have[0] else have).pop(0)
    return matched, int(real.sum()), int(dream.sum())


def onset_f1(real: np.ndarray, dream: np.ndarray, tolerance: int = 1) -> float:
    """F1 of the dreamt onsets (bool (..., T), from `onsets`) against the real ones; nan if neither has any."""
    matched, wanted, had = onset_counts(real, dream, tolerance)
    return 2 * matched / (wanted + had) if wanted + had else float("nan")


def _wave(audio: np.ndarray) -> np.ndarray:
    return audio.reshape(*audio.shape[:-2], -1)


def _same_shape(real: np.ndarray, dream: np.ndarray) -> None:
    if real.shape != dream.shape:
        raise MlxworldError(f"two sounds of one shape are compared, not {real.shape} and {dream.shape}")
