"""What waits to be sent to one page. Pure data: knows neither sockets nor threads.

What describes the present (the world, its state, its bodies, who has the controls, loading) waits once for each kind: a
newer message takes the place of an older one, so that a page which stops reading and reads on later sees the present.
What happened (errors, the end of a replay, action logs) waits in a queue that loses its oldest entries when it is full.
"""

import json
from collections import deque

from . import wire

PRESENT = ("control", "loading", "world", "state", "physics")
MAX_NOTES = 64
MAX_LOGS = 4
MAX_FRAMES = 4


class Outbox:
    """Messages in the order in which they were posted, then frames.

    Holds at most one message of each kind of PRESENT, the newest frame of what plays beside, a thumbnail of each moment
    and branch that the last state names and of each world on offer,
    MAX_NOTES other messages with MAX_LOGS action logs among them, and MAX_FRAMES frames, all of one world.
    """

    def __init__(self):
        self._messages: dict[tuple, dict | bytes] = {}  # by what they replace, the one posted last at the end
        self._frames: deque[bytes] = deque(maxlen=MAX_FRAMES)
        self._opened: int | None = None  # which world the frames are of
        self._notes = 0  # ever posted

    def post(self, message: dict | bytes) -> None:
        """Take in a message that `json` can write, or a frame as `wire.pack` gives it."""
        if isinstance(message, bytes):
            kind, ident = wire.kind_of(message)
            if kind == wire.FRAME:
                self._frames.append(message)
            elif kind == wire.BESIDE:
                self._put(("beside",), message)
            else:
                self._put(("thumbnail", kind, ident), message)
            return
        kind = message["type"]
        if kind in PRESENT:
            self._put((kind,), message)
        else:
            self._notes += 1
            self._put(("note", kind, self._notes), message)
            self._trim(("note", "log"), MAX_LOGS)
            self._trim(("note",), MAX_NOTES)
        if kind == "world":
            self._messages.pop(("loading",), None)
            if message["opened"] != self._opened:
                self._opened = message["opened"]
                self._frames.clear()
                self._messages.pop(("beside",), None)
        elif kind == "state":
            shelves = {wire.MOMENT: message["moments"], wire.BRANCH: message["branches"]}
            shown = {("thumbnail", shelf, item["ident"]) for shelf, items in shelves.items() for item in items}
            for key in self._keys(("thumbnail",)):
                if key[1] in shelves and key not in shown:
                    del self._messages[key]

    def pop(self, frames: bool = True) -> str | bytes | None:
        """The next to be sent, taken out; None where nothing waits. `frames`: whether frames may be sent now."""
        if self._messages:
            message = self._messages.pop(next(iter(self._messages)))
            return message if isinstance(message, bytes) else json.dumps(message)
        return self._frames.popleft() if frames and self._frames else None

    def _put(self, key: tuple, message: dict | bytes) -> None:
        self._messages.pop(key, None)
        self._messages[key] = message

    def _keys(self, beginning: tuple) -> list[tuple]:
        return [key for key in self._messages if key[: len(beginning)] == beginning]

    def _trim(self, beginning: tuple, limit: int) -> None:
        for key in self._keys(beginning)[:-limit]:
            del self._messages[key]
