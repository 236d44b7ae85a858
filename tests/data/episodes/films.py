"""Films for the tests: what a world shows, and what a person's camera or editor might have written."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np


def moving(T: int, size=(32, 48), seed=0) -> np.ndarray:
    """A bright dot of 2x2 pixels that wanders over a plain red ground: (T, H, W, 3) uint8."""
    rng = np.random.default_rng(seed)
    H, W = size
    video = np.empty((T, H, W, 3), np.uint8)
    video[:] = (144, 72, 17)
    y, x = rng.integers(0, H - 2), rng.integers(0, W - 2)
    for frame in video:
        y, x = (y + rng.integers(-2, 3)) % (H - 2), (x + rng.integers(-2, 3)) % (W - 2)
        frame[y : y + 2, x : x + 2] = 236
    return video


def beeps(T: int, S: int, seed=0) -> np.ndarray:
    """Short tones at random moments and of random loudness: (T, S) float32 in [-1, 1]."""
    rng = np.random.default_rng(seed)
    line, time = np.zeros(T * S, np.float32), np.arange(S) / S
    for start in np.sort(rng.integers(0, max(1, (T - 1) * S), T // 4)):
        line[start : start + S] = rng.uniform(0.2, 0.9) * np.sin(2 * np.pi * 20 * time)
    return line.reshape(T, S)


def camera_film(
    path: Path, video: np.ndarray, fps: float, sound: np.ndarray | None = None, rate=44100, layout="stereo", late=0.0
) -> Path:
    """What other software writes: plain H.264, and AAC sound (N,) of any layout, `late` seconds after the picture."""
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001), options={"crf": "4"})
        stream.height, stream.width, stream.pix_fmt = (*video.shape[1:3], "yuv420p")
        if sound is not None:
            audio = file.add_stream("aac", rate=rate, layout=layout)
            channels = audio.layout.nb_channels
            wave = av.AudioFrame.from_ndarray(np.repeat(sound[None].astype(np.float32), channels, 0), "fltp", layout)
            wave.sample_rate, wave.pts, wave.time_base = rate, round(late * rate), Fraction(1, rate)
            file.mux(audio.encode(wave))
            file.mux(audio.encode(None))
        for picture in video:
            file.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        file.mux(stream.encode(None))
    return path


def loudness(sound: np.ndarray, pieces: int = 1) -> np.ndarray:
    """Root mean square of each frame of sound (T, S), or of each of `pieces` parts of a frame."""
    parts = sound[:, : sound.shape[1] // pieces * pieces].reshape(len(sound) * pieces, -1)
    return np.sqrt((parts.astype(np.float64) ** 2).mean(1))


def writing(path: Path, **options) -> Any:
    """A file to write with PyAV, open."""
    return av.open(str(path), "w", **options)


def turned(path: Path, matrix: tuple[int, int, int, int]) -> Path:
    """The MP4 with another display matrix [a b; c d] of its first track: x' = a x + c y, y' = b x + d y."""
    data = path.read_bytes()
    at = data.index(b"tkhd") + 4 + 40  # of version 0: version, times, number, duration, layer, group, volume
    a, b, c, d = (value << 16 for value in matrix)
    rows = (a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data[:at] + b"".join(x.to_bytes(4, "big", signed=True) for x in rows) + data[at + 36 :])
    return path


def numbered(T: int, size=(32, 32)) -> np.ndarray:
    """Frame t is plain grey, of a level that tells t % 60."""
    levels = (4 * (np.arange(T) % 60) + 10).astype(np.uint8)
    return np.broadcast_to(levels[:, None, None, None], (T, *size, 3)).copy()


def numbers(video: np.ndarray) -> np.ndarray:
    """The t % 60 of each frame of `numbered`."""
    return np.rint((video.mean((1, 2, 3)) - 10) / 4).astype(int)


def remuxed(source: Path, path: Path, stamp=lambda kind, seconds: seconds) -> Path:
    """The same packets in another file, stamped anew: stamp("video" or "audio", seconds) -> seconds."""
    with av.open(str(source)) as old, writing(path) as new:
        streams = {s.index: new.add_stream_from_template(s) for s in old.streams if s.type in ("video", "audio")}
        for packet in old.demux():
            if packet.size:
                base, kind = packet.time_base, packet.stream.type
                for name in ("pts", "dts"):
                    if (value := getattr(packet, name)) is not None:
                        setattr(packet, name, round(stamp(kind, float(value * base)) / float(base)))
                packet.stream = streams[packet.stream_index]
                new.mux(packet)
    return path


def stamped_film(path: Path, video: np.ndarray, sound: np.ndarray, stamp, rate=44100) -> Path:
    """30 pictures a second, and uncompressed sound (N,) in packets of 1,024 samples, packet i stamped stamp(i)."""
    with writing(path) as file:
        stream = file.add_stream("libx264", rate=30)
        stream.height, stream.width, stream.pix_fmt = (*video.shape[1:3], "yuv420p")
        audio = file.add_stream("pcm_s16le", rate=rate, layout="mono")
        for picture in video:
            file.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        for i in range(len(sound) // 1024):
            piece = (sound[1024 * i :][:1024] * 32767).astype(np.int16)
            wave = av.AudioFrame.from_ndarray(piece[None], "s16", "mono")
            wave.sample_rate, wave.time_base, wave.pts = rate, Fraction(1, rate), int(stamp(i))
            file.mux(audio.encode(wave))
        file.mux(stream.encode(None))
        file.mux(audio.encode(None))
    return path
