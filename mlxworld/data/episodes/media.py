"""Clips as MP4 files: writing them, and reading anybody's.

Written files hold H.264 (4:2:0, each pixel a 2x2 block, see pixels.py) and FLAC sound at the world's own rate: sound
comes back bit for bit and without an encoder's delay. What is read is cut into steps by time stamps, so picture and
sound stay together whatever the file's own rates are.
"""

import contextlib
import os
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import av
import numpy as np
from av.error import FFmpegError

from ...configs.world import require_rates
from ...errors import MlxworldError
from .container import reason, require_whole
from .pictures import TAG, read_frames
from .pixels import DOUBLE, Scaler, rgb
from .sound import Span, grow, read_sound


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
        file = av.open(os.path.abspath(self._part), "w", format="mp4", options={"movflags": "+faststart"})
        file.metadata["comment"] = TAG.format(W, H)
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
    path: str | os.PathLike, size: tuple[int, int] | None, fps: float, samples: int
) -> tuple[np.ndarray, np.ndarray]:
    """Any video file as steps: video (T, *size, 3) uint8 and audio (T, samples) float32 in [-1, 1].

    Pictures are cut centrally to the shape of `size` (H, W) and area-averaged (None keeps the file's own size); sound
    is folded to mono and resampled; a file without sound gives zeros. Where time stamps jump by seconds, nothing is put
    between the pictures. Raises MlxworldError for a file that is
    missing, empty, truncated, broken or without pictures.
    """
    return read_film(path, size, fps, samples)[:2]


def read_film(
    path: str | os.PathLike, size: tuple[int, int] | None, fps: float, samples: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """As `read_clip`, and (T,) the number of the file's frame that each step shows."""
    require_rates(fps, samples, size or (1, 1), str(path))
    require_whole(path)
    frames, numbers = [], []
    spans: list[Span] = []
    for step in read_frames(path, size, fps):
        frames.append(step.picture)
        numbers.append(step.number)
        grow(spans, step)
    sound, _ = read_sound(path, spans, fps, samples)
    audio = np.zeros((len(frames), samples), np.float32) if sound is None else to_float32(sound)
    return np.stack(frames), audio, np.array(numbers)


def to_int16(sound: np.ndarray) -> np.ndarray:
    """float32 in [-1, 1] -> int16 (what lies outside is clipped). Sound that was int16 comes back exactly."""
    return np.clip(np.rint(np.asarray(sound, np.float32) * 32768), -32768, 32767).astype(np.int16)


def to_float32(sound: np.ndarray) -> np.ndarray:
    """int16 -> float32 in [-1, 1)."""
    return sound.astype(np.float32) * np.float32(1 / 32768)


def _cannot_write(path: Path, error: Exception) -> MlxworldError:
    return MlxworldError(f"{path}: cannot be written ({reason(error)})")
