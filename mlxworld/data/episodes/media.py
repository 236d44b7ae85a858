"""Clips as MP4 files: writing them, and reading anybody's.

Written files hold H.264 (4:2:0, each pixel a 2x2 block, see pixels.py) and FLAC sound at the world's own rate: sound
comes back bit for bit and without an encoder's delay. What is read is cut into steps by time stamps, so picture and
sound stay together whatever the file's own rates are.
"""

import contextlib
import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import av
import numpy as np
from av.error import FFmpegError

from ...errors import MlxworldError
from .pixels import DOUBLE, Scaler, halve, rgb

SUFFIXES = (".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".wmv", ".flv", ".ogv", ".3gp")
_TAG = "mlxworld pixels doubled from {}x{}"
_PHASE = (
    0.6  # a step shows what the file shows this far into it: its own frame at equal rates, the second of two at half
)
_GAP = 0.05  # seconds: sound whose time stamps jump by more than this is put where they say


class ClipWriter:
    """Writes one MP4, frame by frame, in constant memory; the file appears under its name when all of it is written.

    with ClipWriter(path, fps=30, sample_rate=30720) as clip:
        clip.add(frame, sound)    # (H, W, 3) uint8, (S,) float32 in [-1, 1]

    Pictures are area-averaged to `size` (H, W) where it is given. Raises MlxworldError if the file cannot be written
    (no space, no permission); no partial file stays.
    """

    def __init__(self, path: str | os.PathLike, fps: float, sample_rate: int, size: tuple[int, int] | None = None):
        self.path = Path(path)
        self._part = self.path.with_name(f".{self.path.name}.part")
        self._fps, self._rate = Fraction(fps).limit_denominator(1001), sample_rate
        self._size, self._scaler = size, Scaler()
        self._frames = self._samples = 0
        self._file: Any = None

    def __enter__(self) -> "ClipWriter":
        return self

    def add(self, frame: np.ndarray, sound: np.ndarray) -> None:
        """One step: frame (H, W, 3) uint8 and its sound (S,) float32 in [-1, 1]."""
        try:
            picture = rgb(frame) if self._size is None else self._scaler.resize(rgb(frame), self._size)
            self._file = self._file or self._open(picture.height, picture.width)
            picture = self._scaler.double(picture)
            picture.pts = self._frames
            self._file.mux(self._video.encode(picture))
            if len(sound):
                wave = av.AudioFrame.from_ndarray(to_int16(sound)[None], "s16", "mono")
                wave.sample_rate, wave.pts, wave.time_base = self._rate, self._samples, Fraction(1, self._rate)
                self._file.mux(self._audio.encode(wave))
        except (FFmpegError, OSError) as error:
            raise _cannot_write(self.path, error) from error
        self._frames += 1
        self._samples += len(sound)

    def _open(self, H: int, W: int) -> Any:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        file = av.open(str(self._part), "w", format="mp4", options={"movflags": "+faststart"})
        file.metadata["comment"] = _TAG.format(W, H)
        self._video = file.add_stream("libx264", rate=self._fps, options={"preset": "ultrafast", "crf": "10"})
        self._video.width, self._video.height, self._video.pix_fmt = DOUBLE * W, DOUBLE * H, "yuv420p"
        self._video.color_range, self._video.colorspace = 1, 6  # limited range, BT.601
        self._video.thread_count = 1
        self._audio = file.add_stream("flac", rate=self._rate, layout="mono", format="s16")
        return file

    def close(self) -> None:
        """Finish the file and give it its name."""
        if self._file is None:
            raise MlxworldError(f"{self.path}: nothing to write, the clip has no frames")
        try:
            self._file.mux(self._video.encode(None))
            self._file.mux(self._audio.encode(None))
            self._file.close()
            os.replace(self._part, self.path)
        except (FFmpegError, OSError) as error:
            self._part.unlink(missing_ok=True)
            raise _cannot_write(self.path, error) from error

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
            return
        if self._file is not None:
            with contextlib.suppress(FFmpegError, OSError):  # the first error is the one to tell
                self._file.close()
        self._part.unlink(missing_ok=True)


def write_clip(path: str | os.PathLike, video: np.ndarray, audio: np.ndarray, fps: float, sample_rate: int) -> None:
    """Write video (T, H, W, 3) uint8 and audio (T, S) float32 in [-1, 1] as an MP4 that any player shows.

    Raises MlxworldError if lengths differ, a clip is empty, or the file cannot be written.
    """
    if len(video) != len(audio):
        raise MlxworldError(f"{path}: {len(video)} frames of video but {len(audio)} of sound")
    with ClipWriter(path, fps, sample_rate) as clip:
        for frame, sound in zip(video, audio, strict=True):
            clip.add(frame, sound)


def read_clip(
    path: str | os.PathLike, size: tuple[int, int] | None, fps: float, samples: int, sample_rate: int
) -> tuple[np.ndarray, np.ndarray]:
    """Any video file as steps: video (T, *size, 3) uint8 and audio (T, samples) float32 in [-1, 1].

    Pictures are cut centrally to the shape of `size` (H, W) and area-averaged (None keeps the file's own size); sound
    is folded to mono and resampled; a file without sound gives zeros. Raises MlxworldError for a file that is
    missing, empty, truncated, broken or without pictures.
    """
    pairs = list(read_frames(path, size, fps))
    video = np.stack([frame for frame, _ in pairs])
    audio = read_sound(path, sample_rate)
    return video, to_float32(cut(audio, len(video), samples))


def read_frames(path: str | os.PathLike, size: tuple[int, int] | None, fps: float) -> Iterator[tuple[np.ndarray, int]]:
    """Pictures of a file, one per step: (frame (H, W, 3) uint8, number of the file's frame that it shows)."""
    step, shown, number, finish = 0, None, -1, 0.0
    try:
        with av.open(str(path)) as file:
            if not file.streams.video:
                raise MlxworldError(f"{path}: has no picture")
            stream = file.streams.video[0]
            stream.thread_count = 1
            convert = _Converter(file.metadata.get("comment", ""), size)
            start = None
            usual = 1 / float(stream.average_rate or fps)
            for number, frame in enumerate(file.decode(stream)):
                time = number * usual if frame.time is None else frame.time
                start = time if start is None else start
                while shown is not None and (step + _PHASE) / fps < time - start:
                    yield shown, number - 1
                    step += 1
                shown = convert(frame)
                length = float(frame.duration * frame.time_base) if frame.duration and frame.time_base else usual
                finish = time - start + length
            if number + 1 < 0.9 * stream.frames:
                raise MlxworldError(f"{path}: truncated, holds {number + 1} of {stream.frames} frames")
    except (FFmpegError, OSError, ValueError) as error:
        raise _cannot_read(path, error) from error
    if shown is None:
        raise MlxworldError(f"{path}: holds no frame")
    last = max(1, round(finish * fps))
    for _ in range(step, last):
        yield shown, number


class _Converter:
    """Makes (H, W, 3) uint8 of a decoded frame: exactly for files written here, by area averaging for others."""

    def __init__(self, comment: str, size: tuple[int, int] | None):
        self._comment, self._size, self._scaler = comment, size, Scaler()

    def __call__(self, frame: av.VideoFrame) -> np.ndarray:
        turns = round(frame.rotation / 90) % 4
        if frame.format.name == "yuv420p" and self._comment == _TAG.format(
            frame.width // DOUBLE, frame.height // DOUBLE
        ):
            frame = rgb(halve(frame))
        size = h, w = self._size or (frame.height, frame.width)[:: -1 if turns % 2 else 1]
        if turns % 2:
            h, w = w, h
        scale = max(h / frame.height, w / frame.width)
        whole = max(h, round(frame.height * scale)), max(w, round(frame.width * scale))
        image = np.rot90(self._scaler.resize(frame, whole).to_ndarray(), turns)
        top, left = (image.shape[0] - size[0]) // 2, (image.shape[1] - size[1]) // 2
        return np.ascontiguousarray(image[top : top + size[0], left : left + size[1]])


def read_sound(path: str | os.PathLike, sample_rate: int) -> np.ndarray:
    """The sound of a file, mono (N,) int16 at `sample_rate`, from its first picture on; (0,) if it has none."""
    runs: list[tuple[float, list[np.ndarray]]] = []
    try:
        with av.open(str(path)) as file:
            if not file.streams.audio:
                return np.zeros(0, np.int16)
            origin = _start(path)
            expected = None
            resampler = av.AudioResampler("s16", "mono", sample_rate)
            for frame in file.decode(file.streams.audio[0]):
                time = frame.time if frame.time is not None else (expected if expected is not None else origin)
                if expected is None or abs(time - expected) > _GAP:
                    if runs:
                        runs[-1][1].extend(_arrays(resampler.resample(None)))
                        resampler = av.AudioResampler("s16", "mono", sample_rate)
                    runs.append((time - origin, []))
                expected = time + frame.samples / frame.sample_rate
                frame.pts = None
                runs[-1][1].extend(_arrays(resampler.resample(frame)))
            if runs:
                runs[-1][1].extend(_arrays(resampler.resample(None)))
    except (FFmpegError, OSError, ValueError) as error:
        raise _cannot_read(path, error) from error
    return _place(runs, sample_rate)


def _start(path: str | os.PathLike) -> float:
    """Time of a file's first picture, seconds on its own clock."""
    with av.open(str(path)) as file:
        first = next(file.decode(video=0), None) if file.streams.video else None
        return 0.0 if first is None or first.time is None else first.time


def _arrays(frames: list[av.AudioFrame]) -> list[np.ndarray]:
    return [frame.to_ndarray()[0] for frame in frames]


def _place(runs: list[tuple[float, list[np.ndarray]]], sample_rate: int) -> np.ndarray:
    """Runs of sound (start in seconds, pieces) on one line of samples; silence where there is none."""
    pieces = [(round(start * sample_rate), np.concatenate(parts)) for start, parts in runs if parts]
    line = np.zeros(max((start + len(part) for start, part in pieces), default=0), np.int16)
    for start, part in pieces:
        part = part[max(0, -start) :]
        line[max(0, start) : max(0, start) + len(part)] = part
    return line


def cut(line: np.ndarray, T: int, S: int) -> np.ndarray:
    """A line of samples (N,) as T steps of S samples (T, S): the end is cut off or filled with silence."""
    steps = np.zeros((T, S), line.dtype)
    part = line[: T * S]
    steps.reshape(-1)[: len(part)] = part
    return steps


def to_int16(sound: np.ndarray) -> np.ndarray:
    """float32 in [-1, 1] -> int16 (what lies outside is clipped). Sound that was int16 comes back exactly."""
    return np.clip(np.rint(np.asarray(sound, np.float32) * 32768), -32768, 32767).astype(np.int16)


def to_float32(sound: np.ndarray) -> np.ndarray:
    """int16 -> float32 in [-1, 1)."""
    return sound.astype(np.float32) * np.float32(1 / 32768)


def _cannot_read(path: str | os.PathLike, error: Exception) -> MlxworldError:
    path = Path(path)
    if not path.exists():
        return MlxworldError(f"{path}: no such file")
    if path.is_file() and path.stat().st_size == 0:
        return MlxworldError(f"{path}: the file is empty")
    return MlxworldError(f"{path}: not a readable video, broken or truncated ({_reason(error)})")


def _cannot_write(path: Path, error: Exception) -> MlxworldError:
    return MlxworldError(f"{path}: cannot be written ({_reason(error)})")


def _reason(error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error).split("\n")[0] or type(error).__name__).strip()
