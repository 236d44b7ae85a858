"""The action log: what makes a frame again. Written for a branch, read back with every field checked.

Format 2 writes the actions as runs, `[[action, count], ...]`, and names the world and the digest of its weights. Format
1 wrote the actions one by one and what loaded the world, which may have been a folder of the machine that wrote it; it
is still read.
"""

import hashlib
import itertools
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import mlxworld

from .controls import MOST_NAMES
from .wire import BadMessage, is_flag, is_passes, is_path, is_text, is_whole, maybe

LOG_FORMAT = "mlxworld-actions-2"
READ_FORMATS = ("mlxworld-actions-1", LOG_FORMAT)
MAX_ACTIONS = 200_000
"""Actions that a log may hold: almost two hours at 30 frames a second."""


@dataclass(frozen=True)
class Origin:
    """Where a world's story begins: a seed and a start clip (None: the seed chooses it).

    untold: why an action log cannot tell this story, where it began from something else.
    """

    seed: int
    start: int | None
    untold: str | None = None


def digest(frame: "mlxworld.Frame") -> str:
    """A fingerprint of a frame's picture and sound: equal exactly when both are bit-equal."""
    return hashlib.sha256(frame.video.tobytes() + frame.audio.tobytes()).hexdigest()


def label(name: str) -> str:
    """What a world is called: its name, or the last part of the path of its folder, of at most 256 characters."""
    parts = [part for part in re.split(r"[\\/]", name) if part]
    return (parts[-1] if parts else name)[:256]


def runs(actions: Iterable[int]) -> list[list[int]]:
    """Actions as `[[action, count], ...]`."""
    return [[action, len(list(run))] for action, run in itertools.groupby(actions)]


def unrolled(entries: Any) -> tuple[int, ...] | None:
    """The actions of `[[action, count], ...]`, where an entry may also be a single action; None for anything else, and
    for more than MAX_ACTIONS actions."""
    if not isinstance(entries, list) or len(entries) > MAX_ACTIONS:
        return None
    action, count = is_whole(0, 65535), is_whole(1, MAX_ACTIONS)
    pairs = [entry if isinstance(entry, list) else [entry, 1] for entry in entries]
    if not all(len(pair) == 2 and action(pair[0]) and count(pair[1]) for pair in pairs):
        return None
    if sum(pair[1] for pair in pairs) > MAX_ACTIONS:
        return None
    return tuple(itertools.chain.from_iterable(itertools.repeat(*pair) for pair in pairs))


@dataclass(frozen=True)
class Log:
    """An action log read back, with every field checked. `world_digest` is None in a log of format 1."""

    world: str
    world_digest: str | None
    backend: str
    precision: str
    steps: int
    action_names: tuple[str, ...]
    origin: Origin
    actions: tuple[int, ...]
    digest: str

    @classmethod
    def read(cls, log: dict[str, Any]) -> "Log":
        """Check a log that came from outside. Raises BadMessage, with one line."""
        if log.get("format") not in READ_FORMATS:
            raise BadMessage(f"this file is not an action log of the play app ({LOG_FORMAT})")
        log = {"world_digest": None, "together": False, **log}
        checks = {
            "world": is_path,
            "world_digest": maybe(is_text),
            "backend": is_text,
            "precision": is_text,
            "digest": is_text,
            "together": is_flag,
            "steps": is_passes,
            "seed": is_whole(0, 2**32 - 1),
            "start": maybe(is_whole(0, 2**31)),
            "action_names": lambda names: isinstance(names, list) and all(isinstance(name, str) for name in names),
        }
        for name, check in checks.items():
            if name not in log or not check(log[name]):
                raise BadMessage(f"action log: {name} is missing or has a bad value")
        if log["format"] == LOG_FORMAT and log["world"] != label(log["world"]):
            raise BadMessage("action log: world is a path, not a name")
        names, actions = tuple(log["action_names"]), unrolled(log.get("actions"))
        if actions is None:
            raise BadMessage(f"action log: actions is not [[action, count], ...] of at most {MAX_ACTIONS} actions")
        together = log["together"]
        if actions and max(actions) >= (1 << min(len(names) - 1, MOST_NAMES) if together else len(names)):
            raise BadMessage("action log: an action is not among its action_names")
        settings = {name: log[name] for name in ("world", "world_digest", "backend", "precision", "steps", "digest")}
        return cls(**settings, action_names=names, origin=Origin(log["seed"], log["start"]), actions=actions)
