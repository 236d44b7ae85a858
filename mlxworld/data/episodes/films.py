"""Somebody's film with the keys that were pressed, put into a dataset's folder as an episode.

A file of keys is a csv in one of three forms:

    step, action        one row for each frame of the film, as beside every episode; "step" may be left out
    time, action        from this second of the film on the action is this
    time, key, down     a key goes down (1) or up (0) at this second; actions are named by the keys held, "left+jump"
"""

import bisect
import math
import os
import shutil
from pathlib import Path

from ...errors import MlxworldError
from ...files import atomic
from ...files.reading import shown
from .actions import read_names, table, write_names
from .container import pictures, reading, require_whole
from .format import NOOP

_DOWN = {**dict.fromkeys(("1", "true", "down"), True), **dict.fromkeys(("0", "false", "up"), False)}


def add_film(film: Path, keys: Path | None, folder: Path) -> Path:
    """The film as an episode of the dataset's folder, with its actions if there are keys; returns its place there.

    One that is there already, of the same size, stays. Raises MlxworldError for a film or keys that cannot be used.
    """
    require_whole(film)
    there = folder / film.name
    names = [] if keys is None else film_actions(film, keys)
    if not (there.is_file() and there.stat().st_size == film.stat().st_size):
        with atomic.writing(there) as part:
            try:
                os.link(film.resolve(), part)  # no second copy, where the disk allows it
            except OSError:
                shutil.copyfile(film, part)
    if names:
        write_names(there, names)
    return there


def film_actions(film: Path, keys: Path) -> list[str]:
    """The action of each frame of a film, by a file of keys. Raises MlxworldError for a file of another form."""
    columns, *rows = table(keys)
    rows = [row for row in rows if any(cell.strip() for cell in row)]
    times = frame_times(film)
    if "time" not in columns:
        names = read_names(keys)
        if len(names) != len(times):
            raise MlxworldError(f"{keys}: {len(names)} rows, but {film} has {len(times)} frames")
        return names
    if sorted(columns) == ["action", "time"]:
        events = [(_seconds(keys, row, columns), _cell(keys, row, columns, "action")) for row in rows]
        changes = sorted(events, key=lambda event: event[0])
    elif sorted(columns) == ["down", "key", "time"]:
        changes = _held(keys, columns, rows)
    else:
        raise MlxworldError(f"{keys}: needs the columns step, action, or time, action, or time, key, down")
    begins = [time for time, _ in changes]
    latest = [bisect.bisect_right(begins, time + 1e-6) for time in times]
    return [changes[i - 1][1] if i else NOOP for i in latest]


def frame_times(film: Path) -> list[float]:
    """Seconds from its first picture at which a film's pictures are shown, in order."""
    with reading(film) as file:
        streams = pictures(file)
        if not streams:
            raise MlxworldError(f"{film}: has no picture")
        best = file.streams.best("video")
        packets = list(file.demux(best if best in streams else streams[0]))
        stamps = sorted(p.pts * p.time_base for p in packets if p.pts is not None and p.size)
    if not stamps:
        raise MlxworldError(f"{film}: its pictures have no time stamps")
    return [float(stamp - stamps[0]) for stamp in stamps]


def _held(keys: Path, columns: list[str], rows: list[list[str]]) -> list[tuple[float, str]]:
    """From when on which keys are held."""
    events = []
    for row in rows:
        down = _cell(keys, row, columns, "down").lower()
        if down not in _DOWN:
            raise MlxworldError(f"{keys}: down is 1 or 0, not {shown(down)}")
        events.append((_seconds(keys, row, columns), _cell(keys, row, columns, "key"), _DOWN[down]))
    held: list[str] = []
    changes = []
    for time, key, down in sorted(events, key=lambda event: event[0]):
        held = [k for k in held if k != key] + ([key] if down else [])
        changes.append((time, "+".join(sorted(held)) or NOOP))
    return changes


def _cell(keys: Path, row: list[str], columns: list[str], name: str) -> str:
    place = columns.index(name)
    cell = row[place].strip() if place < len(row) else ""
    if not cell or not cell.isprintable() or len(row) > len(columns):
        raise MlxworldError(f"{keys}: {shown(row)} is no row of {', '.join(columns)}")
    return cell


def _seconds(keys: Path, row: list[str], columns: list[str]) -> float:
    cell = _cell(keys, row, columns, "time")
    try:
        seconds = float(cell)
    except ValueError:
        seconds = math.nan
    if not math.isfinite(seconds):
        raise MlxworldError(f"{keys}: {shown(cell)} is no number of seconds")
    return seconds
