"""Real input: episodes on disk, the worlds they come from, and the batches that training sees. numpy and PyAV only."""

from .envs.policies import Policy, make_policy
from .envs.source import Source, Step
from .envs.sources import open_source
from .episodes.bodies import Bodies, easiest, read_bodies, read_scenes
from .episodes.format import (
    DatasetInfo,
    Episode,
    dataset_info,
    episodes,
    read_episode,
    read_info,
    write_episode,
    write_info,
)
from .episodes.frames import FrameStore, open_frames
from .episodes.loader import Clips, clip_starts
from .episodes.media import ClipWriter, read_clip, write_clip

__all__ = [
    "Bodies",
    "FrameStore",
    "ClipWriter",
    "Clips",
    "DatasetInfo",
    "Episode",
    "Policy",
    "Source",
    "Step",
    "clip_starts",
    "dataset_info",
    "easiest",
    "episodes",
    "make_policy",
    "open_frames",
    "open_source",
    "read_bodies",
    "read_clip",
    "read_episode",
    "read_info",
    "read_scenes",
    "write_clip",
    "write_episode",
    "write_info",
]
