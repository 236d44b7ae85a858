"""The rows of the table that only Pong has: does the paddle follow the keys, is there a ball, where."""

import numpy as np

from .. import pong
from ..audio import onset_f1, onsets
from ..figures import Clips, Report, Row, mean_known

PADDLE_NEAR, PADDLE_AT = 4.0, 2.0  # pixels of 128
BALL_NEAR = 8.0


def report(clips: Clips, watched: int = 64, near: int = 16) -> Report:
    """Paddles and ball over the first `watched` dreamt frames (fewer in shorter clips), as fractions of frames.

    A paddle that the dream lost counts as far away. `ball_visible` asks only that a ball is seen where the truth has
    one in play, which a frozen picture answers well; `ball_near` asks, over the first `near` frames, that it is within
    8 pixels of the true one. `ball_false` is the fraction of frames without a true ball in which the dream shows one.
    """
    watched, near = min(watched, clips.frames), min(near, clips.frames)
    span = slice(clips.context, clips.context + watched)
    paddle = Row("paddle_near", f"player's paddle within 4 px, {watched} frames", "higher", goal=0.98)
    close_by = Row("paddle_at", f"player's paddle within 2 px, {watched} frames", "higher", goal=0.90)
    off = Row("paddle_error", f"player's paddle, mean error where seen, {watched} frames (px of 128)", "lower")
    enemy = Row("enemy_near", f"enemy's paddle within 4 px, {watched} frames", "higher")
    visible = Row("ball_visible", f"ball visible when in play, {watched} frames", "higher")
    close = Row("ball_near", f"ball within 8 px when in play, {near} frames", "higher", goal=0.96)
    false = Row("ball_false", f"ball shown when none is in play, {watched} frames", "lower")
    onset = Row("onset_f1_long", f"F1 of sound onsets within 1 frame, {watched} frames", "higher", goal=0.90)
    begins = onsets(clips.audio)[:, span]
    truth = _places(clips.video[:, span])
    play = ~np.isnan(truth["ball"][..., 0])
    for name, (video, audio) in clips.candidates.items():
        dream = _places(video[:, span])
        distance = np.abs(dream["player"] - truth["player"])
        paddle.values[name] = _fraction(distance <= PADDLE_NEAR, ~np.isnan(truth["player"]))
        close_by.values[name] = _fraction(distance <= PADDLE_AT, ~np.isnan(truth["player"]))
        off.values[name] = mean_known(distance)
        enemy.values[name] = _fraction(
            np.abs(dream["enemy"] - truth["enemy"]) <= PADDLE_NEAR, ~np.isnan(truth["enemy"])
        )
        seen = ~np.isnan(dream["ball"][..., 0])
        visible.values[name] = _fraction(seen, play)
        false.values[name] = _fraction(seen, ~play)
        hit = np.linalg.norm(dream["ball"] - truth["ball"], axis=-1) <= BALL_NEAR
        close.values[name] = _fraction(hit[:, :near], play[:, :near])
        onset.values[name] = onset_f1(begins, onsets(audio)[:, span])
    facts = {"frames_watched": watched, "frames_in_play": int(play.sum())}
    return Report(facts, [paddle, close_by, off, enemy, visible, close, false, onset], "Pong")


def _places(video: np.ndarray) -> dict[str, np.ndarray]:
    return {"ball": pong.ball(video), "player": pong.paddle_y(video), "enemy": pong.paddle_y(video, "enemy")}


def _fraction(good: np.ndarray, among: np.ndarray) -> float:
    return float(good[among].mean()) if among.any() else float("nan")
