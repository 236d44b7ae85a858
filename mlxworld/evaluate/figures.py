"""What is measured and what a measurement is: `Clips` with their candidates, `Row`, `Plot` and `Report`.

Every figure has a value for each candidate: the given dreams (the model; its reconstruction; a rollout with shuffled
actions), then

    real frames    the truth itself: the ceiling of whatever reads something out of pictures or sound
    repeat last    the last frame of the context, picture and sound, for ever
    mean frame     the mean picture, silent
    another clip   the first dream held against another clip's truth: what a good-looking dream scores that does not
                   follow its context and actions

A model that has learnt something beats the last three.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from mlxworld.errors import MlxworldError

from . import video as picture

Pair = tuple[np.ndarray, np.ndarray]  # video and audio
REAL = "real frames"
DULL = ("repeat last", "mean frame", "another clip")


@dataclass
class Clips:
    """The truth and its candidates. Give clips of different episodes, two or more: the control exchanges them.

    video (N, T, H, W, 3) uint8, audio (N, T, S) float; each dream a pair of the same shapes, whose frames before
    `context` are not looked at: the truth stands there. mean (H, W, 3): the mean picture of the training data (of these
    clips if None). actions (N, T) int and their names, state {name: (N, T, ...)}: where they are known. Raises
    MlxworldError where the shapes do not fit together.
    """

    video: np.ndarray
    audio: np.ndarray
    dreams: dict[str, Pair]
    context: int
    sample_rate: int
    mean: np.ndarray | None = None
    actions: np.ndarray | None = None
    names: tuple[str, ...] = ()
    state: dict[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        shape = self.video.shape
        if len(shape) != 5 or shape[-1] != 3 or self.audio.ndim != 3 or self.audio.shape[:2] != shape[:2]:
            raise MlxworldError(
                f"clips are video (N, T, H, W, 3) and audio (N, T, S), not {shape} and {self.audio.shape}"
            )
        if shape[0] < 2:
            raise MlxworldError("a report needs two clips or more: its control holds a dream against another clip")
        if not 1 <= self.context < shape[1]:
            raise MlxworldError(f"the context is between 1 and {shape[1] - 1} frames of {shape[1]}, not {self.context}")
        if not self.dreams:
            raise MlxworldError("a report needs a dream: give at least one pair of video and audio")
        for name, (video, audio) in self.dreams.items():
            if video.shape != shape or audio.shape != self.audio.shape:
                raise MlxworldError(
                    f"the dream {name!r} has video {video.shape} and audio {audio.shape}, "
                    f"the truth {shape} and {self.audio.shape}"
                )
        for name, x in {"actions": self.actions, **self.state}.items():
            if x is not None and x.shape[:2] != shape[:2]:
                raise MlxworldError(f"{name} of {shape[0]} clips of {shape[1]} frames begin so, not with {x.shape}")

    @property
    def frames(self) -> int:
        """How many frames are dreamt."""
        return self.video.shape[1] - self.context

    @cached_property
    def candidates(self) -> Mapping[str, Pair]:
        """Every candidate by name, the truth standing in the context; each is made when it is asked for."""
        makers: dict[str, Callable[[], Pair]] = {name: lambda pair=pair: pair for name, pair in self.dreams.items()}
        makers[REAL] = lambda: (self.video, self.audio)
        makers |= dict(zip(DULL, (self._frozen, self._mean, self._exchanged), strict=True))
        return _Lazy(makers, self._with_context)

    def _frozen(self) -> Pair:
        audio = self.audio.copy()
        audio[:, self.context :] = audio[:, self.context - 1 : self.context]
        return picture.repeat_last(self.video, self.context), audio

    def _mean(self) -> Pair:
        mean = picture.mean_frame(self.video) if self.mean is None else self.mean
        return np.broadcast_to(mean, self.video.shape), np.zeros_like(self.audio)

    def _exchanged(self) -> Pair:
        video, audio = next(iter(self.dreams.values()))
        away = len(video) // 2
        return np.roll(video, away, 0), np.roll(audio, away, 0)

    def _with_context(self, pair: Pair) -> Pair:
        seen, (video, audio) = slice(0, self.context), pair
        if video is self.video:
            return pair
        return tuple(  # type: ignore[return-value]
            np.concatenate([truth[:, seen], x[:, self.context :]], 1)
            for truth, x in ((self.video, video), (self.audio, audio))
        )


class _Lazy(Mapping):
    def __init__(self, makers: dict[str, Callable[[], Pair]], finish: Callable[[Pair], Pair]):
        self._makers, self._finish = makers, finish

    def __getitem__(self, name: str) -> Pair:
        return self._finish(self._makers[name]())

    def __iter__(self) -> Iterator[str]:
        return iter(self._makers)

    def __len__(self) -> int:
        return len(self._makers)


@dataclass
class Row:
    """One figure of every candidate; nan where it can't be told (say, onsets where nothing sounds). A candidate of
    which it says nothing has no value."""

    key: str
    label: str
    better: str  # "higher" or "lower"
    values: dict[str, float] = field(default_factory=dict)
    goal: float | None = None  # what is wanted of the first candidate


@dataclass
class Plot:
    """Lines over a common x, None where a line has no value; `log` spaces x by its logarithm."""

    title: str
    x_label: str
    y_label: str
    x: list[float]
    lines: dict[str, list[float | None]]
    log: bool = False


@dataclass
class Picture:
    """A picture (H, W, 3) uint8 with a line of words."""

    caption: str
    image: np.ndarray


@dataclass
class Report:
    """A part of an evaluation: facts about what was measured, the rows of its table, plots and pictures for people.
    `a + b` puts the rows of b below those of a."""

    facts: dict[str, Any]
    rows: list[Row]
    title: str = ""
    note: str = ""  # how it is measured, in a sentence or two
    plots: list[Plot] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)

    def __add__(self, other: "Report") -> "Report":
        plots, pictures = self.plots + other.plots, self.pictures + other.pictures
        return Report(self.facts | other.facts, self.rows + other.rows, self.title, self.note, plots, pictures)

    def value(self, key: str, candidate: str = "model") -> float:
        """One figure. Raises KeyError for an unknown row or candidate."""
        return {row.key: row for row in self.rows}[key].values[candidate]

    @property
    def columns(self) -> list[str]:
        """The candidates of all rows, in their order."""
        return list(dict.fromkeys(name for row in self.rows for name in row.values))

    def as_dict(self) -> dict:
        """For JSON: {"facts": ..., "figures": {key: {candidate: float or None}}, "plots": ...}."""
        figures = {
            row.key: {name: None if math.isnan(x) else float(x) for name, x in row.values.items()} for row in self.rows
        }
        goals = {row.key: row.goal for row in self.rows if row.goal is not None}
        plots = [{"title": p.title, "x": p.x, "lines": p.lines} for p in self.plots]
        return {"facts": self.facts, "figures": figures, "goals": goals, "plots": plots}

    def markdown(self) -> str:
        """A table with a row per figure; the better direction is an arrow, a figure that can't be told a dash."""
        names = self.columns
        lines = ["| figure | " + " | ".join(names) + " |", "|---|" + "---:|" * len(names)]
        for row in self.rows:
            arrow = {"higher": "↑", "lower": "↓"}[row.better]
            goal = "" if row.goal is None else f", wanted {digits(row.goal)}"
            cells = [digits(row.values.get(name, math.nan)) for name in names]
            lines.append(f"| {row.label} {arrow}{goal} | " + " | ".join(cells) + " |")
        return "\n".join(lines) + "\n"


def mean_known(values: np.ndarray) -> float:
    """Mean of what is not nan; nan if nothing is known."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else math.nan


def digits(x: float) -> str:
    """A figure for people: a dash for nan."""
    return "-" if math.isnan(x) else f"{x:.1f}" if abs(x) >= 10 else f"{x:.3f}"
