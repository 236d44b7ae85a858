"""What travels on the socket, as pure functions: JSON commands from the page, binary frames to it.

A frame is a 48-byte little-endian header, the sound, then the picture:

    offset  type  field
    0       u8    kind         0 a frame of the world; thumbnails of 1 a moment, 2 a branch, 4 a world on offer;
                               3 the frame of what plays beside, at the same moment as the next frame of kind 0
    1       u8    flags        bit 0: does not follow from the frame before (reset, restore ...); bit 1: replayed
    2       u16   action       index of the action that led to this frame
    4       u32   serial       counts the frames sent; a gap is a frame that this client was too slow for
    8       u32   index        frame number in the world since its start clip
    12      u32   ident        number of the moment, branch or world (kinds 1, 2 and 4)
    16      u16   height, width
    20      u32   samples
    24      f32   model_ms, encode_ms
    32      f64   time         seconds in the world: index / fps; picture and sound both begin here
    40      f64   key          the page's own clock, in ms, when it sent the newest key used here; NaN for none
    48      f32   sound        (samples,) in [-1, 1]
            u8    picture      (height, width, 3) RGB, raw: on a loopback socket packing it would cost more than sending
"""

import json
import math
import re
import struct
import unicodedata
from collections.abc import Callable
from time import perf_counter
from typing import Any

import mlxworld

HEADER = struct.Struct("<BBHIIIHHIffdd")
FRAME, MOMENT, BRANCH, BESIDE, OFFER = range(5)
CUT, REPLAYED = 1, 2
MAX_MESSAGE = 4 * 1024 * 1024
"""Longest message in characters: the longest action log fits a replay, however its actions change."""
MAX_COMMAND = 64 * 1024
"""Longest message that holds neither a log nor a picture, in characters."""
MAX_TEXT = 200
"""Longest text of an error, in characters."""


class BadMessage(Exception):
    """A message that the page would never send; `str(error)` says what is wrong with it."""


def pack(
    frame: "mlxworld.Frame",
    fps: float,
    *,
    kind: int = FRAME,
    flags: int = 0,
    action: int = 0,
    serial: int = 0,
    ident: int = 0,
    key: float | None = None,
) -> bytes:
    """One frame as bytes, laid out as the head of this file says. `key` is in milliseconds of the page's clock."""
    began = perf_counter()
    height, width = frame.video.shape[:2]
    sound = frame.audio.tobytes() if kind in (FRAME, BESIDE) else b""
    picture = frame.video.tobytes()
    encode_ms = (perf_counter() - began) * 1e3
    key = math.nan if key is None else key
    sizes = (serial, frame.index, ident, height, width, len(sound) // 4)
    header = HEADER.pack(kind, flags, action, *sizes, frame.model_ms, encode_ms, frame.index / fps, key)
    return b"".join((header, sound, picture))


def kind_of(packed: bytes) -> tuple[int, int]:
    """Kind and ident of a packed frame."""
    return packed[0], int.from_bytes(packed[12:16], "little")


def error(text: object, **fields: Any) -> dict[str, Any]:
    """The message of an error. `text` becomes one line, as `one_line` says; `fields` are sent with it."""
    return {"type": "error", "text": one_line(text), **fields}


def one_line(text: object) -> str:
    """The first line of `str(text)` that is not empty, without control characters, of at most MAX_TEXT characters.

    An object that has no text, such as an exception raised without one, is named by its class.
    """
    try:
        lines = str(text).splitlines()
    except Exception:  # a __str__ of others that fails
        lines = []
    shortened = (" ".join(printable(line[:2000]).split()) for line in lines)
    line = next(filter(None, shortened), type(text).__name__)
    return line if len(line) <= MAX_TEXT else line[: MAX_TEXT - 1] + "…"


def printable(text: str) -> str:
    """The text with a space for every control character but the newline: it cannot colour or clear a terminal."""
    return "".join(c if c == "\n" or unicodedata.category(c)[0] != "C" else " " for c in text)


def is_whole(low: int, high: int) -> Callable[[Any], bool]:
    """A check: a whole number from `low` to `high`, both included."""

    def check(value: Any) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high

    return check


def is_text(value: Any) -> bool:
    """A check: a text of 1 to 256 characters."""
    return isinstance(value, str) and 0 < len(value) <= 256


def is_path(value: Any) -> bool:
    """A check: a text no longer than a path may be."""
    return isinstance(value, str) and 0 < len(value) <= 4096


def is_picture(value: Any) -> bool:
    """A check: a text that can be the base64 of a picture."""
    return isinstance(value, str) and len(value) % 4 == 0 and bool(_BASE64.fullmatch(value))


def is_flag(value: Any) -> bool:
    """A check: true or false."""
    return isinstance(value, bool)


def is_passes(value: Any) -> bool:
    """A check: denoising passes of a frame, of any world."""
    return is_whole(1, 65536)(value)


def maybe(check: Callable[[Any], bool]) -> Callable[[Any], bool]:
    """A check: None, or what `check` accepts."""
    return lambda value: value is None or check(value)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e15


_BASE64 = re.compile(r"[A-Za-z0-9+/]+={0,2}")
IDENT = {"ident": is_whole(1, 2**31)}
COMMANDS: dict[str, dict[str, Callable[[Any], bool]]] = {
    "act": {"action": is_whole(0, 65535), "stamp": _number},  # the action held now
    "seen": {},  # one more frame has arrived: flow control
    "take": {},  # take the controls from the page that has them
    "run": {"on": is_flag},
    "pilot": {"on": is_flag},  # an agent plays, until somebody presses a key
    "bodies": {"on": is_flag},  # show what is known of the bodies: place, velocity, energy, plausibility
    "step": {},  # one frame while paused
    "reset": {"seed": is_whole(0, 2**32 - 1), "start": maybe(is_whole(0, 2**31))},
    "rewind": {},
    "seek": {"index": is_whole(0, 2**31)},  # show this frame of the last minute, and go on from there
    "undo": {},  # back to where the world was before it last jumped
    "beside": {"what": maybe(lambda value: value in ("real", "future"))},  # play the real game, or a second future
    "sync": {},  # dream on from where the real game is
    "swap": {},  # play the other future
    "picture": {"picture": is_picture},  # begin from a picture: (H, W, 3) RGB of the world's size, base64
    "film": {"seconds": is_whole(1, 60)},  # ask for a film of what was shown last
    "record": {"on": is_flag},
    "save": {},
    "restore": IDENT,
    "forget": IDENT,
    "fork": {},
    "switch": IDENT,
    "close": IDENT,
    "load": {
        "world": is_path,
        "backend": maybe(is_text),
        "steps": maybe(is_passes),
        "precision": maybe(is_text),
    },
    "log": {},  # ask for the action log
    "replay": {"log": lambda value: isinstance(value, dict)},
    "stop": {},  # stop the replay and play on from here
}

_LONG = re.compile(r'\s*{\s*"type"\s*:\s*"(replay|picture)"')


def parse(text: str) -> dict[str, Any]:
    """A command of the page as a dict whose fields are exactly those of COMMANDS, or BadMessage."""
    limit = MAX_MESSAGE if _LONG.match(text) else MAX_COMMAND
    if len(text) > limit:
        raise BadMessage(f"message of {len(text)} characters: at most {limit} are read")
    try:
        command = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadMessage("message is not JSON") from error
    if not isinstance(command, dict) or not isinstance(command.get("type"), str):
        raise BadMessage("message is not an object with a type")
    fields = COMMANDS.get(command["type"])
    if fields is None:
        raise BadMessage(f"unknown message type {command['type'][:32]!r}")
    if set(command) != {"type", *fields}:
        raise BadMessage(f"{command['type']} takes exactly these fields: {', '.join(fields) or 'none'}")
    for name, check in fields.items():
        if not check(command[name]):
            raise BadMessage(f"{command['type']}: bad value for {name}")
    return command
