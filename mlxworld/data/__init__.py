"""Real input: episodes on disk, the worlds they come from, and the batches that training sees. numpy and PyAV only."""

from .format import DatasetInfo, Episode, dataset_info, episodes, read_episode, read_info, write_episode, write_info
from .media import ClipWriter, read_clip, write_clip

__all__ = [
    "ClipWriter",
    "DatasetInfo",
    "Episode",
    "dataset_info",
    "episodes",
    "read_clip",
    "read_episode",
    "read_info",
    "write_clip",
    "write_episode",
    "write_info",
]
