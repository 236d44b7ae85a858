"""Does a world know what cannot happen? In the manner of IntPhys (Riochet et al. 2018): pairs of clips that are the
same up to a moment, in which one goes on and the other breaks a law; a score of each clip, and the area under the ROC.

The clips come from the simulator itself (`Source.violate`), so that both look equally real.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlxworld.data.envs.policies import Sticky

from .features import pool
from .figures import Picture, Plot, Report, Row
from .game import Shrunk

FRAMES, BEFORE = 48, (16, 32)  # of a clip, and when the law is broken
WARM = 8  # first frames of a clip, which have too little past to count
CELLS = 8  # a side, of the plain difference


@dataclass(frozen=True)
class Pairs:
    """N pairs: possible and impossible video (N, T, H, W, 3), audio (N, T, S), actions (N, T), the frame (N,) from
    which they differ, and the law (N,) that is broken."""

    possible: tuple[np.ndarray, np.ndarray]
    impossible: tuple[np.ndarray, np.ndarray]
    actions: np.ndarray
    moment: np.ndarray
    law: np.ndarray


def pairs(source: Any, count: int, seed: int = 0, frames: int = FRAMES, size: tuple[int, int] | None = None) -> Pairs:
    """`count` pairs of each law of a source that has `laws` and `violate`; pictures of `size`, None for its own."""
    shown = Shrunk(size) if size else lambda picture: picture
    clips: dict[bool, list] = {False: [], True: []}
    actions, moments, laws = [], [], []
    for law in source.laws:
        for n in range(count):
            rng = np.random.default_rng([seed, n, len(laws)])
            player = Sticky(len(source.actions), rng)
            moment, number = int(rng.integers(*BEFORE)), seed + len(laws)
            taken = np.array([0, *(player.act(None) for _ in range(frames - 1))])  # type: ignore[arg-type]
            for broken in (False, True):
                steps = [source.reset(number)]
                for t in range(1, frames):
                    if broken and t == moment:
                        source.violate(law, number)
                    steps.append(source.step(int(taken[t])))
                clips[broken].append((np.stack([shown(s.video) for s in steps]), np.stack([s.audio for s in steps])))
            actions.append(taken)
            moments.append(moment)
            laws.append(law)
    stacked = [tuple(np.stack(x) for x in zip(*clips[broken], strict=True)) for broken in (False, True)]
    return Pairs(*stacked, np.stack(actions), np.array(moments), np.array(laws))  # type: ignore[arg-type]


def auc(impossible: np.ndarray, possible: np.ndarray) -> float:
    """Area under the ROC curve: how often an impossible clip scores above a possible one, ties counting half."""
    above = impossible[:, None] - possible[None]
    return float(((above > 0) + 0.5 * (above == 0)).mean())


def roc(impossible: np.ndarray, possible: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """False and true positive rates of every threshold, from (0, 0) to (1, 1)."""
    levels = np.concatenate([[np.inf], np.unique(np.concatenate([impossible, possible]))[::-1]])
    return tuple(np.array([(x >= level).mean() for level in levels]) for x in (possible, impossible))  # type: ignore


def surprise(z: np.ndarray, expected: np.ndarray, warm: int = WARM) -> np.ndarray:
    """(N,) the greatest surprise of a clip: squared error (mean over D) of the token that is furthest from what was
    expected of it; z, expected (N, T, K, D). The first `warm` frames do not count."""
    error = np.square(z - expected).mean(-1).max(-1)
    return error[:, warm:].max(-1)


def difference(video: np.ndarray, warm: int = WARM) -> np.ndarray:
    """(N,) the trivial score: the greatest change from one frame to the next in any part of the picture."""
    scores = []
    for clip in video:
        change = np.abs(np.diff(clip[warm - 1 :].astype(np.float32), axis=0)).mean(-1)
        scores.append(pool(change, CELLS, CELLS).max())
    return np.array(scores)


def plausibility_report(
    given: Pairs, scores: dict[str, Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]]
) -> Report:
    """AUC of each law and of all. scores: by name, (video, audio, actions) -> (N,), higher for what cannot be.

    "shuffled" gives the first score's clips to other pairs' labels, and "frame difference" is the trivial reader.
    """
    scores = scores | {"frame difference": lambda video, audio, actions: difference(video)}
    readings = {
        name: tuple(score(*clips, given.actions) for clips in (given.impossible, given.possible))
        for name, score in scores.items()
    }
    first = np.concatenate(next(iter(readings.values())))
    mixed = np.random.default_rng(0).permutation(first)
    readings["shuffled"] = mixed[: len(given.law)], mixed[len(given.law) :]
    rows = [Row("plausibility_auc", "possible or not, AUC, all laws", "higher", goal=0.97)]
    rows += [Row(f"plausibility_{law}", f"possible or not, AUC, {law}", "higher") for law in dict.fromkeys(given.law)]
    ranked = Row("plausibility_pairs", "pairs of which the impossible clip is told", "higher")
    grid = np.linspace(0, 1, 41)
    lines = {}
    for name, (impossible, possible) in readings.items():
        rows[0].values[name] = auc(impossible, possible)
        for row in rows[1:]:
            of = given.law == row.key.removeprefix("plausibility_")
            row.values[name] = auc(impossible[of], possible[of])
        ranked.values[name] = float(((impossible > possible) + 0.5 * (impossible == possible)).mean())
        lines[name] = np.interp(grid, *_steepest(*roc(impossible, possible))).tolist()
    plot = Plot("Possible or not", "possible clips called impossible", "impossible clips found", grid.tolist(), lines)
    note = (
        "Pairs of clips of the simulator, the same up to a moment; in one a body then teleports, vanishes, passes "
        "through others or leaps from nothing. The score is the greatest surprise of a clip: how far a frame's latent "
        "lies from what the true frames before led the model to expect. Chance is 0.5."
    )
    pictures = [_shown(given, law) for law in dict.fromkeys(given.law)]
    return Report({"pairs": len(given.law)}, [*rows, ranked], "Plausibility", note, [plot], pictures)


def _steepest(false: np.ndarray, true: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The curve as a function: at each false rate the highest true rate."""
    rates = np.unique(false)
    return rates, np.array([true[false == rate].max() for rate in rates])


def _shown(given: Pairs, law: str) -> Picture:
    """Six frames around the moment of the first pair of a law, the possible ones above."""
    n = int(np.argmax(given.law == law))
    frames = given.moment[n] + np.array([-2, -1, 0, 2, 4, 8])
    edged = [
        np.pad(clips[0][n][frames], ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=127)
        for clips in (given.possible, given.impossible)
    ]
    rows = [np.concatenate(list(clip), 1) for clip in edged]
    return Picture(f"{law}: possible above, impossible below", np.concatenate(rows, 0))
