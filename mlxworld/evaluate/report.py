"""The table of any world: what the dream gets right, beside what is got right for nothing.

    clips = Clips(video, audio, {"model": (dream_video, dream_audio)}, context=16, sample_rate=30720)
    table = report(clips)
    print(table.markdown())

Each row is a figure, each column a candidate: the given dreams (the model; further ones such as a rollout with shuffled
actions), then `repeat last` (the last frame of the context, picture and sound, for ever), `mean frame` (the mean
picture, silent) and `another clip` (the first dream held against another clip's truth: what a good-looking dream
scores that does not follow its context and actions). A model that has learnt something beats all three.
"""

import math
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from mlxworld.errors import MlxworldError

from . import audio as sound
from . import video as picture

Pair = tuple[np.ndarray, np.ndarray]  # video and audio


@dataclass
class Clips:
    """The truth and its candidates. Give clips of different episodes, two or more: the control exchanges them.

    video (N, T, H, W, 3) uint8, audio (N, T, S) float; each dream a pair of the same shapes, whose frames before
    `context` are not looked at: the truth stands there. mean (H, W, 3): the mean picture of the training data (of these
    clips if None). Raises MlxworldError where the shapes do not fit together.
    """

    video: np.ndarray
    audio: np.ndarray
    dreams: dict[str, Pair]
    context: int
    sample_rate: int
    mean: np.ndarray | None = None

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

    @property
    def frames(self) -> int:
        """How many frames are dreamt."""
        return self.video.shape[1] - self.context

    @cached_property
    def candidates(self) -> dict[str, Pair]:
        """Every column of the table, the truth standing in the context."""
        c = self.context
        dull = np.broadcast_to(picture.mean_frame(self.video) if self.mean is None else self.mean, self.video.shape)
        frozen = self.audio.copy()
        frozen[:, c:] = self.audio[:, c - 1 : c]
        first = next(iter(self.dreams.values()))
        away = len(self.video) // 2
        pairs = self.dreams | {
            "repeat last": (picture.repeat_last(self.video, c), frozen),
            "mean frame": (dull, np.zeros_like(self.audio)),
            "another clip": (np.roll(first[0], away, 0), np.roll(first[1], away, 0)),
        }
        return {
            name: (np.concatenate([self.video[:, :c], v[:, c:]], 1), np.concatenate([self.audio[:, :c], a[:, c:]], 1))
            for name, (v, a) in pairs.items()
        }


@dataclass
class Row:
    """One figure of every candidate; nan where it can't be told (say, onsets where nothing sounds)."""

    key: str
    label: str
    better: str  # "higher" or "lower"
    values: dict[str, float] = field(default_factory=dict)


@dataclass
class Report:
    """Facts about the clips and the rows of the table. `a + b` puts the rows of b below those of a."""

    facts: dict[str, int]
    rows: list[Row]

    def __add__(self, other: "Report") -> "Report":
        return Report(self.facts | other.facts, self.rows + other.rows)

    def value(self, key: str, candidate: str = "model") -> float:
        """One figure. Raises KeyError for an unknown row or candidate."""
        return {row.key: row for row in self.rows}[key].values[candidate]

    def as_dict(self) -> dict:
        """For JSON: {"facts": ..., "figures": {key: {candidate: float or None}}}."""
        figures = {
            row.key: {name: None if math.isnan(x) else float(x) for name, x in row.values.items()} for row in self.rows
        }
        return {"facts": self.facts, "figures": figures}

    def markdown(self) -> str:
        """A table with a row per figure; the better direction is an arrow, a figure that can't be told a dash."""
        names = list(self.rows[0].values) if self.rows else []
        lines = ["| figure | " + " | ".join(names) + " |", "|---|" + "---:|" * len(names)]
        for row in self.rows:
            arrow = {"higher": "↑", "lower": "↓"}[row.better]
            cells = ["-" if math.isnan(row.values[name]) else _digits(row.values[name]) for name in names]
            lines.append(f"| {row.label} {arrow} | " + " | ".join(cells) + " |")
        return "\n".join(lines) + "\n"


def report(clips: Clips, horizons: tuple[int, ...] = (1, 4, 16), heard: int = 16) -> Report:
    """The figures of any world. Picture figures at each of the horizons (frames after the context; those longer than
    the clips are left out), sound figures over the first `heard` dreamt frames. Pixel errors are in levels of 255."""
    heard = min(heard, clips.frames)
    rows: list[Row] = []
    mask = picture.moving_mask(clips.video)
    for h in [h for h in horizons if h <= clips.frames]:
        t = clips.context + h - 1
        rows.append(Row(f"moving_error_{h}", f"error where it moves, frame {h} (levels)", "lower"))
        rows.append(Row(f"l1_{h}", f"error everywhere, frame {h} (levels)", "lower"))
        rows.append(Row(f"psnr_{h}", f"PSNR, frame {h} (dB)", "higher"))
        rows.append(Row(f"ssim_{h}", f"SSIM, frame {h}", "higher"))
        for name, (video, _) in clips.candidates.items():
            real, dream = clips.video[:, t], video[:, t]
            errors = picture.moving_error(real, dream, mask[:, t])
            rows[-4].values[name] = mean_known(errors)
            rows[-3].values[name] = float(picture.l1(real, dream).mean())
            rows[-2].values[name] = float(picture.psnr(real, dream).mean())
            rows[-1].values[name] = float(picture.ssim(real, dream).mean())
    mel = Row("log_mel_distance", f"log-mel distance, {heard} frames (dB)", "lower")
    stft = Row("stft_distance", f"multi-resolution STFT distance, {heard} frames", "lower")
    onset = Row("onset_f1", f"F1 of sound onsets within 1 frame, {heard} frames", "higher")
    span = slice(clips.context, clips.context + heard)
    begins = sound.onsets(clips.audio)[:, span]
    for name, (_, audio) in clips.candidates.items():
        real, dream = clips.audio[:, span], audio[:, span]
        mel.values[name] = float(sound.log_mel_distance(real, dream, clips.sample_rate).mean())
        stft.values[name] = float(sound.stft_distance(real, dream).mean())
        onset.values[name] = sound.onset_f1(begins, sound.onsets(audio)[:, span])
    facts = {"clips": len(clips.video), "context": clips.context, "frames": clips.frames}
    return Report(facts | {"frames_heard": heard, "real_onsets": int(begins.sum())}, [*rows, mel, stft, onset])


def mean_known(values: np.ndarray) -> float:
    """Mean of what is not nan; nan if nothing is known."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else math.nan


def _digits(x: float) -> str:
    return f"{x:.1f}" if abs(x) >= 10 else f"{x:.3f}"
