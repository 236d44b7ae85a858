"""The rules of Pong, as a long dream keeps them: the paddle stays, what it hits returns, points count, games end.

Everything is read from pictures by `evaluate.pong`. Places are pixels of 128, y down; T frames.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from .. import pong
from ..audio import onsets
from . import Figure, Track, share

FACE, DEEP = 110.8, 5.0  # columns of a ball that touches the player's paddle: the first, and how many
NEAR = 20.0  # from there on a ball is about to arrive
REACH = 8 * 128 / 210 + 2 * 128 / 210  # half a paddle and half a ball
FIELD = (24.0, 115.0)  # heights of a ball that does not touch a border as it arrives
CLEAR = 1.5  # a ball so far inside that reach is hit, so far outside is missed
WAIT = 8  # frames in which a ball must be seen to return
LATE = 2  # frames between a bounce and its sound
POINT = 90  # frames until a point is counted
STEADY = 3  # frames that a score stands


def watch(video: np.ndarray, audio: np.ndarray) -> Track:
    """What is read of frames (T, H, W, 3) and their sound (T, S)."""
    return {
        "ball": pong.ball(video),
        "player": pong.paddle_y(video),
        "enemy": pong.paddle_y(video, "enemy"),
        "scores": pong.scores(video),
        "onset": onsets(audio),
    }


def figures(tracks: Sequence[Track], fps: float) -> list[Figure]:
    """Of several dreams."""
    gone = [_longest(np.isnan(track["player"])) for track in tracks]
    arrivals = [arrival for track in tracks for arrival in _arrivals(track)]
    hits, misses = ([back for gaps, back in arrivals if test(gaps)] for test in (_hit, _missed))
    heard = [sound for track in tracks for sound in _bounces(track)]
    changes = [change for track in tracks for change in _changes(track["scores"])]
    ends = [after == (0, 0) for before, after in changes if max(before) == 21]
    points = [counted for track in tracks for counted in _points(track)]
    minutes = sum(len(track["player"]) for track in tracks) / fps / 60
    readable = _all(tracks, "scores", lambda x: x.min(1) >= 0)
    return [
        Figure("paddle_gone", "longest time without the player's paddle (s)", max(gone) / fps, "lower", 1.0),
        share("paddle_seen", "player's paddle seen, of frames", _all(tracks, "player", _seen), goal=1.0),
        share("ball_seen", "ball seen, of frames", _all(tracks, "ball", lambda x: _seen(x[:, 0]))),
        share("returned_when_hit", "a ball that is hit returns", hits, goal=0.98),
        share("returned_when_missed", "a ball that is missed returns", misses, "lower", 0.05),
        share("bounce_heard", "bounces with a sound", heard, goal=0.97),
        share("score_read", "score can be read, of frames", readable),
        share("score_legal", "scores change by the rules", map(_legal, changes), goal=1.0),
        share("point_counted", "a ball that leaves is a point", points),
        share("game_ends", "a game that ends is followed by a new one", ends, goal=1.0),
        Figure("changes_a_minute", "changes of the score a minute", len(changes) / minutes),
    ]


class Watcher:
    """Follows the ball that it sees, with lapses; where it sees no ball or no paddle it holds a key as people do."""

    def __init__(self, actions: Sequence[str], rng: np.random.Generator):
        self._keys = tuple(actions.index(name) for name in ("noop", "up", "down"))
        self._rng, self._held, self._aim = rng, 0, 0.0

    def act(self, video: np.ndarray) -> int:
        """Index of the next action after a picture (H, W, 3)."""
        noop, up, down = self._keys
        if self._rng.random() < 0.02:
            self._held, self._aim = int(self._rng.integers(3)), self._rng.uniform(-6, 6)
        gap = pong.ball(video)[1] - pong.paddle_y(video) + self._aim
        return self._keys[self._held] if np.isnan(gap) else noop if abs(gap) < 2 else down if gap > 0 else up


def _longest(flags: np.ndarray) -> int:
    """Length of the longest run of True in (T,)."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(np.int8), [0]])))
    return int((edges[1::2] - edges[::2]).max(initial=0))


def _arrivals(track: Track) -> Iterator[tuple[np.ndarray, bool]]:
    """For each ball that comes to the player: how far it is from the paddle's centre in the frames in which they may
    touch, if it flies straight on, and whether it returns."""
    ball, paddle = track["ball"], track["player"]
    right = np.concatenate([[False], np.diff(ball[:, 0]) > 0.3])
    last = right & (ball[:, 0] > FACE - NEAR) & (ball[:, 0] < FACE)
    last[:-1] &= ~(right[1:] & (ball[1:, 0] < FACE))  # the last frame of an approach
    for t in np.flatnonzero(last[: -WAIT - 1]):
        if t < 2 or not right[t - 1]:
            continue
        step = ball[t] - ball[t - 1]
        if np.abs(step - (ball[t - 1] - ball[t - 2])).max() > 1.5:  # it bounced meanwhile
            continue
        frames = (FACE - ball[t, 0]) / step[0]
        if frames > 2:  # it turned or went before it arrived
            continue
        meets = t + np.arange(int(max(frames, 0)), int(frames + DEEP / step[0]) + 2)
        if meets[-1] >= len(ball) or not FIELD[0] < ball[t, 1] + (meets[-1] - t) * step[1] < FIELD[1]:
            continue
        gaps = np.abs(ball[t, 1] + (meets - t) * step[1] - paddle[meets])
        if not np.isnan(gaps).any():
            after = ball[t + 1 : t + 1 + WAIT, 0]
            yield gaps, bool((np.diff(after) < -0.3).sum() >= 2)


def _hit(gaps: np.ndarray) -> bool:
    return gaps[:3].max() < REACH - CLEAR


def _missed(gaps: np.ndarray) -> bool:
    return gaps.min() > REACH + CLEAR


def _bounces(track: Track) -> Iterator[bool]:
    """For each turn of the ball, along either axis, whether a sound begins near it."""
    move = np.diff(track["ball"], axis=0)
    turned = np.zeros(len(move) + 1, bool)
    for axis in (0, 1):
        v = move[:, axis]
        steady = (np.abs(v) > 0.4) & (np.abs(v) < 12)
        for t in range(2, len(v) - 2):
            before, after = v[t - 2 : t], v[t + 1 : t + 3]
            known = steady[t - 2 : t].all() and steady[t + 1 : t + 3].all() and not np.isnan(v[t])
            if (
                known
                and (np.sign(before) == np.sign(before[0])).all()
                and (np.sign(after) == -np.sign(before[0])).all()
            ):
                turned[t] = True
    turns = np.flatnonzero(turned)
    turns = turns[np.diff(turns, prepend=-10) > 2]
    for t in turns:
        yield bool(track["onset"][max(0, t - LATE) : t + LATE + 2].any())


def _changes(scores: np.ndarray) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    """Each change of a score (T, 2) that stands for a while: (before, after). What cannot be read is passed over."""
    read = [tuple(pair) for pair in scores.tolist() if min(pair) >= 0]
    standing, count, candidate = None, 0, None
    for pair in read:
        count = count + 1 if pair == candidate else 1
        candidate = pair
        if count == STEADY and pair != standing:
            if standing is not None:
                yield standing, pair  # type: ignore[misc]
            standing = pair


def _legal(change: tuple[tuple[int, int], tuple[int, int]]) -> bool:
    """One point for one side, or a new game after the last."""
    before, after = change
    grown = sorted(b - a for a, b in zip(before, after, strict=True))
    return after == (0, 0) if max(before) == 21 else grown == [0, 1]


def _points(track: Track) -> Iterator[bool]:
    """For each ball that leaves at a side: whether the other side's score alone grows by one soon after."""
    ball, scores = track["ball"], track["scores"]
    seen = ~np.isnan(ball[:, 0])
    for t in np.flatnonzero(seen[1:-1] & ~seen[2:]) + 1:
        if t + POINT >= len(seen) or t < 2 or seen[t + 1 : t + 9].any() or not seen[t - 2 : t].all():
            continue
        x, speed = ball[t, 0], ball[t, 0] - ball[t - 1, 0]
        side = 0 if x > FACE and speed > 0.3 else 1 if x < 128 - FACE and speed < -0.3 else None
        before = scores[: t + 1][(scores[: t + 1] >= 0).all(1)]
        if side is None or not len(before) or before[-1].max() == 21:
            continue
        after = scores[t + 1 : t + 1 + POINT]
        yield bool((after[:, side] == before[-1, side] + 1).sum() >= STEADY)


def _seen(x: np.ndarray) -> np.ndarray:
    return ~np.isnan(x)


def _all(tracks: Sequence[Track], name: str, test) -> np.ndarray:
    return np.concatenate([test(track[name]) for track in tracks])
