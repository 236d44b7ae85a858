"""A stage of a training: what is trained, on what, and what a person sees of it. `Run` carries stages out."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from .turn import Turn

Batch = dict[str, Any]  # arrays with a leading axis B


class Source(Protocol):
    """Batches without end, made in the background until they are closed."""

    def __next__(self) -> Batch: ...

    def close(self) -> None: ...


Batches = Callable[[int], Source]  # the step to begin with -> batches from there on


@dataclass(frozen=True)
class Stage:
    """Batch number i is a function of the settings and i, so that a resumed run sees what it would have seen."""

    name: str
    steps: int
    turns: tuple[Turn, ...]  # one for most; adversarial: generator, then discriminator
    batches: tuple[Batches, ...]  # the curriculum: each serves an equal part of the steps
    accumulate: int = 1  # parts that a batch is cut into
    share: float = 1.0  # of a budget of time, in proportion to the other stages
    extend: Callable[[Batch, int], Batch] | None = None  # adds to the batch of a step: self forcing, sampled answers
    prepare: Callable[[], None] | None = None  # before the first step: latents to disk, a codebook's first centres
    sample: Callable[[Path], None] | None = None  # writes PATH.png, .mp4 ...: what a person looks at
    continues: bool = False  # goes on with the weights, averages and moments of the stage before, not with its averages


def phases(parts: int, steps: int) -> list[tuple[int, int]]:
    """The curriculum of a stage: (first step, last + 1) of each of its equal parts."""
    edges = [-(-i * steps // parts) for i in range(parts + 1)]
    return list(itertools.pairwise(edges))
