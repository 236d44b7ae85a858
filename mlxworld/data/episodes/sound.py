"""The sound of a file, put where its time stamps say, beside the pictures that it belongs to.

Stamps are believed as far as the pictures go: what lies outside them is left out. Sound that strays from its stamps
little by little is stretched to them; where the stamps jump there is silence, or the later sound.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import av
import numpy as np
from av.error import FFmpegError

from .container import reading, reason, sounds
from .pictures import Step

_STRAY = 0.02  # seconds that sound may stray from its stamps
_BACK = 0.5  # seconds: stamps that go back further begin anew


class Span(NamedTuple):
    """A part of a film: where it begins, in seconds on the file's own clock, and its steps."""

    begin: float
    steps: int


def grow(spans: list[Span], step: Step) -> None:
    """Counts a step of a film in its span."""
    if step.part == len(spans):
        spans.append(Span(step.begin, 0))
    spans[-1] = spans[-1]._replace(steps=spans[-1].steps + 1)


def read_sound(
    path: str | os.PathLike, spans: Sequence[Span], fps: float, samples: int
) -> tuple[np.ndarray | None, str]:
    """The sound of the parts one after another, mono (T, samples) int16; None for a file without. Then what is wrong
    with the sound that it has, or "".

    The first track that can be decoded and lies beside the pictures is taken. Raises MlxworldError for a file that
    cannot be read.
    """
    with reading(path) as file:
        count = len(sounds(file))
        why = "its sound cannot be decoded" if file.streams.audio else ""
    for track in range(count):
        with reading(path) as file:
            broken: list[str] = []
            try:
                lines = _decode(_decoded(file, sounds(file)[track], broken), spans, fps, samples)
            except (FFmpegError, ValueError) as error:
                why = f"its sound cannot be decoded ({reason(error)})"
                continue
        if lines:
            parts = [
                _line(lines.get(k, []), span.steps * samples, round(fps * samples)) for k, span in enumerate(spans)
            ]
            why = f"{len(broken)} packets of its sound cannot be decoded ({broken[0]})" if broken else ""
            return np.concatenate(parts).reshape(-1, samples), why
        outside = "its sound's time stamps lie outside its picture's"
        why = f"its sound cannot be decoded ({broken[0]})" if broken else outside
    return None, why


@dataclass
class _Run:
    """Sound without a jump: where it begins in its span, seconds it holds by its own rate, and its pieces."""

    begin: float
    strayed: bool  # it begins where the run before had strayed from its stamps, not where they jump
    seconds: float = 0.0
    pieces: list[np.ndarray] = field(default_factory=list)


def _decoded(file: Any, stream: Any, broken: list[str]) -> Iterator[Any]:
    """The frames of a stream; why a packet cannot be decoded is added to `broken`, and the next one is taken."""
    for packet in file.demux(stream):
        try:
            yield from packet.decode()
        except FFmpegError as error:
            broken.append(reason(error))


def _decode(frames: Iterator[Any], spans: Sequence[Span], fps: float, samples: int) -> dict[int, list[_Run]]:
    """{number of a span: its runs}."""
    begins = np.array([span.begin for span in spans])
    ends = begins + [span.steps / fps for span in spans]
    runs: dict[int, list[_Run]] = {}
    run: _Run | None = None
    resampler, kind, number = _Resampler(round(fps * samples)), None, 0
    after: float | None = None  # where the last frame ended
    for frame in frames:
        seconds = frame.samples / frame.sample_rate
        time = frame.time if frame.time is not None else spans[0].begin if after is None else after
        anew = after is not None and time < after - _BACK
        place = _span(begins, ends, time, number + anew)
        jumped = after is None or abs(time - after) > _STRAY
        after = time + seconds
        if place is None:
            _finish(run, resampler)
            run = None
            continue
        begin = time - spans[place].begin
        if run is None or place != number or jumped or abs(begin - run.begin - run.seconds) > _STRAY:
            strayed = run is not None and place == number and not jumped
            _finish(run, resampler)
            run = _Run(begin, strayed)
            runs.setdefault(place, []).append(run)
        elif kind != _kind(frame):
            run.pieces += resampler.rest()
        number, kind = place, _kind(frame)
        run.seconds += seconds
        run.pieces += resampler(frame)
    _finish(run, resampler)
    return runs


def _kind(frame: Any) -> tuple[int, str, str]:
    """What a resampler is made for."""
    return frame.sample_rate, frame.layout.name, frame.format.name


def _finish(run: _Run | None, resampler: "_Resampler") -> None:
    """The end of a run: what the resampler still holds belongs to it."""
    rest = resampler.rest()
    if run is not None:
        run.pieces += rest


def _span(begins: np.ndarray, ends: np.ndarray, time: float, first: int) -> int | None:
    """The span that sound lies in or shortly before: the next from `first` on, else any, or none."""
    inside = np.flatnonzero((begins - _BACK < time) & (time < ends))
    return int(inside[np.searchsorted(inside, first) % len(inside)]) if len(inside) else None


class _Resampler:
    """Frames of one kind to mono int16 at a rate; made anew after each `rest`."""

    def __init__(self, rate: int):
        self._rate, self._inner = rate, None

    def __call__(self, frame: Any) -> list[np.ndarray]:
        self._inner = self._inner or av.AudioResampler("s16", "mono", self._rate)
        frame.pts = None
        return [x.to_ndarray()[0] for x in self._inner.resample(frame)]

    def rest(self) -> list[np.ndarray]:
        """What it still holds."""
        inner, self._inner = self._inner, None
        return [] if inner is None else [x.to_ndarray()[0] for x in inner.resample(None)]


def _line(runs: list[_Run], length: int, rate: int) -> np.ndarray:
    """Runs on one line of `length` samples; silence where there is none."""
    line = np.zeros(length, np.int16)
    for k, run in enumerate(runs):
        piece = np.concatenate([np.zeros(0, np.int16), *run.pieces])
        start = round(run.begin * rate)
        if k + 1 < len(runs) and runs[k + 1].strayed:
            piece = _stretched(piece, round(runs[k + 1].begin * rate) - start)
        piece, start = piece[max(0, -start) :], max(0, start)
        line[start : start + len(piece)] = piece[: max(0, length - start)]
    return line


def _stretched(piece: np.ndarray, length: int) -> np.ndarray:
    """The piece over another number of samples, a little more or less."""
    if length <= 0 or len(piece) == 0:
        return piece[:0]
    at = np.arange(length) * (len(piece) / length)
    return np.rint(np.interp(at, np.arange(len(piece)), piece)).astype(np.int16)
