"""Pictures as numbers: area averaging, and the colour planes of a video file.

H.264 that every player shows keeps colour at half the resolution (4:2:0), which smears a ball of 2x2 pixels into its
background by up to 80 of 255 levels. So files written here show each pixel as a block of 2x2: every pixel then has a
colour sample of its own, and what is read back differs by a level or two.
"""

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from ...errors import MlxworldError

DOUBLE = 2  # picture file pixels per pixel, along each axis
_MOST_PIXELS = 1 << 26  # of a picture before it is cut

# BT.601, limited range: rows R, G, B; columns Y, Cb, Cr.
_YUV = np.array(
    [[0.299, -0.168736, 0.5], [0.587, -0.331264, -0.418688], [0.114, 0.5, -0.081312]], np.float32
) * np.array([219 / 255, 224 / 255, 224 / 255], np.float32)
_RGB = np.linalg.inv(_YUV).astype(np.float32)
_ZERO = np.array([16.0, 128.0, 128.0], np.float32)


class Scaler:
    """Scales pictures of one size to another; keeps its tables between pictures. Not for several threads at once."""

    def __init__(self):
        self._shrink, self._double = VideoReformatter(), VideoReformatter()

    def resize(self, frame: av.VideoFrame, size: tuple[int, int]) -> av.VideoFrame:
        """To `size` (H, W) and RGB: each new pixel is the mean of the area it covers (stretched if shapes differ)."""
        if frame.format.name == "rgb24" and (frame.height, frame.width) == size:
            return frame
        return self._shrink.reformat(frame, size[1], size[0], "rgb24", interpolation="AREA", threads=1)

    def double(self, frame: av.VideoFrame) -> av.VideoFrame:
        """RGB to the doubled picture in yuv420p."""
        W, H = DOUBLE * frame.width, DOUBLE * frame.height
        return self._double.reformat(frame, W, H, "yuv420p", interpolation="POINT", threads=1)


def fit(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A picture (h, w, 3) uint8 of any size, cut centrally to the shape of `size` (H, W) and area-averaged."""
    return centre(Scaler().resize(rgb(image), covering(image.shape[0], image.shape[1], size)).to_ndarray(), size)


def covering(height: int, width: int, size: tuple[int, int]) -> tuple[int, int]:
    """The least size of this shape that covers `size` (H, W). Raises MlxworldError for one that is too thin."""
    scale = max(size[0] / height, size[1] / width)
    whole = max(size[0], round(height * scale)), max(size[1], round(width * scale))
    if whole[0] * whole[1] > _MOST_PIXELS:
        raise MlxworldError(f"a picture of {width}x{height} is too thin to be cut to {size[1]}x{size[0]}")
    return whole


def centre(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The middle (H, W, 3) of a picture that covers it."""
    top, left = (image.shape[0] - size[0]) // 2, (image.shape[1] - size[1]) // 2
    return np.ascontiguousarray(image[top : top + size[0], left : left + size[1]])


def rgb(image: np.ndarray) -> av.VideoFrame:
    """(H, W, 3) uint8 as a video frame."""
    return av.VideoFrame.from_ndarray(np.ascontiguousarray(image), "rgb24")


def halve(frame: av.VideoFrame) -> np.ndarray:
    """The inverse of `Scaler.double`: a doubled yuv420p picture -> (H, W, 3) uint8."""
    planes = frame.to_ndarray()
    H, W = frame.height // DOUBLE, frame.width // DOUBLE
    yuv = np.empty((H * W, 3), np.float32)
    y = planes[: 2 * H].reshape(H, 2, W, 2).astype(np.uint16)
    yuv[:, 0] = (y[:, 0, :, 0] + y[:, 0, :, 1] + y[:, 1, :, 0] + y[:, 1, :, 1]).reshape(-1) * np.float32(0.25)
    yuv[:, 1:] = planes[2 * H :].reshape(2, H * W).T
    return np.clip((yuv - _ZERO) @ _RGB + 0.5, 0, 255).astype(np.uint8).reshape(H, W, 3)
