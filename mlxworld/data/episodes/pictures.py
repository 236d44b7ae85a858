"""The pictures of a file, one a step, by their time stamps; stamps that jump begin another part."""

import os
from collections.abc import Iterator
from typing import Any, NamedTuple

import av
import numpy as np
from av.sidedata.sidedata import Type

from ...errors import MlxworldError
from .container import pictures, reading
from .pixels import DOUBLE, Scaler, centre, covering, halve, rgb

TAG = "mlxworld pixels doubled from {}x{}"  # the comment of a file written here: its width, its height
_PHASE = (
    0.6  # a step shows what the file shows this far into it: its own frame at equal rates, the second of two at half
)
_STILL = 1.0, 10.0  # seconds: how long a picture may stand, at least and at most; between them, three usual frames
_BACK = 0.5  # seconds: a stamp that is earlier by more than this begins anew
_WIDEST = 10  # of a pixel that is not square; what claims more is square


class Step(NamedTuple):
    """One step of a film. A part has no jump in its time stamps."""

    picture: np.ndarray  # (H, W, 3) uint8
    number: int  # of the file's frame that it shows
    part: int
    begin: float  # of the part, in seconds on the file's own clock


def read_frames(path: str | os.PathLike, size: tuple[int, int] | None, fps: float) -> Iterator[Step]:
    """The steps of a film at `fps`, pictures cut centrally to the shape of `size` (H, W) and area-averaged (None keeps
    the size that the file is shown in).

    Raises MlxworldError for a file that is missing, broken or without pictures.
    """
    step = part = 0
    shown, begin, last, length, number = None, 0.0, 0.0, 0.0, -1
    with reading(path) as file:
        streams, best = pictures(file), file.streams.best("video")
        if not streams:
            more = " that can be decoded, or only a cover" if file.streams.video else ""
            raise MlxworldError(f"{path}: has no picture{more}")
        stream = best if best in streams else streams[0]
        stream.thread_count = 1
        convert = _Converter(path, file.metadata.get("comment", ""), size, stream)
        rates = [float(rate) for rate in (stream.guessed_rate, stream.average_rate) if rate]
        usual = pace = 1 / max(rates, default=fps)  # a mean over a jump is no rate; pace: of the two pictures before
        longest = min(max(_STILL[0], 3 * usual), _STILL[1])
        for number, frame in enumerate(file.decode(stream)):
            time = frame.time if frame.time is not None else 0.0 if shown is None else last + length
            if shown is None:
                begin = last = time
            elif not -_BACK < time - last <= longest:
                length = min(length, pace)  # some files hold a jump as the length of the picture before it
                for _ in range(step, max(step + 1, round((last + length - begin) * fps))):
                    yield Step(shown, number - 1, part, begin)
                step, part, begin, last, shown = 0, part + 1, time, time, None
            while shown is not None and (step + _PHASE) / fps < time - begin:
                yield Step(shown, number - 1, part, begin)
                step += 1
            pace = time - last if time > last else pace
            shown, last = convert(frame), max(last, time)
            length = float(frame.duration * frame.time_base) if frame.duration and frame.time_base else pace
            length = min(length, longest)
    if shown is None:
        raise MlxworldError(f"{path}: holds no frame")
    for _ in range(step, max(1, round((last + length - begin) * fps))):
        yield Step(shown, number, part, begin)


class _Converter:
    """Makes (H, W, 3) uint8 of a decoded frame: exactly for files written here, by area averaging for others."""

    def __init__(self, path: str | os.PathLike, comment: str, size: tuple[int, int] | None, stream: Any):
        self._path, self._comment, self._size, self._scaler = path, comment, size, Scaler()
        self._codec, said = stream.codec_context, stream.sample_aspect_ratio
        self._said = None if said == self._codec.sample_aspect_ratio else said  # by the file, whatever its pictures say

    @property
    def _ratio(self) -> float:
        """Width of a pixel by its height: broadcasts change it."""
        ratio = float(self._said or self._codec.sample_aspect_ratio or 1)
        return ratio if 1 / _WIDEST <= ratio <= _WIDEST else 1.0

    def __call__(self, frame: av.VideoFrame) -> np.ndarray:
        turned, across, down = _orientation(frame)
        if frame.format.name == "yuv420p" and self._comment == TAG.format(
            frame.width // DOUBLE, frame.height // DOUBLE
        ):
            frame = rgb(halve(frame))
        height, width = frame.height, max(1, round(frame.width * self._ratio))  # as it is shown, before it is turned
        size = h, w = self._size = self._size or ((width, height) if turned else (height, width))
        if turned:
            h, w = w, h
        try:
            whole = covering(height, width, (h, w))
        except MlxworldError as error:
            raise MlxworldError(f"{self._path}: {error}") from error
        image = self._scaler.resize(frame, whole).to_ndarray()
        image = image.swapaxes(0, 1) if turned else image
        return centre(image[::down, ::across], size)


def _orientation(frame: av.VideoFrame) -> tuple[bool, int, int]:
    """How a frame is shown: rows and columns changed over; then the steps along columns and rows, -1 where mirrored.

    A display matrix [a b; c d] puts the pixel (x, y) at (a x + c y, b x + d y): one of eight orientations."""
    entries: Any = frame.side_data  # a mapping by its type only: it counts and gives its entries like a list
    matrices = [np.frombuffer(bytes(x), np.int32) for x in entries if x.type is Type.DISPLAYMATRIX]
    if not matrices:
        return False, 1, 1
    a, b, _, c, d = matrices[0][:5].astype(np.int64)
    turned = abs(b) + abs(c) > abs(a) + abs(d)
    across, down = (c, b) if turned else (a, d)
    return bool(turned), -1 if across < 0 else 1, -1 if down < 0 else 1
