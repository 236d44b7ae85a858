"""What to do next, by dreaming what would come of it: sequences of actions are tried in one batch of worlds.

    beam      at each decision every kept sequence goes on with every action; the best are kept, copied over the others
    cem       cross-entropy method (Rubinstein 1999): sequences are drawn, the next ones like the best of them
    shooting  random sequences; the best of them

All three cost the same: `worlds` times `horizon` frames. All worlds of a frame share its noise, so that they differ by
their actions alone. An action is held for `hold` frames.

N worlds, D decisions, A actions.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import MlxworldError
from .frame import Frame
from .lockstep import Lockstep

ITERATIONS, ELITE = 4, 0.25  # of cem; share of the sequences that the next are drawn like
KEEP = 0.1  # of an earlier distribution that stays in the next
Score = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]  # video, audio, z of N worlds -> (N,)
Step = Callable[[Lockstep, int, np.ndarray], np.ndarray]  # which decision, that of each world -> its rewards (N,)


@dataclass(frozen=True)
class Plan:
    """actions: the index of each frame's; score: the mean reward of the frames that they led to in the dream; frames:
    how many were dreamt for it."""

    actions: tuple[int, ...]
    score: float
    frames: int


def plan(
    worlds: Callable[[int], Lockstep],
    actions: int,
    score: Score,
    method: str,
    n: int,
    horizon: int,
    hold: int,
    seed: int,
) -> Plan:
    """The best sequence found. worlds(n): a lockstep of n worlds. Raises MlxworldError for a method that is none."""
    if method not in METHODS:
        raise MlxworldError(f"unknown method {method!r} of planning: choose one of {', '.join(METHODS)}")
    least = actions if method == "beam" else 2 * ITERATIONS if method == "cem" else 1
    if n < least or hold < 1 or horizon < hold:
        sizes = f"{n} worlds, hold {hold}, horizon {horizon}"
        raise MlxworldError(f"{method} needs {least} worlds or more, and hold from 1 to horizon; got {sizes}")
    decisions, rng, noises, dreamt = horizon // hold, np.random.default_rng(seed), {}, 0

    def step(lockstep: Lockstep, decision: int, chosen: np.ndarray) -> np.ndarray:
        nonlocal dreamt
        rewards = np.zeros(lockstep.n)
        for t in range(decision * hold, (decision + 1) * hold):
            if t not in noises:  # the frame's own, however often it is dreamt
                shape = (1, *lockstep.model.cfg.latent_shape)
                noises[t] = np.random.default_rng([seed, t]).standard_normal(shape, np.float32)
            rewards += score(*lockstep.step(chosen, noises[t]))
            dreamt += lockstep.n
        return rewards

    best, total = METHODS[method](worlds, actions, decisions, n, step, rng)
    return Plan(tuple(int(a) for a in np.repeat(best, hold)), float(total / (decisions * hold)), dreamt)


def by_frame(reward: Callable[[Frame], Any], index: int) -> Score:
    """A Score from a reward of frames, index that of the present one. It raises MlxworldError unless N finite numbers
    come."""

    def score(video: np.ndarray, audio: np.ndarray, z: np.ndarray) -> np.ndarray:
        given = reward(Frame(video, audio, index, 0.0))
        scores = np.asarray(given, np.float64) if np.ndim(given) == 1 else np.zeros(0)
        if len(scores) != len(video) or not np.isfinite(scores).all():
            raise MlxworldError(f"a reward gives {len(video)} finite numbers, one for each world")
        return scores

    return score


def near(goal: np.ndarray) -> Score:
    """A Score that is 0 at the latent of a goal (K, D), and less by the mean square of what differs."""
    return lambda video, audio, z: -np.square(z - goal).mean(axis=(1, 2))


def beam(worlds: Any, actions: int, decisions: int, n: int, step: Step, rng: np.random.Generator):
    """The best sequence (D,) and its reward; N / A sequences are kept."""
    lockstep, width = worlds(n), n // actions
    lockstep.branch()
    beams, totals = np.zeros((1, 0), int), np.zeros(1)
    place = np.zeros(1, int)  # the world where each kept sequence has been dreamt
    for decision in range(decisions):
        parent = np.repeat(np.arange(len(beams)), actions)
        tried = np.concatenate([beams[parent], np.tile(np.arange(actions), len(beams))[:, None]], axis=1)
        rows = np.zeros(n, int)
        rows[: len(tried)] = place[parent]
        lockstep.choose(rows)
        chosen = np.zeros(n, int)
        chosen[: len(tried)] = tried[:, -1]
        rewards = totals[parent] + step(lockstep, decision, chosen)[: len(tried)]
        place = np.lexsort((rng.random(len(tried)), -rewards))[:width]  # equals in any order
        beams, totals = tried[place], rewards[place]
    return beams[0], totals[0]


def shooting(worlds: Any, actions: int, decisions: int, n: int, step: Step, rng: np.random.Generator):
    """The best of N random sequences (D,), and its reward."""
    tried = rng.integers(0, actions, (n, decisions))
    totals = _tried(worlds(n), tried, step)
    return tried[totals.argmax()], totals.max()


def cem(worlds: Any, actions: int, decisions: int, n: int, step: Step, rng: np.random.Generator):
    """The best sequence (D,) of ITERATIONS times N / ITERATIONS, and its reward."""
    count, chances = n // ITERATIONS, np.full((decisions, actions), 1 / actions)
    best, most = np.zeros(decisions, int), -np.inf
    for _ in range(ITERATIONS):
        draws = rng.random((count, decisions, 1)) > chances.cumsum(axis=1)[None]
        tried = draws.sum(axis=2).clip(max=actions - 1)
        totals = _tried(worlds(count), tried, step)
        order = np.argsort(-totals)
        if totals[order[0]] > most:
            best, most = tried[order[0]], totals[order[0]]
        elite = tried[order[: max(1, round(ELITE * count))]]
        shares = (elite[:, :, None] == np.arange(actions)).mean(axis=0)
        chances = KEEP * chances + (1 - KEEP) * shares
    return best, most


def _tried(lockstep: Lockstep, tried: np.ndarray, step: Step) -> np.ndarray:
    """The reward of each sequence (N, D)."""
    lockstep.branch()
    return np.sum([step(lockstep, d, tried[:, d]) for d in range(tried.shape[1])], axis=0)


METHODS = {"beam": beam, "cem": cem, "shooting": shooting}
