"""Sounds by name: whether a dream lets a named sound be heard when its event happens, with the events known.

A detector is fitted on real sound of half of the clips and asked of the other half, and the other way round; what it
scores on real sound is the ceiling of what it can say about a dream.
"""

import numpy as np

from . import audio as sound

BANDS, LOUDNESS = 32, 0.3  # exponent of intensity: quiet overtones count


def spectra(audio: np.ndarray) -> np.ndarray:
    """(..., T, S) -> (..., T, BANDS): the spectrum of each frame and the one after, of unit length where it is loud."""
    after = np.concatenate([audio[..., 1:, :], np.zeros_like(audio[..., :1, :])], -2)
    power = np.square(np.abs(np.fft.rfft(np.concatenate([audio, after], -1)))).astype(np.float32)
    edges = np.unique(np.geomspace(2, power.shape[-1], BANDS + 1).astype(int))[:-1]
    bands = np.add.reduceat(power, edges, -1) ** LOUDNESS
    return bands / np.maximum(np.linalg.norm(bands, axis=-1, keepdims=True), 1e-3)


def heard_f1(real: np.ndarray, dream: np.ndarray, events: dict[str, np.ndarray], name: str, begin: int) -> float:
    """F1, within a frame, of the sound `name` in a dream (N, T, S) from frame `begin` on.

    events {name: (N, T) bool}: when each named sound begins in the real clips, whose sound (N, T, S) is `real`; nan
    where that sound never begins.
    """
    onsets = sound.onsets(dream)
    onsets &= np.concatenate([np.zeros_like(onsets[:, :1]), ~onsets[:, :-1]], 1)
    matched = wanted = had = 0
    real_spectra, dream_spectra = spectra(real), spectra(dream)
    for fold in (0, 1):
        known = np.arange(len(real)) % 2 != fold
        centres = {n: real_spectra[known][flags[known]].mean(0) for n, flags in events.items() if flags[known].any()}
        if name not in centres:
            continue
        table = np.stack(list(centres.values()))
        nearest = (dream_spectra[~known] @ table.T).argmax(-1) == list(centres).index(name)
        named = (onsets[~known] & nearest)[:, begin:]
        counts = sound.onset_counts(events[name][~known][:, begin:], named)
        matched, wanted, had = matched + counts[0], wanted + counts[1], had + counts[2]
    return 2 * matched / (wanted + had) if wanted else float("nan")
