"""Sound to log-mel spectrograms, and back by Griffin and Lim's algorithm.

A spectrogram has no phase. Going back, each column's mel bands are first spread over the frequencies they were summed
from (the least spectrum that is not negative and gives the bands, by multiplicative updates), then a phase is sought
whose short-time spectra agree with one another (Griffin & Lim 1984, with the momentum of Perraudin et al. 2013).
"""

import numpy as np

from ...configs.translator import TranslatorConfig
from ...evaluate.audio import MEL_FLOOR, log_mel, mel_filters

SCALE = 40.0  # dB of a spectrogram's 1: silence is -1, a loud tone about 1
HIGHEST = 2.0
MOMENTUM = 0.99
SHORTEST = 1024  # samples of a window, at least: low bands need as many


def window(hop: int) -> int:
    """Samples of the window of a spectrogram with a column every `hop` samples."""
    return max(SHORTEST, 2 * hop)


def spectrogram(wave: np.ndarray, sample_rate: int, hop: int, bands: int) -> np.ndarray:
    """Sound (..., N) in [-1, 1] -> (..., N // hop, bands) float32: log-mel in units of 40 dB, silence at -1."""
    mel = log_mel(wave[..., None, :], sample_rate, window(hop), hop, bands)[..., : wave.shape[-1] // hop, :]
    return (mel / SCALE).clip(-1, HIGHEST).astype(np.float32)


def sound(mel: np.ndarray, sample_rate: int, hop: int, iterations: int = 60, seed: int = 0) -> np.ndarray:
    """A spectrogram (T, bands) as `spectrogram` gives it -> a sound (T * hop,) float32 in [-1, 1] that has it.

    Where the spectrogram is silent the sound is, too. It is a function of its arguments: phases begin from `seed`.
    """
    size, T = window(hop), len(mel)
    magnitude = _magnitude(np.asarray(mel, np.float64), sample_rate, size)
    phase = np.exp(2j * np.pi * np.random.default_rng(seed).random(magnitude.shape))
    wave, before = np.zeros(T * hop), np.zeros_like(phase)
    for _ in range(iterations):
        wave = _inverse(magnitude * phase, size, hop, T * hop)
        spectrum = _forward(wave, size, hop)[:T]
        moved = spectrum + MOMENTUM * (spectrum - before)
        before, phase = spectrum, moved / np.maximum(np.abs(moved), 1e-12)
    return wave.clip(-1, 1).astype(np.float32)


def heard(cfg: TranslatorConfig, wave: np.ndarray) -> np.ndarray:
    """What a model hears of a sound (N,): its spectrogram (audio_frames, bands); what lasts longer is cut, and silence
    follows what ends before."""
    wave = wave[: cfg.samples]
    return spectrogram(np.pad(wave, (0, cfg.samples - len(wave))), cfg.sample_rate, cfg.hop, cfg.bands)


def _magnitude(mel: np.ndarray, sample_rate: int, size: int) -> np.ndarray:
    """Magnitudes (T, size // 2 + 1) whose squares give the mel bands; a band at the floor has none."""
    power = 10 ** (SCALE * mel / 10)
    power = np.where(power <= 1.05 * MEL_FLOOR, 0.0, power)
    filters = mel_filters(sample_rate, size, mel.shape[-1])
    whole = filters.sum(1)
    filters, power = filters[whole > 0], power[:, whole > 0]  # narrow bands may hold no frequency at all
    spectrum = power @ (filters / np.square(filters).sum(1, keepdims=True))
    for _ in range(50):
        spectrum *= (power @ filters) / np.maximum(spectrum @ filters.T @ filters, 1e-12)
    return np.sqrt(spectrum)


def _hann(size: int) -> np.ndarray:
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)


def _forward(wave: np.ndarray, size: int, hop: int) -> np.ndarray:
    """The complex spectra of `evaluate.audio.stft`."""
    frames = np.lib.stride_tricks.sliding_window_view(np.pad(wave, size // 2), size)[::hop]
    return np.fft.rfft(frames * _hann(size))


def _inverse(spectrum: np.ndarray, size: int, hop: int, samples: int) -> np.ndarray:
    """The sound whose short-time spectra are nearest to these (least squares)."""
    frames, weight = np.fft.irfft(spectrum, size) * _hann(size), np.square(_hann(size))
    total = max(len(frames) * hop + size, samples + size)
    wave, norm = np.zeros(total), np.zeros(total)
    for i, frame in enumerate(frames):
        wave[i * hop : i * hop + size] += frame
        norm[i * hop : i * hop + size] += weight
    return (wave / np.maximum(norm, 1e-3 * weight.max()))[size // 2 : size // 2 + samples]
