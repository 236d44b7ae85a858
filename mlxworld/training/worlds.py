"""What the recipes of all worlds share: episodes as data, a mean frame, start clips, samples of their dreams."""

import hashlib
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..configs.world import WorldConfig
from ..data import DatasetInfo, FrameStore, open_frames
from ..errors import MlxworldError
from .latents import start_clips
from .recipe import Recipe
from .samples import sample
from .settings import TrainConfig

if TYPE_CHECKING:
    from .run import Run

RECORDED = ("pong", "jumper", "doom", "bounce")  # datasets that are recorded if they are not there
CONTEXT = 16  # frames of a start clip, and what a sample sees before it dreams


class WorldRecipe(Recipe):
    """A family whose model is a world: pictures with sound and actions in, the next ones out (see `play/player.py`)."""

    from_data = ("family", "fps", "sample_rate", "samples", "actions", "buttons", "axes")

    def __init__(self, cfg: TrainConfig, frames: FrameStore | None = None):
        """frames: the dataset, if it is open already."""
        super().__init__(cfg)
        self.frames = open_dataset(cfg) if frames is None else frames
        require_lengths(cfg, self.frames)
        tell_short(cfg, self.frames)
        info = self.frames.info
        self.config = cfg.config.fitted(info.action_space, info.fps, info.sample_rate, info.samples)
        self.mean_frame = mean_frame(self.frames)
        self.identity = identity(self.frames, self.mean_frame)
        hours = round(len(self.frames.actions) / info.fps / 3600, 3)
        data = {
            "source": info.source,
            "frames": len(self.frames.actions),
            "episodes": len(self.frames.names),
            "hours": hours,
            "aspect": info.aspect,
        }
        self.card = {"data": data, "licence": info.licence}

    @classmethod
    def rehearsed(cls, cfg: TrainConfig) -> "WorldRecipe":
        """The recipe over random frames of the model's shapes: for measuring how fast it trains."""
        return cls(cfg, random_frames(cfg.config))

    def require(self, identity: dict[str, Any]) -> None:
        self.frames.info.require_actions(identity.get("actions", ()))
        super().require(identity)

    def sample(self, run: "Run", path: Path, context: int | None = CONTEXT) -> None:
        """A clip of the dataset beside what the model makes of it: see `samples.sample`."""
        sample(run.package, run.model, self.frames, path, context=context, seed=self.cfg.seed)

    def files(self, run: "Run") -> Mapping[str, Mapping[str, Any]]:
        return {"starts.safetensors": start_clips(run.package, run.model, self.frames, CONTEXT)}


def random_frames(config: WorldConfig, rows: int = 512) -> FrameStore:
    """An episode of noise."""
    rng, c = np.random.default_rng(0), config
    info = DatasetInfo(c.fps, c.samples, (c.size, c.size), c.actions, "random", buttons=c.buttons, axes=c.axes)
    video = rng.integers(0, 256, (rows, c.size, c.size, 3), np.uint8)
    audio = rng.integers(-(2**12), 2**12, (rows, c.samples), np.int16)
    actions = np.stack([c.action_space.encode(i) for i in rng.integers(0, len(c.actions), rows)])
    return FrameStore(info, video, audio, actions, np.array([0, rows]), ("random",), (), ())


def open_dataset(cfg: TrainConfig) -> FrameStore:
    """The decoded dataset of --data; a named world is recorded first if its folder is not there."""
    folder = dataset_folder(cfg)
    if lies_inside(cfg.out, folder):
        raise MlxworldError(
            f"--out {cfg.out} lies inside the dataset {folder}: a run must not learn from its own dreams"
        )
    if not folder.is_dir():
        _record(cfg, folder)
    return open_frames(folder, size=cfg.config.size, cache=cfg.cache)


def dataset_folder(cfg: TrainConfig) -> Path:
    """Where the dataset of --data is, or will be. Raises MlxworldError for what is neither a folder nor a world."""
    if Path(cfg.data).is_dir():
        return Path(cfg.data)
    if cfg.data not in RECORDED:
        raise MlxworldError(f"no dataset at {cfg.data}: give a folder, or {', '.join(RECORDED)}")
    return Path("data") / cfg.data


def lies_inside(path: Path, folder: Path) -> bool:
    """Whether a path is a folder or lies in it, or in one that is linked there, however either is spelt."""
    above = [p.resolve() for p in (path, *path.resolve().parents)]
    if folder.resolve() in above:
        return True
    within, left = set(), [folder] if folder.is_dir() else []
    while left:
        each, left = left[0], left[1:]
        if (number := _number(each)) not in within:
            within.add(number)
            left += [entry for entry in each.iterdir() if entry.is_dir()]
    return any(_number(p) in within for p in above if p.exists())


def _number(path: Path) -> tuple[int, int]:
    """What a file system knows a file by: the same through links and in any case of letters."""
    stat = path.stat()
    return stat.st_dev, stat.st_ino


def _record(cfg: TrainConfig, folder: Path) -> None:
    from .. import record

    part = folder.with_name(f".{folder.name}.part")  # or a killed recording would pass for a whole one
    shutil.rmtree(part, ignore_errors=True)
    size = str(cfg.config.size)
    record.main([cfg.data, "--out", str(part), "--steps", str(cfg.record_steps), "--size", size, "--across"])
    part.rename(folder)


def require_lengths(cfg: TrainConfig, frames: FrameStore) -> None:
    """Raises MlxworldError unless an episode is as long as the longest clip, and longer than a start clip."""
    wanted = {f"--{name}.frames {max(s.frames)}": max(s.frames) for name, s in cfg.stages() if s.steps}
    wanted[f"a world's start clip ({CONTEXT} frames and one more)"] = CONTEXT + 1
    for what, length in wanted.items():
        if length > frames.longest:
            longest = f"the longest of {len(frames.names)} has {frames.longest} frames"
            raise MlxworldError(f"no episode of {cfg.data} is long enough for {what}: {longest}")


def tell_short(cfg: TrainConfig, frames: FrameStore) -> None:
    """Says which episodes are too short for a clip, once for each length of clips that leaves out others."""
    lengths, excluded = np.diff(frames.offsets), 0
    for clip in sorted({frame for _, s in cfg.stages() if s.steps for frame in s.frames}):
        short = lengths < clip
        if short.sum() > excluded:
            excluded = short.sum()
            print(
                f"{cfg.data}: {excluded} of {len(lengths)} episodes ({lengths[short].sum():,} frames) are shorter "
                f"than a clip of {clip} and are not used in one",
                file=sys.stderr,
            )


def mean_frame(frames: FrameStore) -> np.ndarray:
    """The mean (H, W, 3) float32 in [0, 1] of 512 frames from all over the dataset."""
    rows = np.linspace(0, len(frames.video) - 1, 512).astype(int)
    return (frames.video[rows].mean(axis=0) / 255).astype(np.float32)


def identity(frames: FrameStore, mean: np.ndarray) -> dict[str, Any]:
    """The dataset's facts, and a digest of what it holds."""
    arrays = (frames.offsets, frames.actions, mean)
    digest = hashlib.sha256(b"".join(np.ascontiguousarray(x).tobytes() for x in arrays))
    info = frames.info
    facts = {"actions": list(info.actions), "fps": info.fps, "samples": info.samples, "frames": len(frames.actions)}
    return facts | {"digest": digest.hexdigest()[:16]}
