"""Timed texts beside a film: NAME.srt (SubRip); and plain ones: NAME.txt."""

import re
from collections.abc import Sequence
from pathlib import Path

from ...errors import MlxworldError
from ...files import atomic
from ...files.reading import shown

Line = tuple[float, float, str]  # start and end in seconds, text
MOST_BYTES = 16 << 20
_TIMES = re.compile(r"(\d+):(\d\d):(\d\d)[,.](\d{1,3})\s*-->\s*(\d+):(\d\d):(\d\d)[,.](\d{1,3})")


def write_transcript(path: Path, lines: Sequence[Line]) -> None:
    """Writes lines, by their start."""
    blocks = [
        f"{i}\n{_clock(start)} --> {_clock(end)}\n{text}\n"
        for i, (start, end, text) in enumerate(sorted(lines, key=lambda line: line[0]), 1)
    ]
    atomic.write_text(path, "\n".join(blocks))


def read_transcript(path: Path) -> tuple[list[Line], bool]:
    """The lines of an .srt file by their start, and whether they stand so in the file. Lines may overlap: two people
    speak at once. An empty file has none. Raises MlxworldError for a file that is no transcript."""
    text = _read(path, "a transcript")
    lines = []
    for block in filter(None, re.split(r"\n\s*\n", text.replace("\r\n", "\n").strip())):
        times = _TIMES.search(block)
        if times is None:
            raise MlxworldError(f"{path} is no transcript: no times in {shown(block.splitlines()[0], 40)}")
        start, end = (_seconds(times.groups()[i : i + 4]) for i in (0, 4))
        if end < start:
            raise MlxworldError(f"{path}: a line ends before it begins ({times.group()})")
        lines.append((start, end, " ".join(block[times.end() :].split())))
    ordered = sorted(lines, key=lambda line: line[0])
    return ordered, ordered == lines


def read_plain(path: Path) -> str:
    """The text of a .txt file, as it stands. Raises MlxworldError for one that is no text."""
    return _read(path, "a text")


def _read(path: Path, what: str) -> str:
    try:
        if path.stat().st_size > MOST_BYTES:
            raise MlxworldError(f"{path} is larger than {what} can be")
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise MlxworldError(f"{path} cannot be read as text: {error}") from error


def _clock(seconds):
    milliseconds = round(1000 * seconds)
    return (
        f"{milliseconds // 3600000:02d}:{milliseconds // 60000 % 60:02d}:{milliseconds // 1000 % 60:02d},"
        f"{milliseconds % 1000:03d}"
    )


def _seconds(parts):
    hours, minutes, seconds, fraction = parts
    return int(hours) * 3600 + int(minutes) * 60 + int(seconds) + int(fraction.ljust(3, "0")) / 1000
