"""Who plays a task's games: who plans in dreams, who plans in the emulator itself, and who does not plan.

G games that are played side by side, N worlds of a plan, T frames, M rows of a batch.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...data import Policy, Source, Step, make_policy
from ...data.episodes.pixels import Scaler, rgb
from ...errors import MlxworldError
from ...play.plan import Plan, Search, plans
from ...play.planner import Planner
from ...play.world import World
from .tasks import Task

METHODS = ("beam", "cem", "shooting")


@dataclass(frozen=True)
class Settings:
    """How planning players plan."""

    search: dict[str, Any]  # options of a `Search` but for method and seed
    replan: int  # frames between two plans


class Game:
    """A game in play: its steps, and the actions that led to them."""

    def __init__(self, source: Source, seed: int):
        self.source, self.seed = source, seed
        self.steps, self.actions = [source.reset(seed)], [0]

    def step(self, action: int) -> None:
        self.steps.append(self.source.step(action))
        self.actions.append(action)

    @property
    def over(self) -> bool:
        return self.steps[-1].done


Player = Callable[[Sequence[Game]], list[int]]  # those of its games that are not over -> the next action of each
Begins = Callable[[Sequence[Game]], Player]


def dreamer(cfg: Settings, world: World, task: Task, method: str, planned: Callable[[int], None]) -> Begins:
    """Plans in the world's dreams; `planned` is told how many plans were made."""

    def begun(games: Sequence[Game]) -> Player:
        planner, scaler = Planner(world, len(games), games[0].seed), Scaler()

        def make(live: Sequence[Game], seed: int) -> list[Plan]:
            times = range(planner.frames, max(len(game.steps) for game in games))
            planner.observe(*watched(games, times, scaler, world.size))
            rows = [games.index(game) for game in live]
            return planner.plan(lambda f: task.reward(f.video), rows, method=method, seed=seed, **cfg.search)

        return _keeping(cfg, make, planned)

    return begun


def watched(
    games: Sequence[Game], times: Sequence[int], scaler: Scaler, size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Video (G, T, H, W, 3), audio (G, T, S) and actions (G, T) of T frames. The last frame of a game that is over
    stays."""
    each = [(game, min(t, len(game.steps) - 1)) for game in games for t in times]
    video = np.stack([scaler.resize(rgb(game.steps[t].video), size).to_ndarray() for game, t in each])
    audio = np.stack([game.steps[t].audio for game, t in each])
    actions = np.array([game.actions[t] for game, t in each], np.int32)
    video, audio, actions = (x.reshape(len(games), -1, *x.shape[1:]) for x in (video, audio, actions))
    return video, audio, actions


def _keeping(
    cfg: Settings, make: Callable[[Sequence[Game], int], list[Plan]], planned: Callable[[int], None]
) -> Player:
    """Makes a plan every `replan` frames, and keeps to it meanwhile."""
    kept: dict[int, tuple[int, Plan]] = {}  # by the game's seed: since when, and what

    def act(live: Sequence[Game]) -> list[int]:
        now = len(live[0].steps)
        if not all(game.seed in kept and now < kept[game.seed][0] + cfg.replan for game in live):
            kept.update({game.seed: (now, plan) for game, plan in zip(live, make(live, now), strict=True)})
            planned(len(live))
        return [kept[game.seed][1].actions[now - kept[game.seed][0]] for game in live]

    return act


@dataclass
class Emulated:
    """Futures (see `play.futures`) of real games that can be taken back: what a plan in dreams would be if dreams were
    the truth. The games are where they were after `close`."""

    games: Sequence[Game]
    reward: Callable[[np.ndarray], np.ndarray]
    hold: int
    every: int
    frames: int = 0

    def __post_init__(self):
        self._sources: list[Any] = [game.source for game in self.games]
        self._begins = [source.snapshot() for source in self._sources]

    def decide(self, moments: np.ndarray, rows: np.ndarray | None, actions: np.ndarray) -> np.ndarray:
        before = [self._begins[m] for m in moments] if rows is None else [self._moments[r] for r in rows]
        self._moments, pictures = [], []
        for moment, state, action in zip(moments, before, actions, strict=True):
            source = self._sources[moment]
            source.restore(state)
            steps = [source.step(int(action)) for _ in range(self.hold)]
            pictures += [step.video for step in steps[self.every - 1 :: self.every]]
            self._moments.append(source.snapshot())
        self.frames += self.hold * len(actions)
        return self.reward(np.stack(pictures)).reshape(len(actions), -1).sum(axis=1)

    def close(self) -> None:
        for source, state in zip(self._sources, self._begins, strict=True):
            source.restore(state)


def emulated(cfg: Settings, task: Task, method: str, planned: Callable[[int], None]) -> Begins:
    """Makes the same search in the emulator itself, with the same reader of rewards."""

    def make(live: Sequence[Game], seed: int) -> list[Plan]:
        actions = len(live[0].source.actions)
        search = Search.read({"method": method, "seed": seed, **cfg.search}, actions)
        futures = Emulated(live, task.reward, search.hold, search.every)
        try:
            return plans(futures, search, actions, [seed + i for i in range(len(live))])
        finally:
            futures.close()

    return lambda games: _keeping(cfg, make, planned)


def by_policy(name: str) -> Begins:
    """Plays as somebody of the environment's own."""

    def begun(games: Sequence[Game]) -> Player:
        policies: dict[int, Policy] = {game.seed: make_policy(name, game.source, game.seed) for game in games}
        return lambda live: [policies[game.seed].act(game.steps[-1]) for game in live]

    return begun


def nothing(games: Sequence[Game]) -> Player:
    """Does nothing."""
    return lambda live: [0] * len(live)


def play(games: Sequence[Game], begins: Begins, begin: int, steps: int, hold: int) -> list[list[Step]]:
    """The steps of each game that were played, and the one before them. A game begins with `begin` frames in which
    nothing is done; each action is held for `hold` frames."""
    for game in games:
        while len(game.steps) < begin and not game.over:
            game.step(0)
    if any(game.over for game in games):
        raise MlxworldError(f"{games[0].source.name}: a game ended before it was played")
    player, live = begins(games), list(games)
    for t in range(begin, begin + steps, hold):
        for game, action in zip(live, player(live) if live else [], strict=True):
            for _ in range(min(hold, begin + steps - t)):
                if not game.over:
                    game.step(action)
        live = [game for game in live if not game.over]
    return [game.steps[begin - 1 :] for game in games]
