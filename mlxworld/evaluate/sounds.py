"""Which sound begins, and exactly when: onsets by name, and their offset in milliseconds.

Names are found, not given: the spectra of real onsets are grouped by likeness, and a group is called by its loudest
frequency. A dreamt onset has the name of the group that it is most like.
"""

from dataclasses import dataclass

import numpy as np

from . import audio as sound

ALIKE = 0.8  # cosine of two spectra of one name
RARE = 0.03  # share of the real onsets below which a group is no name
MOST = 8  # names
BANDS = 48
LOUDNESS = 0.3  # exponent of intensity (Stevens 1955): overtones count as an ear hears them
PIECES = 16  # of a frame: how finely an onset is placed


@dataclass(frozen=True)
class Names:
    """Kinds of sound: prototypes (K, BANDS) of unit length and a name for each."""

    prototypes: np.ndarray
    names: tuple[str, ...]

    @classmethod
    def of(cls, audio: np.ndarray, onsets: np.ndarray, sample_rate: int) -> "Names":
        """The kinds of the real onsets, bool (N, T), in audio (N, T, S); none where nothing begins."""
        spectra = _spectra(audio, onsets, sample_rate)
        groups: list[list[np.ndarray]] = []
        for spectrum in spectra:
            likeness = [spectrum @ _unit(np.mean(group, 0)) for group in groups]
            if likeness and max(likeness) > ALIKE:
                groups[int(np.argmax(likeness))].append(spectrum)
            else:
                groups.append([spectrum])
        common = sorted((g for g in groups if len(g) >= max(2, RARE * len(spectra))), key=len, reverse=True)[:MOST]
        prototypes = [_unit(np.mean(g, 0)) for g in common]
        hertz = [f"{_centres(sample_rate)[p.argmax()]:.0f} Hz" for p in prototypes]
        numbered = [f"{h} ({hertz[:i].count(h) + 1})" if h in hertz[:i] else h for i, h in enumerate(hertz)]
        return cls(np.array(prototypes).reshape(-1, BANDS), tuple(numbered))

    def name(self, audio: np.ndarray, onsets: np.ndarray, sample_rate: int) -> np.ndarray:
        """The number of each onset's name in its frame, -1 where none begins: (N, T) int."""
        numbers = np.full(onsets.shape, -1)
        if len(self.names) and onsets.any():
            numbers[onsets] = (_spectra(audio, onsets, sample_rate) @ self.prototypes.T).argmax(-1)
        return numbers


def named_f1(real: np.ndarray, dream: np.ndarray, count: int, tolerance: int = 1) -> float:
    """F1 of onsets that begin within `tolerance` frames and have the same one of `count` names; real, dream (N, T) of
    `Names.name`. nan where there are no names or no onsets."""
    counts = np.array([sound.onset_counts(real == k, dream == k, tolerance) for k in range(count)]).reshape(-1, 3)
    matched, wanted, had = counts.sum(0)
    return 2 * matched / (wanted + had) if wanted + had else float("nan")


def offsets(
    real: np.ndarray, dream: np.ndarray, begins: np.ndarray, dreamt: np.ndarray, sample_rate: int, tolerance: int = 1
) -> np.ndarray:
    """Milliseconds by which each matched dreamt onset is late (early: below 0).

    real, dream (N, T, S); begins, dreamt (N, T) bool of `audio.onsets`. Within a frame an onset is where the loudness
    first rises half way to its peak; a step is a sixteenth of a frame.
    """
    late = []
    for clip, other, a, b in zip(real, dream, begins, dreamt, strict=True):
        want, have = np.flatnonzero(a).tolist(), np.flatnonzero(b).tolist()
        while want and have:
            if abs(want[0] - have[0]) <= tolerance:
                late.append(_instant(other, have.pop(0)) - _instant(clip, want.pop(0)))
            else:
                (want if want[0] < have[0] else have).pop(0)
    return 1e3 * np.array(late, float) / sample_rate


def _instant(audio: np.ndarray, t: int) -> float:
    """The sample of a clip (T, S) at which the onset told in frame t begins."""
    T, S = audio.shape
    first, last = max(0, t - 1), min(T, t + 2)
    wave = audio[first:last].reshape(-1)
    size = max(1, S // PIECES)
    pieces = wave[: len(wave) // size * size].reshape(-1, size)
    loud = pieces.std(-1) + np.abs(pieces.mean(-1) - wave.mean())
    quiet, peak = loud[: max(1, len(loud) // 6)].mean(), loud.max()
    rises = np.flatnonzero(loud > quiet + 0.5 * (peak - quiet))
    return first * S + (rises[0] if len(rises) else 0) * size


def _spectra(audio: np.ndarray, onsets: np.ndarray, sample_rate: int) -> np.ndarray:
    """Of each onset and the frame after it: loudness in mel bands, of unit length (M, BANDS)."""
    following = np.concatenate([audio[:, 1:], audio[:, -1:]], 1)
    pairs = np.concatenate([audio[onsets], following[onsets]], -1)
    size = 2 * audio.shape[-1]
    window = np.hanning(size + 1)[:-1]
    spectrum = np.abs(np.fft.rfft((pairs - pairs.mean(-1, keepdims=True)) * window))
    return _unit((np.square(spectrum) @ sound.mel_filters(sample_rate, size, BANDS).T) ** LOUDNESS)


def _centres(sample_rate: int) -> np.ndarray:
    bins = np.fft.rfftfreq(4096, 1 / sample_rate)
    return bins[sound.mel_filters(sample_rate, 4096, BANDS).argmax(-1)]


def _unit(x: np.ndarray) -> np.ndarray:
    return x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-12)
