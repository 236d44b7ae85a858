"""What a file of anybody's holds: which of its streams can be used, and whether all of it is there."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
from av.error import FFmpegError
from av.stream import Disposition

from ...errors import MlxworldError

# Formats whose headers tell how long a film is; whether they count from its first picture, or from 0 on its clock.
_WITH_LENGTHS = {"mov": True, "avi": False, "matroska": False, "asf": False, "flv": False}
_SLACK = 1.0  # seconds that a header may tell too much


@contextmanager
def reading(path: str | os.PathLike) -> Iterator[Any]:
    """The file, open. What goes wrong inside is one line that names it."""
    try:
        with av.open(os.path.abspath(path)) as file:  # a colon in a relative name would be taken for a protocol
            yield file
    except (FFmpegError, OSError, ValueError) as error:
        path = Path(path)
        if not path.exists():
            raise MlxworldError(f"{path}: no such file") from error
        if path.is_file() and path.stat().st_size == 0:
            raise MlxworldError(f"{path}: the file is empty") from error
        raise MlxworldError(f"{path}: not a readable video, broken or truncated ({reason(error)})") from error


def pictures(file: Any) -> list[Any]:
    """Streams of pictures that can be decoded, cover art left out."""
    return [s for s in file.streams.video if s.codec_context is not None and not _is_cover(s)]


def sounds(file: Any) -> list[Any]:
    """Streams of sound that can be decoded."""
    return [s for s in file.streams.audio if s.codec_context is not None]


def require_whole(path: str | os.PathLike) -> None:
    """Raises MlxworldError for a file that ends before its header says. Packets are asked, not counted: a header counts
    frames that an edit list hides, and some count nothing. Formats without lengths in a header are not asked."""
    with reading(path) as file:
        name = file.format.name.split(",")[0]
        if name not in _WITH_LENGTHS:
            return
        ends: dict[int, float] = {}
        for packet in file.demux():
            stamp = packet.dts if packet.pts is None else packet.pts
            if packet.size and stamp is not None and packet.time_base:
                end = float((stamp + (packet.duration or 0)) * packet.time_base)
                ends[packet.stream_index] = max(end, ends.get(packet.stream_index, end))
        if not ends:
            return
        rates = [(s, float(s.average_rate)) for s in pictures(file) if s.average_rate]
        if name == "avi":  # it tells no durations that survive a cut, and has no edits that hide frames
            spans = [(0.0, s.frames / rate, ends.get(s.index, 0.0)) for s, rate in rates]
        else:
            spans = [
                (float((s.start_time or 0) * s.time_base), float(s.duration * s.time_base), ends.get(s.index, 0.0))
                for s in (*pictures(file), *sounds(file))
                if s.duration and s.time_base
            ]
            if file.duration:
                spans.append(((file.start_time or 0) / av.time_base, file.duration / av.time_base, max(ends.values())))
        usual = max((1 / max(rate, float(s.guessed_rate or 0)) for s, rate in rates), default=0.0)
        for start, seconds, end in spans:
            begin = start if _WITH_LENGTHS[name] else min(start, 0.0)
            if end - begin < seconds - min(0.05 * seconds, _SLACK) - 2 * usual:
                raise MlxworldError(f"{path}: truncated, ends after {max(0.0, end - begin):.1f} of {seconds:.1f} s")


def reason(error: Exception) -> str:
    """What FFmpeg or the system says, in one line."""
    return (getattr(error, "strerror", None) or str(error).split("\n")[0] or type(error).__name__).strip()


def _is_cover(stream: Any) -> bool:
    return bool(stream.disposition & (Disposition.attached_pic | Disposition.timed_thumbnails))
