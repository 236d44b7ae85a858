"""Films for the tests: what a world shows, and what a person's camera or editor might have written."""

from fractions import Fraction
from pathlib import Path

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
