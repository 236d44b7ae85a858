"""The figures that only Bounce has: where the pushed ball is, and whether a hit is heard, at its own pitch."""

import numpy as np

from ..audio import onsets
from ..figures import Clips, Report, Row

YELLOW, CLOSE_COLOUR = (240, 200, 60), 60.0
NEAR, FAR = 16, 8.0  # frames, pixels of 128
SEEN = 25.0  # pixels of the ball that must show
HEARD = 60.0  # impulse from which on a hit is loud
SEMITONE = 2 ** (1 / 12)


def report(clips: Clips) -> Report:
    """Over the first dreamt frames. Needs the clips' state; without it the report is empty."""
    if not {"position", "impulse", "pitch"} <= set(clips.state):
        return Report({}, [], "Bounce")
    first, near = clips.context, min(NEAR, clips.frames)
    span, t = slice(first, first + near), first + near - 1
    place = clips.state["position"][:, t, 0] * clips.video.shape[2] / 128
    hits = clips.state["impulse"].max((-2, -1)) > HEARD
    lone = hits & ~_around(hits, 2)
    where = Row("ball_near", f"pushed ball within {FAR:g} px, frame {near}", "higher", goal=0.85)
    f1 = Row("hit_heard", f"F1 of hits heard within 1 frame, {near} frames", "higher", goal=0.75)
    pitch = Row("hit_pitch", "a hit that is heard has its body's pitch (within a semitone)", "higher", goal=0.80)
    for name, (video, audio) in clips.candidates.items():
        far = np.linalg.norm(np.stack([pushed_ball(frame) for frame in video[:, t]]) - place, axis=-1)
        where.values[name] = float((far <= FAR * video.shape[2] / 128).mean())
        begins = onsets(audio)[:, span]
        f1.values[name] = _f1(hits[:, span], begins)
        right = [
            _in_tune(clips, audio[n], n, k)
            for n, k in np.argwhere(lone)
            if first <= k < first + near and begins[n, k - first]
        ]
        pitch.values[name] = float(np.mean(right)) if right else float("nan")
    return Report({"hits": int(hits[:, span].sum())}, [where, f1, pitch], "Bounce")


def pushed_ball(frame: np.ndarray) -> np.ndarray:
    """Centre (2,) of the yellow ball in a picture (H, W, 3), pixels; nan where there is none."""
    far = np.linalg.norm(frame.astype(np.float32) - YELLOW, axis=-1)
    cover = np.clip(1 - far / CLOSE_COLOUR, 0, 1)
    total = cover.sum()
    if total < SEEN:
        return np.full(2, np.nan)
    y, x = np.mgrid[: frame.shape[0], : frame.shape[1]] + 0.5
    return np.array([(cover * x).sum(), (cover * y).sum()]) / total


def _f1(events: np.ndarray, begins: np.ndarray) -> float:
    """F1 of onsets against hits: an onset within a frame of one is right, and so is a hit within a frame of one."""
    right, recalled = (begins & _wide(events)).sum(), (events & _wide(begins)).sum()
    return float((right + recalled) / (begins.sum() + events.sum())) if events.any() or begins.any() else float("nan")


def _wide(flags: np.ndarray) -> np.ndarray:
    return flags | _around(flags, 1)


def _around(flags: np.ndarray, reach: int) -> np.ndarray:
    """Where a flag (N, T) lies within `reach` frames, its own frame left out."""
    padded = np.pad(flags, ((0, 0), (reach, reach)))
    parts = [padded[:, k : k + flags.shape[1]] for k in range(2 * reach + 1) if k != reach]
    return np.any(parts, axis=0)


def _in_tune(clips: Clips, audio: np.ndarray, n: int, t: int) -> bool:
    """Whether the loudest tone after a hit is that of a body that was hit."""
    line = audio[t : t + 3].reshape(-1)
    power = np.abs(np.fft.rfft(line * np.hanning(len(line)), 4 * len(line)))
    loudest = power.argmax() * clips.sample_rate / (4 * len(line))
    bodies = clips.state["impulse"][n, t].max(-1) > HEARD / 4
    pitches = clips.state["pitch"][n, t][bodies]
    return bool((np.abs(np.log(np.maximum(loudest, 1) / pitches)) < np.log(SEMITONE)).any())
