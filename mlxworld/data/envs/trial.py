"""A recording that its own reader cannot take is refused before the first step of it is played."""

import tempfile

import numpy as np

from ...errors import MlxworldError
from ..episodes.format import DatasetInfo, Episode, dataset_info, read_episode, write_episode, write_info
from ..episodes.media import to_float32


def require_readable(info: DatasetInfo) -> None:
    """Write a tiny recording that takes every action once, and read it back as training will.

    Raises MlxworldError where names, rates or sizes do not come back as they are.
    """
    T = len(info.actions)
    rng = np.random.default_rng(0)
    video = np.full((T, *info.size, 3), 128, np.uint8)
    audio = to_float32(rng.integers(-(2**15), 2**15, (T, info.samples)).astype(np.int16))
    try:
        written = Episode(video, audio, np.stack([info.action_space.encode(i) for i in range(T)]))
        with tempfile.TemporaryDirectory(prefix="mlxworld-trial-") as folder:
            write_info(folder, info)
            write_episode(folder, "trial", written, info)
            found, read = dataset_info(folder), read_episode(folder, "trial")
    except (MlxworldError, OSError, ValueError, TypeError, ArithmeticError) as error:
        raise MlxworldError(f"{info.source}: a recording of it could not be read back ({error})") from error
    same = (
        found == info
        and read.video.shape == video.shape
        and np.array_equal(read.audio, audio)
        and np.array_equal(read.actions, written.actions)
    )
    if not same:
        raise MlxworldError(
            f"{info.source}: a recording of it would not be read back as it is ({info.fps} steps a second of "
            f"{info.samples} samples, {info.size[0]}x{info.size[1]} pixels, actions {', '.join(info.actions)})"
        )
