"""The figures that only Doom has: which way one turns, whether a shot is seen and heard, whether monsters stay."""

import numpy as np

from ..figures import Clips, Report, Row
from ..named import heard_f1

ROWS, FURTHEST, LEAST = slice(20, 88), 26, 3  # of pictures of 128: rows that shift, how far, and what counts as a turn
FLASH = (slice(62, 76), slice(59, 69))  # where the muzzle is
NEAR, WATCHED = 4, 32  # steps
LARGE = 12  # pixels of a monster's height
ALIKE = 0.5  # correlation of a monster's picture with its truth


def report(clips: Clips) -> Report:
    """Over the first dreamt steps. Needs the clips' state; without it the report is empty."""
    if not {"angle", "shot", "monsters"} <= set(clips.state):
        return Report({}, [], "Doom")
    first, steps = clips.context, min(WATCHED, clips.frames)
    span = slice(first, first + steps)
    turned = (np.diff(clips.state["angle"], axis=1, prepend=np.nan) + 180) % 360 - 180
    shot = clips.state["shot"].astype(bool)
    turn = Row("turn", f"a turn's sign, read from two pictures, {steps} steps", "higher", goal=0.75)
    heard = Row("shot_heard", f"F1 of own shots heard within 1 step, {steps} steps", "higher", goal=0.85)
    flash = Row("shot_seen", f"a shot's flash is seen, {steps} steps", "higher", goal=0.75)
    stays = Row("monster_stays", f"monsters of {LARGE} px and more are there, step {NEAR}", "higher", goal=0.70)
    turns = [(n, t) for n, t in np.argwhere(np.abs(turned) > 4) if first <= t < first + steps]
    large = (
        [
            (n, box[:4])
            for n in range(len(shot))
            for box in clips.state["monsters"][n, first + NEAR - 1]
            if box[3] >= LARGE
        ]
        if clips.frames >= NEAR
        else []
    )
    dark = _glow(clips.video)
    for name, (video, audio) in clips.candidates.items():
        signs = [np.sign(shift(video[n, t - 1], video[n, t])) == np.sign(turned[n, t]) for n, t in turns]
        turn.values[name] = float(np.mean(signs)) if signs else float("nan")
        part = slice(0, first + steps)
        other = {"shot": shot[:, part], "nothing": ~shot[:, part]}
        heard.values[name] = heard_f1(clips.audio[:, part], audio[:, part], other, "shot", first)
        flash.values[name] = _flashes(_glow(video), dark, shot, span)
        there = [_alike(video[n, first + NEAR - 1], clips.video[n, first + NEAR - 1], box) for n, box in large]
        stays.values[name] = float(np.mean(there)) if there else float("nan")
    return Report(
        {"turns": len(turns), "shots": int(shot[:, span].sum()), "monsters": len(large)},
        [turn, heard, flash, stays],
        "Doom",
    )


def shift(before: np.ndarray, after: np.ndarray) -> int:
    """How far what is seen moves to the right from one picture to the next, pixels of 128: one turns to the left. 0
    where it is less than LEAST."""
    a, b = (x[ROWS].astype(np.float32).mean(-1) for x in (before, after))
    W, errors = a.shape[1], {}
    for d in range(-FURTHEST, FURTHEST + 1):
        one, two = (a[:, : W - d], b[:, d:]) if d >= 0 else (a[:, -d:], b[:, :d])
        one, two = one - one.mean(), two - two.mean()
        errors[d] = float(np.abs(one - two).mean())
    best = min(errors, key=lambda d: (errors[d], abs(d)))
    return best if abs(best) >= LEAST else 0


def _glow(video: np.ndarray) -> np.ndarray:
    """(N, T): the brightness of the brightest tenth of the pixels at the muzzle."""
    pixels = video[:, :, FLASH[0], FLASH[1]].astype(np.float32).mean(-1).reshape(*video.shape[:2], -1)
    most = pixels.shape[-1] // 10
    return np.partition(pixels, -most, -1)[..., -most:].mean(-1)


def _flashes(glow: np.ndarray, real: np.ndarray, shot: np.ndarray, span: slice) -> float:
    """Balanced accuracy of telling steps with a shot by the glow, with the threshold that is best on real frames."""
    known, asked = shot[:, span], slice(None)
    if not known.any() or known.all():
        return float("nan")

    def accuracy(x: np.ndarray, threshold: float) -> float:
        bright = x[:, span][asked] > threshold
        return float((bright[known].mean() + (~bright[~known]).mean()) / 2)

    best = max(np.quantile(real[:, span], np.linspace(0.02, 0.98, 49)), key=lambda q: accuracy(real, float(q)))
    return accuracy(glow, float(best))


def _alike(frame: np.ndarray, truth: np.ndarray, box: np.ndarray) -> bool:
    """Whether a monster's box (x, y, w, h) looks like its truth."""
    x, y, w, h = (int(v) for v in box)
    a, b = (image[y : y + h + 1, x : x + w + 1].astype(np.float64).reshape(-1) for image in (frame, truth))
    a, b = a - a.mean(), b - b.mean()
    return bool((a @ b) / max(np.linalg.norm(a) * np.linalg.norm(b), 1e-9) > ALIKE)
