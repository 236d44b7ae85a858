"""What to do next, by dreaming what would come of it: sequences of actions are tried in one batch of worlds.

    beam      at each decision every kept sequence goes on with every action; the best are kept
    cem       cross-entropy method (Rubinstein 1999): sequences are drawn, the next ones like the best of them
    shooting  random sequences; the best of them

All three try equally many frames: `worlds` times `horizon`. What sequences have in common is dreamt once. A search is
written for one game, as a generator: it yields the worlds that it goes on from and their actions, and is sent what they
were rewarded; searches of several games run side by side, their worlds in one batch.

N worlds of a game, D decisions, A actions, M rows of a batch.
"""

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from ..errors import MlxworldError
from .futures import Futures

ITERATIONS, ELITE = 4, 0.25  # of cem; share of the sequences that the next are drawn like
KEEP = 0.1  # of an earlier distribution that stays in the next
Asked = tuple[np.ndarray | None, np.ndarray]  # rows of the decision before (None: the present moment), actions of each
Searching = Generator[Asked, np.ndarray, tuple[np.ndarray, float]]  # the best sequence (D,) and its reward


@dataclass(frozen=True)
class Search:
    """How a plan is searched for."""

    method: str = "beam"  # beam, cem or shooting
    worlds: int = 32  # sequences that are tried at once
    horizon: int = 24  # frames of a plan
    hold: int = 4  # frames that an action is held
    every: int = 1  # frames from one that is rewarded to the next; `hold` is a multiple of it
    seed: int = 0

    @classmethod
    def read(cls, options: Mapping[str, Any], actions: int) -> "Search":
        """From keywords, for so many actions. Raises MlxworldError for an option that there is not, or sizes that do
        not do."""
        names = [f.name for f in fields(cls)]
        for name in options:
            if name not in names:
                raise MlxworldError(f"unknown option {name!r} of a plan: there are {', '.join(names)}")
        search = cls(**options)
        for name in names[1:]:
            if type(getattr(search, name)) is not int:
                raise MlxworldError(f"{name} of a plan must be a whole number, got {getattr(search, name)!r}")
        search = replace(search, seed=search.seed % 2**63)  # as `reset` takes any
        if search.method not in METHODS:
            raise MlxworldError(f"unknown method {search.method!r} of planning: choose one of {', '.join(METHODS)}")
        least = {"beam": actions, "cem": 2 * ITERATIONS}.get(search.method, 1)
        if search.worlds < least or search.hold < 1 or search.horizon < search.hold:
            sizes = f"{search.worlds} worlds, hold {search.hold}, horizon {search.horizon}"
            raise MlxworldError(
                f"{search.method} needs {least} worlds or more, and hold from 1 to horizon; got {sizes}"
            )
        if search.every < 1 or search.hold % search.every:
            raise MlxworldError(f"hold {search.hold} is no multiple of every {search.every}")
        return search

    @property
    def rows(self) -> int:
        """The most worlds of a game that the method goes on with together."""
        return self.worlds // ITERATIONS if self.method == "cem" else self.worlds

    @property
    def decisions(self) -> int:
        return self.horizon // self.hold


@dataclass(frozen=True)
class Plan:
    """actions: the index of each frame's; score: the mean reward of the rewarded frames that they led to; frames: how
    many were tried for it, all sequences' counted."""

    actions: tuple[int, ...]
    score: float
    frames: int


def plans(futures: Futures, search: Search, actions: int, seeds: list[int]) -> list[Plan]:
    """The best sequence found for each moment of the futures, of which there are as many as seeds."""
    make = METHODS[search.method]
    searches = [make(actions, search.decisions, search.worlds, np.random.default_rng(seed)) for seed in seeds]
    asked, begins = [next(s) for s in searches], np.zeros(len(seeds), int)
    winners: list[tuple[np.ndarray, float]] = []
    while not winners:
        counts = [len(chosen) for _, chosen in asked]
        moments = np.repeat(np.arange(len(seeds)), counts)
        own = [start + rows for start, (rows, _) in zip(begins, asked, strict=True) if rows is not None]
        rows = np.concatenate(own) if own else None  # all searches begin anew together
        rewards = futures.decide(moments, rows, np.concatenate([chosen for _, chosen in asked]))
        begins = np.cumsum([0, *counts[:-1]])
        asked = []
        for s, its in zip(searches, np.split(rewards, begins[1:]), strict=True):
            try:
                asked.append(s.send(its))
            except StopIteration as end:
                winners.append(end.value)
    frames, rewarded = search.worlds * search.decisions * search.hold, search.decisions * search.hold // search.every
    return [
        Plan(tuple(int(a) for a in np.repeat(best, search.hold)), float(total / rewarded), frames)
        for best, total in winners
    ]


def beam(actions: int, decisions: int, n: int, rng: np.random.Generator) -> Searching:
    """N / A sequences are kept."""
    beams, totals, rows = np.zeros((1, 0), int), np.zeros(1), None
    for _ in range(decisions):
        parent = np.repeat(np.arange(len(beams)), actions)
        tried = np.concatenate([beams[parent], np.tile(np.arange(actions), len(beams))[:, None]], axis=1)
        rewards = totals[parent] + (yield rows if rows is None else rows[parent], tried[:, -1])
        rows = np.lexsort((rng.random(len(tried)), -rewards))[: n // actions]  # equals in any order
        beams, totals = tried[rows], rewards[rows]
    return beams[0], float(totals[0])


def shooting(actions: int, decisions: int, n: int, rng: np.random.Generator) -> Searching:
    """The best of N random sequences."""
    tried = rng.integers(0, actions, (n, decisions))
    totals = yield from _tried(tried)
    best = int(totals.argmax())
    return tried[best], float(totals[best])


def cem(actions: int, decisions: int, n: int, rng: np.random.Generator) -> Searching:
    """The best of ITERATIONS times N / ITERATIONS sequences."""
    count, chances = n // ITERATIONS, np.full((decisions, actions), 1 / actions)
    best, most = np.zeros(decisions, int), -np.inf
    for _ in range(ITERATIONS):
        draws = rng.random((count, decisions, 1)) > chances.cumsum(axis=1)[None]
        tried = draws.sum(axis=2).clip(max=actions - 1)
        totals = yield from _tried(tried)
        order = np.argsort(-totals, kind="stable")
        if totals[order[0]] > most:
            best, most = tried[order[0]], float(totals[order[0]])
        elite = tried[order[: max(1, round(ELITE * count))]]
        shares = (elite[:, :, None] == np.arange(actions)).mean(axis=0)
        chances = KEEP * chances + (1 - KEEP) * shares
    return best, most


def _tried(tried: np.ndarray) -> Generator[Asked, np.ndarray, np.ndarray]:
    """The reward of each sequence (N, D). Those that have begun alike so far are one row."""
    totals, row = np.zeros(len(tried)), None  # where each sequence has been dreamt
    for d in range(tried.shape[1]):
        _, first, now = np.unique(tried[:, : d + 1], axis=0, return_index=True, return_inverse=True)
        rewards = yield (None if row is None else row[first]), tried[first, d]
        row = now.reshape(-1)
        totals += rewards[row]
    return totals


METHODS: dict[str, Callable[[int, int, int, np.random.Generator], Searching]] = {
    "beam": beam,
    "cem": cem,
    "shooting": shooting,
}
