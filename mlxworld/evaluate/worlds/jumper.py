"""The figures that only Jumper has: does the level scroll as the keys say, does a jump rise and sound, what stays."""

import numpy as np

from ..figures import Clips, Report, Row, mean_known
from ..named import heard_f1
from ..video import PSNR_CEILING

ROWS = slice(100, 128)  # of a picture: mostly earth, whose pattern shows how it moves
FASTEST = 4  # pixels a frame
CLOSE = 4  # pixels after WATCHED frames
WATCHED, NEAR = 64, 16
RISES = 6  # pixels within SOON frames
SOON = 4
WIDE, BODY = 18, 24  # of the player's picture
SOUNDS = ("jump", "coin", "stomp", "hurt", "lose")


def report(clips: Clips) -> Report:
    """Over the first dreamt frames. Needs the clips' state; without it the report is empty."""
    if not {"camera", "x", "y", "ground", *SOUNDS} <= set(clips.state):
        return Report({}, [], "Jumper")
    first, frames = clips.context, min(WATCHED, clips.frames)
    near = min(NEAR, clips.frames)
    camera = clips.state["camera"].astype(int)
    events = {name: clips.state[name].astype(bool) for name in SOUNDS}
    scroll = Row("scroll", f"summed shift of the picture within {CLOSE} px, {frames} frames", "higher", goal=0.80)
    rise = Row("jump_rises", f"a jump rises within {SOON} frames", "higher", goal=0.90)
    jump = Row("jump_heard", f"F1 of the jump's sound within 1 frame, {frames} frames", "higher", goal=0.90)
    coin = Row("coin_heard", f"F1 of the coin's sound within 1 frame, {frames} frames", "higher", goal=0.70)
    seen = Row("terrain", f"PSNR of the terrain seen before, frame {near} (dB)", "higher", goal=27.0)
    span = slice(first - 1, first + frames)
    same = (np.diff(camera[:, span]) >= -FASTEST).all(1) & (np.diff(camera[:, span]) <= FASTEST).all(1)  # one level
    moved = camera[:, span][:, -1] - camera[:, first - 1]
    jumps = [(n, t) for n, t in np.argwhere(events["jump"]) if first <= t < first + frames - SOON]
    for name, (video, audio) in clips.candidates.items():
        summed = np.array([shifts(clip[span]).sum() for clip in video])
        scroll.values[name] = float((np.abs(summed - moved) <= CLOSE)[same].mean()) if same.any() else float("nan")
        rose = [_rises(video[n], clips, n, t) for n, t in jumps]
        rise.values[name] = float(np.mean(rose)) if rose else float("nan")
        for row, sound in ((jump, "jump"), (coin, "coin")):
            row.values[name] = heard_f1(
                clips.audio[:, : first + frames], audio[:, : first + frames], _cut(events, first + frames), sound, first
            )
        seen.values[name] = mean_known(_terrain(clips, video, first + near - 1, camera))
    facts = {"jumps": len(jumps), "levels_that_go_on": int(same.sum())}
    return Report(facts, [scroll, rise, jump, coin, seen], "Jumper")


def shifts(video: np.ndarray) -> np.ndarray:
    """How far the picture scrolls from each frame to the next, (T - 1,) pixels, positive where the level goes left: the
    shift of the lowest rows that fits best."""
    x = video[:, ROWS].astype(np.float32)
    W, errors = x.shape[2], []
    for d in range(-FASTEST, FASTEST + 1):
        a, b = (x[:-1, :, d:], x[1:, :, : W - d]) if d >= 0 else (x[:-1, :, :d], x[1:, :, -d:])
        errors.append(np.abs(a - b).mean((1, 2, 3)) + 0.01 * abs(d))  # where nothing tells, it stands still
    return np.argmin(errors, 0) - FASTEST


def _cut(events: dict[str, np.ndarray], frames: int) -> dict[str, np.ndarray]:
    return {name: flags[:, :frames] for name, flags in events.items()}


def _rises(video: np.ndarray, clips: Clips, n: int, t: int) -> bool:
    """Whether the player's picture is higher SOON frames after a jump than before it: its place is where the picture at
    its own column looks least like the sky and the level behind it, both of which the truth knows."""
    before, after = (_height(video[k], clips, n, k) for k in (t - 1, t + SOON))
    return bool(before - after >= RISES)


def _height(frame: np.ndarray, clips: Clips, n: int, t: int) -> float:
    """The row where the player's picture fits best, the truth's own picture of it being the template."""
    x = int(clips.state["x"][n, t] - clips.state["camera"][n, t]) - WIDE // 2
    y = int(clips.state["y"][n, t]) - 2
    left, right = max(0, x + 3), min(frame.shape[1], x + WIDE - 3)
    top, bottom = max(0, y), min(frame.shape[0], y + BODY)
    if right - left < 6 or bottom - top < 12:
        return float("nan")
    template = clips.video[n, t, top:bottom, left:right].astype(np.float32)
    column = frame[:, left:right].astype(np.float32)
    errors = [np.abs(column[k : k + len(template)] - template).mean() for k in range(len(frame) - len(template) + 1)]
    return float(np.argmin(errors))


def _terrain(clips: Clips, video: np.ndarray, t: int, camera: np.ndarray) -> np.ndarray:
    """PSNR (N,) of the columns that the last frame of the context showed, the player's own left out."""
    psnrs = np.full(len(video), np.nan)
    for n in range(len(video)):
        shift = int(camera[n, t] - camera[n, clips.context - 1])
        if not 0 <= shift < 64 or (np.diff(camera[n, clips.context - 1 : t + 1]) < -FASTEST).any():
            continue
        columns = np.zeros(video.shape[3], bool)
        columns[: video.shape[3] - shift] = True
        x = int(clips.state["x"][n, t] - camera[n, t])
        columns[max(0, x - WIDE) : x + WIDE] = False
        error = np.square(video[n, t][:, columns].astype(np.float32) - clips.video[n, t][:, columns]).mean()
        psnrs[n] = min(10 * np.log10(255**2 / max(float(error), 1e-12)), PSNR_CEILING)
    return psnrs
