"""What becomes of a long dream: statistics of its segments beside those of real frames, minute by minute.

A segment's statistics are the means and spreads of its frames' features (`features.py`: picture, motion, sound). Its
distance is how many spreads of real segments it lies from their mean, averaged over the statistics: a real segment has
about 0.8, a dream that is still the same world not much more, however long it has run.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from . import audio as sound
from . import features
from .figures import Picture, Plot, Report, Row, mean_known
from .keys import Eye, KeyReader, macro_f1

SECONDS = 5.0  # of a segment
PLAIN = ("brightness", "contrast", "movement", "loudness", "onsets")
THUMBNAILS = 8


@dataclass
class Segments:
    """Statistics of segments: vectors (n, F), plain (n, 5), and the keys read (n,), nan where nobody reads them."""

    vectors: list[np.ndarray] = field(default_factory=list)
    plain: list[list[float]] = field(default_factory=list)
    keys: list[float] = field(default_factory=list)
    thumbnails: list[np.ndarray] = field(default_factory=list)

    def add(self, video: np.ndarray, audio: np.ndarray, sample_rate: int) -> None:
        """One segment: video (T, H, W, 3) uint8, audio (T, S)."""
        parts = [features.pictures(video), features.motion(video), features.sounds(audio, sample_rate)]
        self.vectors.append(np.concatenate([p.mean(0) for p in parts] + [p.std(0) for p in parts]))
        movement = (np.abs(np.diff(video.astype(np.int16), axis=0)).max(-1) > 24).mean()
        onsets = sound.onsets(audio[None]).sum() / len(video)
        bright, contrast = float(video.mean()), float(video.std())
        self.plain.append([bright, contrast, float(movement), float(sound.rms(audio).mean()), float(onsets)])
        self.thumbnails.append(video[-1])


def cut(frames: Iterable[tuple[np.ndarray, np.ndarray, int]], length: int) -> Iterator[tuple[np.ndarray, ...]]:
    """Frames (picture, sound, key) as segments: video (length, H, W, 3), audio (length, S), keys (length,)."""
    held: list[tuple] = []
    for frame in frames:
        held.append(frame)
        if len(held) == length:
            yield tuple(np.stack(x) for x in zip(*held, strict=True))
            held = []


def measure(
    segments: Iterable[tuple[np.ndarray, ...]], sample_rate: int, reader: tuple[Eye, KeyReader] | None = None
) -> Segments:
    """The statistics of segments of `cut`; with a reader also how well their keys are read (macro F1)."""
    found = Segments()
    for video, audio, keys in segments:
        found.add(video, audio, sample_rate)
        if reader is not None:
            eye, network = reader
            found.keys.append(macro_f1(keys, network.read(eye(video[None]))[0]))
    return found


def distances(segments: Segments, real: Segments, itself: bool = False) -> np.ndarray:
    """(n,) of each segment to the real ones; `itself`: the segments are the real ones, each is left out in turn."""
    truth = np.stack(real.vectors)
    out = []
    for i, vector in enumerate(segments.vectors):
        rest = np.delete(truth, i, 0) if itself and len(truth) > 2 else truth
        floor = 0.01 + 0.1 * np.abs(rest).mean()
        out.append(np.abs(vector - rest.mean(0)) / np.maximum(rest.std(0), 0.1 * floor))
    return np.minimum(np.stack(out), 100).mean(-1)


def drift_report(dream: Segments, real: Segments, frozen: Segments, fps: float, length: int) -> Report:
    """The first and the last minute (or fifth, of a shorter dream) and the worst segment, beside real segments and a
    picture that stands still."""
    n = len(dream.vectors)
    minute = max(1, min(n // 5, round(60 * fps / length)))
    first, last = slice(0, minute), slice(n - minute, n)
    far, own, dull = distances(dream, real), distances(real, real, itself=True), distances(frozen, real)
    rows = []
    for key, label, pick in (
        ("drift_first", "first minute", lambda x: x[first].mean()),
        ("drift_last", "last minute", lambda x: x[last].mean()),
        ("drift_worst", "worst segment", np.max),
    ):
        whole = np.max if key == "drift_worst" else np.mean
        values = {"model": float(pick(far)), "real frames": float(whole(own)), "repeat last": float(whole(dull))}
        rows.append(Row(key, f"distance of statistics, {label} (spreads of real ones)", "lower", values))
    table, truth = np.array(dream.plain), np.array(real.plain)
    half = len(truth) // 2
    for k, name in enumerate(PLAIN):
        row = Row(f"drift_{name}", f"change of {name}, last minute to first (%)", "lower")
        row.values["model"] = _change(table[first, k].mean(), table[last, k].mean())
        row.values["real frames"] = _change(truth[:half, k].mean(), truth[half:, k].mean()) if half else float("nan")
        rows.append(row)
    time = [(i + 0.5) * length / fps / 60 for i in range(n)]
    lines = {"model": far.tolist(), "real frames": [float(np.median(own))] * n}
    lines["real frames, worst"] = [float(own.max())] * n
    plots = [Plot("Distance of statistics", "minutes dreamt", "spreads of real segments", time, lines)]
    if dream.keys:
        read = np.array(dream.keys)
        for key, part in (("first", first), ("last", last)):
            values = {"model": mean_known(read[part]), "real frames": mean_known(np.array(real.keys))}
            rows.append(Row(f"drift_keys_{key}", f"keys read from the {key} minute, macro F1", "higher", values))
        level = mean_known(np.array(real.keys))
        lines = {"model": read.tolist(), "real frames": [level] * n}
        plots.append(Plot("Keys read from the dream", "minutes dreamt", "macro F1", time, lines))
    note = (
        f"One dream of {n * length / fps / 60:.1f} minutes under sticky keys, in segments of {length / fps:.0f} s. "
        "Real segments are held against each other. The change in real frames is that between the halves of the data."
    )
    chosen = np.linspace(0, n - 1, min(n, THUMBNAILS)).astype(int)
    caption = "the dream after " + ", ".join(f"{time[i]:.1f}" for i in chosen) + " minutes"
    strip = np.concatenate([dream.thumbnails[i] for i in chosen], 1)
    facts = {"segments": n, "real_segments": len(real.vectors)}
    return Report(facts, rows, "Drift", note, plots, [Picture(caption, strip)])


def _change(first: float, last: float) -> float:
    """Percent, at most 1,000; 0 where there was nothing and is nothing."""
    return float(min(1000.0, 100 * abs(last - first) / max(abs(first), 1e-6))) if abs(last - first) > 1e-9 else 0.0
