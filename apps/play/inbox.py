"""The commands that wait for the model thread: in order, of a bounded number, and only the newest beginning."""

import threading
from collections import deque
from collections.abc import Callable
from typing import Any

MAX_WAITING = 64
LOADS = ("load", "replay")
"""Commands that begin another world: one that waits is of no use once a newer one has come."""
NEWEST = ("reset", "seek")
"""Commands of which one that waits is of no use once the very next is another one."""

Entry = tuple[dict[str, Any], Any]


class Inbox:
    """A queue of (command, sender) between threads."""

    def __init__(self):
        self._entries: deque[Entry] = deque()
        self._changed = threading.Condition()

    def put(self, command: dict[str, Any], sender: Any, bounded: bool = True) -> bool:
        """Queue a command; False where MAX_WAITING wait already. `bounded` is False for what the app itself sends."""
        with self._changed:
            if command["type"] in LOADS:
                self._remove(lambda entry: entry[0]["type"] in LOADS)
            elif command["type"] in ("alone", "look"):
                self._remove(lambda entry: entry[0]["type"] == command["type"])
            elif command["type"] in NEWEST and self._entries and self._entries[-1][0]["type"] == command["type"]:
                self._entries.pop()
            if bounded and len(self._entries) >= MAX_WAITING:
                return False
            self._entries.append((command, sender))
            self._changed.notify()
            return True

    def get(self, timeout: float | None) -> Entry | None:
        """The oldest entry, after at most `timeout` seconds (None: however long it takes); None where none came."""
        with self._changed:
            self._changed.wait_for(lambda: bool(self._entries), timeout)
            return self._entries.popleft() if self._entries else None

    def forget(self, sender: Any) -> None:
        """Remove what only concerned a page that has gone: its greeting and what it asked for."""
        with self._changed:
            self._remove(lambda entry: entry[1] is sender and entry[0]["type"] in ("hello", "log", "film"))

    def _remove(self, unwanted: Callable[[Entry], bool]) -> None:
        self._entries = deque(entry for entry in self._entries if not unwanted(entry))
