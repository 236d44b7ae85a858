"""What every world that can be recorded is: the protocol `Source` and its `Step`."""

import contextlib
import importlib
import importlib.util
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from ...configs.actions import ActionSpace
from ...errors import MlxworldError

_REASON = 300  # characters of a world's own words


@dataclass(frozen=True)
class Step:
    """What a world shows after an action: video (H, W, 3) uint8, audio (S,) float32 in [-1, 1], exact state."""

    video: np.ndarray
    audio: np.ndarray
    done: bool = False
    state: dict[str, np.ndarray] = field(default_factory=dict)


class Source(Protocol):
    """A world that can be recorded. The same seed and the same actions give the same steps.

    One of buttons and axes has their names, `buttons` and `axes`, and takes rows of numbers (see
    `configs.actions.ActionSpace`). One that can say what happens has `transcript()`, timed lines of the present game,
    which is one episode. One whose games begin otherwise after another has ended has `follow(seed)` too, for such
    games.
    """

    name: str
    licence: str
    samples: int  # of sound, a step
    actions: tuple[str, ...]  # the first is what is done when nothing is done

    @property
    def fps(self) -> float:
        """Steps a second, perhaps a fraction; `fps * samples` is a whole number."""
        ...

    def reset(self, seed: int) -> Step:
        """Begin an episode; the step that led here is action 0."""
        ...

    def step(self, action: Any) -> Step:
        """Take the action with this index, or this row. After a step that is `done`, call `reset`."""
        ...

    def close(self) -> None:
        """Give back processes and windows."""
        ...


def action_space(source: Source) -> ActionSpace:
    """What an action of a world is."""
    return ActionSpace(source.actions, getattr(source, "buttons", ()), getattr(source, "axes", ()))


@contextlib.contextmanager
def failing(world: str, doing: str) -> Iterator[None]:
    """What a world raises while it is asked for something becomes MlxworldError, "WORLD failed in step 10: its reason".

    A MlxworldError is left as it is.
    """
    try:
        yield
    except MlxworldError:
        raise
    except (Exception, SystemExit) as error:  # each world's packages fail in their own ways
        text = " ".join(str(error).split())
        text = f"{text[:_REASON]}..." if len(text) > _REASON else text
        reason = f"{type(error).__name__}: {text}".removesuffix(": ")
        raise MlxworldError(f"{world} failed in {doing}: {reason}") from error


def close(source: Source) -> None:
    """Close a world. One that fails in that has been played all the same."""
    with contextlib.suppress(MlxworldError), failing(source.name, "close"):
        source.close()


def require(module: str, extra: str):
    """Import an optional package, or raise MlxworldError naming the extra that brings it."""
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    if importlib.util.find_spec(module) is None:
        raise MlxworldError(f'{module} is not installed: pip install "mlxworld[{extra}]"')
    return importlib.import_module(module)


def seeds(seed: int) -> np.random.Generator:
    """A world's own generator for one episode, apart from the policy's."""
    return np.random.default_rng([seed, 0])
