"""Pictures and films as data URIs."""

import base64
import io
import tempfile
from pathlib import Path

import numpy as np

from mlxworld.data import write_clip


def film_uri(video: np.ndarray, audio: np.ndarray, fps: float, sample_rate: int) -> str:
    """video (T, H, W, 3) uint8 with audio (T, S) as an MP4 (H.264, FLAC) in a data URI."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        write_clip(path, video, audio, fps, sample_rate)
        return _uri("video/mp4", path.read_bytes())


def picture_uri(image: np.ndarray) -> str:
    """(H, W, 3) or (H, W) uint8 as a PNG in a data URI."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG", optimize=True)
    return _uri("image/png", file.getvalue())


def spectrogram(audio: np.ndarray, sample_rate: int) -> np.ndarray:
    """(T, S) -> (bands, columns, 4) uint8: high is up, what is loud is opaque, so that it shows on any ground."""
    from .. import strip

    level = 255 - strip.spectrogram(audio, sample_rate)
    colour = np.array([232, 119, 34], np.uint8)
    return np.concatenate([np.broadcast_to(colour, (*level.shape, 3)), level[..., None]], -1)


def _uri(kind: str, blob: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(blob).decode()}"
