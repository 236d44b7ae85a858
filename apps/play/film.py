"""Films of what was shown: MP4 with H.264 and AAC, which every player opens, on the clock of the world.

A recording is written in fragments of half a second: a process that is killed leaves a film of all but the last one.
"""

import logging
import queue
import tempfile
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import VideoReformatter

import mlxworld

LOG = logging.getLogger(__name__)
SIDE = 640
"""Pixels that the longer side of a film has at most, unless a picture is larger: pixels are repeated, not blurred."""
SOUND_RATE = 48000
MAX_WAITING = 300
"""Frames that wait for the encoder before a recording ends: it cannot keep up."""


@dataclass(frozen=True)
class Shape:
    """What is the same for all frames of a film: size (H, W), and how many times as wide as high a pixel is shown."""

    size: tuple[int, int]
    fps: float
    sample_rate: int
    aspect: float = 1.0


class Film:
    """An MP4 file that is being written: `add` frames, then `close`."""

    def __init__(self, path: Path, shape: "Shape", fragments: bool = False):
        """fragments: the file is whole up to the last half second, whatever happens to this process."""
        size, fps, sample_rate = shape.size, shape.fps, shape.sample_rate
        flags = "frag_keyframe+empty_moov+default_base_moof" if fragments else "faststart"
        self._file = av.open(str(path), "w", format="mp4", options={"movflags": flags, "flush_packets": "1"})
        rate = Fraction(fps).limit_denominator(1000)
        scale, self._scaler = max(1, SIDE // max(size)), VideoReformatter()
        self._height, self._width = (side * scale // 2 * 2 for side in size)
        quality = {"crf": "16", "preset": "ultrafast" if fragments else "superfast", "threads": "1"}
        self._video: Any = self._file.add_stream("libx264", rate=rate, options=quality)
        self._video.width, self._video.height, self._video.pix_fmt = self._width, self._height, "yuv420p"
        self._video.codec_context.sample_aspect_ratio = Fraction(shape.aspect).limit_denominator(100)
        self._video.gop_size = max(1, round(fps / 2))
        if fragments:
            self._video.options = quality | {"tune": "zerolatency"}
        self._audio: Any = self._file.add_stream("aac", rate=SOUND_RATE, layout="mono")
        self._audio.bit_rate = 160_000
        self._resampler = av.AudioResampler("fltp", "mono", SOUND_RATE, 1024)
        self._rate, self._samples, self._frames = sample_rate, 0, 0

    def add(self, frame: "mlxworld.Frame") -> None:
        """The next frame and its sound."""
        small = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame.video), "rgb24")
        picture = self._scaler.reformat(small, self._width, self._height, "yuv420p", interpolation="POINT", threads=1)
        picture.pts, picture.time_base = self._frames, 1 / self._video.codec_context.framerate
        self._file.mux(self._video.encode(picture))
        self._frames += 1
        sound = av.AudioFrame.from_ndarray(np.clip(frame.audio, -1, 1)[None].astype(np.float32), "flt", "mono")
        sound.sample_rate, sound.pts, sound.time_base = self._rate, self._samples, Fraction(1, self._rate)
        self._samples += frame.audio.size
        for part in self._resampler.resample(sound):
            self._file.mux(self._audio.encode(part))

    def close(self) -> None:
        """Write what is left."""
        for part in self._resampler.resample(None):
            self._file.mux(self._audio.encode(part))
        for stream in (self._video, self._audio):
            self._file.mux(stream.encode(None))
        self._file.close()


def film(frames: Iterable["mlxworld.Frame"], shape: Shape) -> bytes:
    """A whole film of some frames."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "film.mp4"
        clip = Film(path, shape)
        for frame in frames:
            clip.add(frame)
        clip.close()
        return path.read_bytes()


class Recording:
    """A film of everything that is shown, written to a file by a thread of its own while it goes on."""

    def __init__(self, path: Path, shape: Shape):
        """Raises OSError where the file cannot be made."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path, self.fps, self.frames = path, shape.fps, 0
        self.failure: str | None = None
        self._film = Film(path, shape, fragments=True)
        self._waiting: queue.Queue[mlxworld.Frame | None] = queue.Queue(MAX_WAITING)
        self._thread = threading.Thread(target=self._write, name="recording", daemon=True)
        self._thread.start()

    def add(self, frame: "mlxworld.Frame") -> bool:
        """The next frame; False where the recording has failed, as on a full disk."""
        try:
            self._waiting.put_nowait(frame)
        except queue.Full:
            self.failure = self.failure or "this machine is too slow to record beside the world"
        self.frames += 1
        return self.failure is None

    def finish(self) -> Path:
        """Write what is left and make it a plain film, which opens everywhere at once. Returns where it is."""
        self._waiting.put(None)
        self._thread.join()
        if self.failure is None:
            plain = self.path.with_name(f".{self.path.name}")
            try:
                _remux(self.path, plain)
                plain.replace(self.path)
            finally:
                plain.unlink(missing_ok=True)
        return self.path

    def _write(self) -> None:
        try:
            while (frame := self._waiting.get()) is not None:
                self._film.add(frame)
            self._film.close()
        except Exception as error:  # whatever a codec or a full disk says
            LOG.warning("a recording failed", exc_info=error)
            self.failure = str(error) or type(error).__name__
            while self._waiting.get() is not None:  # `finish` is still to come
                pass


def _remux(source: Path, target: Path) -> None:
    """The same streams in one piece, its table first."""
    options = {"movflags": "faststart"}
    with av.open(str(source)) as old, av.open(str(target), "w", format="mp4", options=options) as new:
        streams = {stream.index: new.add_stream_from_template(stream) for stream in old.streams}
        for packet in old.demux():
            if packet.dts is not None:
                packet.stream = streams[packet.stream.index]
                new.mux(packet)
