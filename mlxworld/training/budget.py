"""A budget of time: how many steps a stage may take, from steps that were timed, so that a training ends in time.

The plan is corrected while a stage runs, by how its steps compare with those that were timed; the learning rate is a
function of the share of steps that is done, so it ends fully decayed whatever the number of steps becomes.
"""

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import MlxworldError
from .schedule import cosine
from .stage import Stage, phases

TIMED = 3  # steps of each part of a stage that are timed, after those that compile


@dataclass(frozen=True)
class Pace:
    """Seconds of a step in each part of a stage, and what it took to measure them, compiling included."""

    seconds: tuple[float, ...]
    measuring: float

    def between(self, first: int, steps: int) -> float:
        """Seconds from step `first` to the end of a stage of `steps` steps."""
        spans = zip(phases(len(self.seconds), steps), self.seconds, strict=True)
        return sum(max(0, end - max(begin, first)) * each for (begin, end), each in spans)

    def steps(self, first: int, seconds: float, slower: float = 1.0) -> int:
        """The most steps of a stage that fit into so many seconds, `first` of them done. slower: than measured."""
        low, high = first, first + 1
        while self.between(first, high) * slower <= seconds:
            low, high = high, 2 * high
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self.between(first, middle) * slower <= seconds else (low, middle)
        return low


def measure(engine: Any, trainer: Any, stage: Stage, seed: int) -> Pace:
    """The pace of a stage's steps here. The trainer is afterwards what it was before."""
    begun, state, seconds = time.monotonic(), trainer.state(), []
    for batches in stage.batches:
        with contextlib.closing(batches(0)) as source:
            times = []
            for step in range(trainer.warmup + TIMED):
                start = time.monotonic()
                batch = next(source)
                batch = stage.extend(batch, step) if stage.extend else batch
                engine.numpy(trainer.step(batch, seed * 2**32 + step, cosine(step, 1000, 100)))
                times.append(time.monotonic() - start)
        seconds.append(max(1e-6, sum(times[trainer.warmup :]) / TIMED))  # a clock may be coarser than a step
    trainer.load_state(state)
    return Pace(tuple(seconds), time.monotonic() - begun)


def shown(seconds: float) -> str:
    """A length of time as a person reads it."""
    return f"{max(0.0, seconds):.0f} s" if seconds < 100 else f"{seconds / 60:.1f} min"


def interval(steps: int, most: int) -> int:
    """Steps until the clock is looked at again, of so many to come: fewer towards the end."""
    return max(1, min(most, steps // 50))


class Budget:
    """Shares `minutes` among stages. `spent` are seconds of them that are over already; clock tells seconds.

    `reserve` are seconds for what comes after the last step: a sample, the last checkpoint.
    """

    def __init__(self, minutes: float, spent: float, clock: Callable[[], float]):
        self.minutes, self._clock = minutes, clock
        self._deadline = clock() + 60 * minutes - spent
        self.reserve = 0.02 * 60 * minutes
        self._pace: Pace | None = None

    def left(self) -> float:
        """Seconds until the last step must be done."""
        return self._deadline - self.reserve - self._clock()

    def begin(self, stage: Stage, later: Sequence[Stage], pace: Pace, done: int = 0) -> int:
        """The steps of a stage that begins now, or goes on after `done` of them; `later` come after it, each part of
        which is thought to take as long to compile and to time as a part of this one.

        Raises MlxworldError where not one step of each part fits; a stage that has begun ends with one more step.
        """
        measuring = pace.measuring / len(stage.batches) * sum(len(s.batches) for s in later)
        seconds = (self.left() - measuring) * stage.share / (stage.share + sum(s.share for s in later))
        self._pace, self._first, self._begun, self._end = pace, done, self._clock(), self._clock() + seconds
        steps, least = pace.steps(done, seconds), done + 1 if done else len(stage.batches)
        if steps < least and not done:
            need = f"{least} steps of {stage.name} take {pace.between(0, least):.2g} s"
            left = f"{max(0, seconds):.2g} s are left; a smaller --{stage.name}.batch is quicker"
            raise MlxworldError(f"--minutes {self.minutes:g} are too few: {need}, and {left}")
        return max(steps, least)

    def correct(self, step: int, steps: int) -> int:
        """The steps of the present stage, seen from step `step` of the `steps` that were planned. Where no time is left
        it is one more, whose learning rate is the last one's."""
        assert self._pace is not None
        passed = self._clock() - self._begun
        planned = self._pace.between(self._first, steps) - self._pace.between(step, steps)
        left = self._end - self._clock()
        new = max(step + 1, self._pace.steps(step, left, max(0.1, passed / planned) if planned else 1.0))
        return new if abs(new - steps) > 0.01 * steps or left <= 0 else steps
