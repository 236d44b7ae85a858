"""Processes that play: each has its own world, plays the game it is given, writes its episodes and says so.

The crew knows nothing about datasets; it hands out games in order, gives their results back in order, and ends a
process that dies or does not answer with one clear line.
"""

import contextlib
import itertools
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import MlxworldError
from ..episodes.format import write_beside
from ..episodes.media import ClipWriter
from ..pairs.transcripts import write_transcript
from .policies import Policy, make_policy
from .source import Source, Step, action_space, close, failing
from .sources import open_source

_REPORT = 0.25  # seconds between a player's reports
_PAUSE = 0.5  # seconds that a game's last picture stands before the next one begins
_NEXT = 2**40  # between the seeds of games that follow one another in a film


@dataclass(frozen=True)
class Game:
    """What is the same for all games: the world, who plays, and how games become files in `folder`."""

    world: str
    policy: str
    size: tuple[int, int]
    episode: int  # longest episode, steps
    longest: int  # longest game, steps
    folder: Path
    across: bool = False  # a game that ends is followed by another one, in the same film


@dataclass
class _Player:
    process: BaseProcess
    pipe: Connection
    game: Any = None  # the number of the game it plays, None while it waits
    heard: float = field(default_factory=time.monotonic)


class Crew:
    """`workers` playing processes (0: one a core); used with `with`, which ends them."""

    def __init__(self, plan: Game, workers: int, patience: float):
        self._plan, self._patience = plan, patience
        self._workers = workers or os.cpu_count() or 1
        self._players: list[_Player] = []

    def __enter__(self) -> "Crew":
        return self

    def __exit__(self, *error: object) -> None:
        for player in self._players:
            _end(player)

    def play(self, first: int, need: int, seed: int, show: Callable[[int], None]) -> Iterator[tuple[int, list[int]]]:
        """Play games `first`, `first` + 1, ... until they hold `need` steps: (game, steps of each of its episodes).

        Game g is played from seed `seed` + g.

        Which games are played depends only on how long they turn out to be: one is begun if those before it cannot
        be enough. `show` is told the steps played so far. Raises MlxworldError if a player fails, dies or hangs.
        """
        results: dict[int, list[int]] = {}
        running: dict[int, int] = {}  # game -> steps so far
        begun = given = first
        finished = 0
        while given < begun or finished < need:
            while finished + len(running) * self._plan.longest < need and (player := self._idle()):
                player.game, player.heard = begun, time.monotonic()
                running[begun] = 0
                player.pipe.send((begun, seed + begun))
                begun += 1
            for player in self._answers():
                kind, value = self._receive(player)
                if kind == "failed":
                    raise MlxworldError(value)
                if kind == "steps":
                    running[player.game] = value
                else:
                    running.pop(player.game)
                    results[player.game] = value
                    finished += sum(value)
                    player.game = None
            show(finished + sum(running.values()))
            while given in results:
                yield given, results[given]
                given += 1

    def _idle(self) -> _Player | None:
        for player in self._players:
            if player.game is None:
                return player
        if len(self._players) == self._workers:
            return None
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_work, args=(theirs, self._plan), daemon=True)
        process.start()
        theirs.close()
        self._players.append(_Player(process, ours))
        return self._players[-1]

    def _answers(self) -> list[_Player]:
        ready = wait([player.pipe for player in self._players], timeout=0.5)
        now = time.monotonic()
        answers = [player for player in self._players if player.pipe in ready]
        for player in self._players:
            if player.game is not None and player not in answers and now - player.heard > self._patience:
                raise MlxworldError(f"{self._plan.world} has not answered for {self._patience:g} s and was ended")
        for player in answers:
            player.heard = now
        return answers

    def _receive(self, player: _Player) -> tuple[str, Any]:
        try:
            return player.pipe.recv()
        except (EOFError, ConnectionResetError):
            player.process.join(5)
            code = player.process.exitcode or 0
            ending = f"exit code {code}" if code >= 0 else f"killed by {signal.Signals(-code).name}"
            raise MlxworldError(f"{self._plan.world} ended unexpectedly in its process ({ending})") from None


def _end(player: _Player) -> None:
    """End a player and what it has started (a game of Doom is a process of its own)."""
    player.pipe.close()
    player.process.join(1 if player.game is None else 0)
    if player.process.is_alive() and player.process.pid:
        with contextlib.suppress(ProcessLookupError):  # it has no group of its own yet
            os.killpg(player.process.pid, signal.SIGKILL)
        player.process.kill()
    player.process.join()


def _work(pipe: Connection, plan: Game) -> None:
    """A player's life; it ends when nobody listens any more."""
    os.setpgid(0, 0)  # Ctrl-C is for the crew's owner
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        try:
            source = open_source(plan.world)
            try:
                while True:
                    game, seed = pipe.recv()
                    pipe.send(("done", _play_game(source, plan, game, seed, pipe)))
            finally:
                close(source)
        except MlxworldError as error:
            pipe.send(("failed", str(error)))


def _play_game(source: Source, plan: Game, game: int, seed: int, pipe: Connection) -> list[int]:
    """Play one game and write its episodes as GAME-PART; returns their lengths."""
    policy, space = make_policy(plan.policy, source, seed), action_space(source)
    steps = itertools.islice(_steps(source, policy, seed, plan.across), plan.longest)
    lengths: list[int] = []
    told = time.monotonic()
    while (first := next(steps, None)) is not None:
        path = plan.folder / f"{game:06d}-{len(lengths):02d}.mp4"
        actions, states = [], []
        with ClipWriter(path, source.fps, round(source.fps * source.samples), plan.size) as clip:
            for step, action in itertools.chain([first], itertools.islice(steps, plan.episode - 1)):
                clip.add(step.video, step.audio)
                actions.append(space.encode(action if actions else 0))
                states.append(step.state)
                if time.monotonic() - told > _REPORT:
                    told = time.monotonic()
                    pipe.send(("steps", sum(lengths) + len(actions)))
        write_beside(path, space, actions, {name: np.stack([state[name] for state in states]) for name in states[0]})
        if hasattr(source, "transcript"):
            write_transcript(path.with_suffix(".srt"), source.transcript())  # pyright: ignore[reportAttributeAccessIssue]
        lengths.append(len(actions))
    return lengths


def _steps(source: Source, policy: Policy, seed: int, across: bool = False) -> Iterator[tuple[Step, Any]]:
    """One game, or with `across` one after another: (what is seen, the action that led there)."""
    for following in itertools.count():
        begin = getattr(source, "follow", source.reset) if following else source.reset
        with failing(source.name, "reset"):
            step, action = begin(seed + following * _NEXT), 0
        yield step, action
        for number in itertools.count(1):
            if step.done:
                break
            action = policy.act(step)
            with failing(source.name, f"step {number}"):
                step = source.step(action)
            yield step, action
        if not across:
            return
        still = replace(step, audio=np.zeros_like(step.audio))
        for _ in range(round(_PAUSE * source.fps)):
            yield still, policy.act(step)
