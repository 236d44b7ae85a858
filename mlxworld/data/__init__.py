"""Real input: episodes on disk, the worlds they come from, and the batches that training sees. numpy and PyAV only."""

from .cache import Cache, open_cache
from .format import DatasetInfo, Episode, dataset_info, episodes, read_episode, read_info, write_episode, write_info
from .loader import Clips, clip_starts
from .media import ClipWriter, read_clip, write_clip
from .policies import Policy, make_policy
from .sources import Source, Step, open_source

__all__ = [
    "Cache",
    "ClipWriter",
    "Clips",
    "DatasetInfo",
    "Episode",
    "Policy",
    "Source",
    "Step",
    "clip_starts",
    "dataset_info",
    "episodes",
    "make_policy",
    "open_cache",
    "open_source",
    "read_clip",
    "read_episode",
    "read_info",
    "write_clip",
    "write_episode",
    "write_info",
]
