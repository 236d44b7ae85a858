"""How soon a world answers a key, and whether it is still there after leaving and returning.

Both compare rollouts that differ in their keys alone. A rollout is a function, actions (N, T) -> video (N, T, H, W, 3)
and audio (N, T, S), so that dreams and the real game are measured alike; the keys of the first `context` frames lead to
where N situations begin.
"""

from collections.abc import Callable

import numpy as np

from . import features, video
from .figures import Pair, Picture, Report, Row, mean_known

Rollout = Callable[[np.ndarray], Pair]
PIXELS, LEVELS = 4, 40  # so many pixels that differ by so many levels are seen
DECIBELS, LOUD = 3.0, 0.01  # spectra that differ by so much are heard, where either sound is louder than this (RMS)
OPPOSITES = (("left", "right"), ("up", "down"), ("forward", "back"), ("strafe_left", "strafe_right"))
AWAY = 12  # frames of a key, then of its opposite


def first_answers(one: Pair, other: Pair, context: int, sample_rate: int) -> tuple[np.ndarray, np.ndarray]:
    """Frames from the key to the first that looks different and the first that sounds different, each (N,): 1 is the
    frame that the key leads to, inf where none differs."""
    a, b = (pair[0][:, context:] for pair in (one, other))
    apart = np.stack([np.abs(x.astype(np.int16) - y).max(-1) > LEVELS for x, y in zip(a, b, strict=True)])
    seen = apart.sum((-2, -1)) >= PIXELS
    sounds = [pair[1][:, context:] for pair in (one, other)]
    spectra = [features.sounds(x, sample_rate) for x in sounds]
    heard = 20 * np.abs(spectra[0] - spectra[1]).mean(-1) > DECIBELS
    heard &= np.maximum(*(x.std(-1) for x in sounds)) > LOUD
    return _first(seen), _first(heard)


def _first(happens: np.ndarray) -> np.ndarray:
    return np.where(happens.any(-1), happens.argmax(-1) + 1.0, np.inf)


def answer_report(
    rollouts: dict[str, Rollout], actions: np.ndarray, context: int, keys: tuple[str, ...], sample_rate: int
) -> Report:
    """Rows of `rollouts`: each key (but the first, which is doing nothing) is held from frame `context` on in some of
    the situations, beside nothing. A rollout called "other noise" is the control: it is compared with the model's, both
    doing nothing, so what differs in it is no answer.

    actions (N, T): T - context frames is how long an answer is waited for.
    """
    idle, held = actions.copy(), actions.copy()
    idle[:, context:] = 0
    held[:, context:] = (1 + np.arange(len(actions)) % (len(keys) - 1))[:, None]
    waited = actions.shape[1] - context
    rows = []
    for what in ("seen", "heard"):
        rows.append(Row(f"answer_{what}", f"frames from a key to its first answer that is {what}, median", "lower"))
        rows.append(Row(f"answer_{what}_90", f"the same, 90 of 100 answers are there ({what})", "lower"))
        rows.append(Row(f"answered_{what}", f"keys answered within {waited} frames ({what}), share", "higher"))
    still = next(iter(rollouts.values()))(idle)
    for name, rollout in rollouts.items():
        pair = (still, rollout(idle)) if name == "other noise" else (rollout(idle), rollout(held))
        for k, frames in enumerate(first_answers(*pair, context, sample_rate)):
            answered = frames[np.isfinite(frames)]
            rows[3 * k].values[name] = float(np.median(answered)) if len(answered) else float("nan")
            rows[3 * k + 1].values[name] = float(np.quantile(answered, 0.9)) if len(answered) else float("nan")
            rows[3 * k + 2].values[name] = len(answered) / len(frames)
    note = (
        "Two futures of one moment and one noise, one with a key held and one without: the first frame in which they "
        "differ. 'Other noise' holds no key in either: what it shows is no answer. A picture that never changes "
        "answers no key."
    )
    return Report({"situations": len(actions)}, rows, "Answers", note)


def return_report(
    rollouts: dict[str, Rollout], actions: np.ndarray, context: int, keys: tuple[str, ...], away: int = AWAY
) -> Report | None:
    """`away` frames of a key, then of its opposite: how far the picture went, and how near it came back, in PSNR of
    what stands still (what did not move in the context's last frames). None for a world without opposite keys.

    "stayed" does nothing for as long: what changes by itself. "another clip" is held against another beginning.
    """
    pairs = [(keys.index(a), keys.index(b)) for a, b in OPPOSITES if a in keys and b in keys]
    pairs += [(b, a) for a, b in pairs]
    if not pairs:
        return None
    there, back = (np.array([pair[k] for pair in pairs])[np.arange(len(actions)) % len(pairs)] for k in (0, 1))
    total = context + 2 * away
    moved, stayed = (np.zeros((len(actions), total), actions.dtype) for _ in range(2))
    moved[:, :context] = stayed[:, :context] = actions[:, :context]
    moved[:, context : context + away], moved[:, context + away :] = there[:, None], back[:, None]
    gone = Row("return_away", f"PSNR of what stood still, after {away} frames of a key (dB)", "lower")
    near = Row("return_back", f"the same, after {away} of the opposite key too (dB)", "higher")
    shown = {}
    for name, rollout in rollouts.items():
        frames = rollout(moved)[0]
        gone.values[name] = _still_psnr(frames, context, context + away - 1)
        near.values[name] = _still_psnr(frames, context, total - 1)
        shown[name] = frames[:, [context - 1, context + away - 1, total - 1]]
        if len(near.values) == 1:
            calm = rollout(stayed)[0]
            gone.values["stayed"] = _still_psnr(calm, context, context + away - 1)
            near.values["stayed"] = _still_psnr(calm, context, total - 1)
            others = np.concatenate([frames[:, :context], np.roll(frames, len(frames) // 2, 0)[:, -1:]], 1)
            near.values["another clip"] = _still_psnr(others, context, context)
    note = (
        "The same place is looked at before and after a key and its opposite, each held as long. 'Stayed' holds no key."
    )
    report = Report({"away_frames": away}, [gone, near], "Leave and return", note)
    report.pictures += [_triptychs(name, frames) for name, frames in shown.items()]
    return report


def _still_psnr(frames: np.ndarray, context: int, t: int) -> float:
    """PSNR (dB) of frame t to the last of the context over the pixels that did not move in its last eight frames."""
    values = []
    for clip in frames:
        past = clip[max(0, context - 8) : context].astype(np.int16)
        still = (np.abs(past - past[-1]) <= 24).all((0, -1))
        error = np.square(clip[t].astype(np.float64) - clip[context - 1])[still]
        square = error.mean() if error.size else np.nan
        values.append(min(10 * np.log10(255**2 / max(square, 1e-12)), video.PSNR_CEILING))
    return mean_known(np.array(values))


def _triptychs(name: str, frames: np.ndarray, shown: int = 2) -> Picture:
    """Before, away and back of the first situations, side by side: frames (N, 3, H, W, 3)."""
    thin, wide = (np.full((frames.shape[2], width, 3), 127, np.uint8) for width in (2, 10))
    parts = [x for clip in frames[:shown] for frame in clip for x in (frame, thin)]
    parts[5:6] = [wide] if shown > 1 else []
    return Picture(f"{name}: before, away and back, twice", np.concatenate(parts[:-1], 1))
