"""A dataset on disk: a folder anyone can open.

    dataset.json          what all episodes share: rates, size, action names, source, licence
    NAME.mp4              picture and sound of one episode
    NAME.actions.csv      one row per frame: step, action; the action is the one that led to the frame. Of buttons and
                          axes a column each holds the number, and the name is the nearest one
    NAME.state.npz        exact state of the world, one row per frame, where the source knows it; `rare` in it are the
                          moments that seldom come, which training may draw more often

A folder of somebody's own videos is a dataset too: without dataset.json the action names come from the csv files, and
without those there is the one action "noop".
"""

import contextlib
import json
import os
import zipfile
import zlib
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ...configs.actions import ActionSpace
from ...configs.load import from_dict
from ...configs.world import FASTEST, require_rates
from ...errors import MlxworldError
from ...files import atomic
from ...files.reading import open_regular, read_json, shown
from .actions import actions_file, has_rows, read_actions, read_names, write_actions
from .folder import SUFFIXES, listing
from .media import read_film, write_clip

VERSION = 1
NOOP = "noop"
MOST_ASPECT = 4  # times as wide as high, or as high as wide
DEFAULT_FPS, DEFAULT_SAMPLES, DEFAULT_SIZE = 30, 1024, (128, 128)


@dataclass(frozen=True)
class DatasetInfo:
    """What all episodes of a dataset share (`dataset.json`). Sound has `fps * samples` samples a second."""

    fps: int | float
    samples: int
    size: tuple[int, int]
    actions: tuple[str, ...] = (NOOP,)
    source: str = ""
    licence: str = ""
    recording: dict[str, Any] = field(default_factory=dict)
    buttons: tuple[str, ...] = ()  # with axes: what each action is made of, beside its name
    axes: tuple[str, ...] = ()
    aspect: int | float = 1  # how many times as wide as high a pixel is to be shown
    version: int = VERSION

    @property
    def action_space(self) -> ActionSpace:
        """What an action is."""
        return ActionSpace(self.actions, self.buttons, self.axes)

    @property
    def sample_rate(self) -> int:
        """Samples a second."""
        return round(self.fps * self.samples)

    def require_actions(self, names: tuple[str, ...] | list[str]) -> None:
        """Raises MlxworldError unless the dataset's actions are these, in this order."""
        if tuple(names) != self.actions:
            raise MlxworldError(
                f"the dataset of {self.source} has the actions {', '.join(self.actions)}, "
                f"but {', '.join(names)} are needed"
            )


@dataclass(frozen=True)
class Episode:
    """video (T, H, W, 3) uint8, audio (T, S) float32 in [-1, 1], actions (T,) int32 or rows (T, A) float32 of buttons
    and axes, state {name: (T, ...)}."""

    video: np.ndarray
    audio: np.ndarray
    actions: np.ndarray
    state: dict[str, np.ndarray] = field(default_factory=dict)


def write_info(folder: str | os.PathLike, info: DatasetInfo) -> None:
    """Write `dataset.json`, whole or not at all."""
    folder = Path(folder)
    entries = asdict(info) | {"sample_rate": info.sample_rate}
    atomic.write(folder / "dataset.json", (json.dumps(entries, indent=2) + "\n").encode())


def read_info(folder: str | os.PathLike) -> DatasetInfo | None:
    """Read `dataset.json`; None if the folder has none. Raises MlxworldError if it is missing, broken or newer."""
    folder = Path(folder)
    if not folder.is_dir():
        raise MlxworldError(f"{folder}: no such folder")
    path = folder / "dataset.json"
    if not path.exists():
        return None
    entries = read_json(path)
    version = entries.get("version", VERSION) if isinstance(entries, dict) else VERSION
    if type(version) is int and version > VERSION:
        raise MlxworldError(f"{path}: version {version} is newer than this mlxworld reads ({VERSION})")
    info = from_dict(DatasetInfo, entries, str(path))
    require_info(info, str(path))
    if (rate := entries.get("sample_rate", info.sample_rate)) != info.sample_rate:
        raise MlxworldError(f"{path}: sample_rate is {shown(rate)}, but fps times samples {info.sample_rate}")
    return info


def require_info(info: DatasetInfo, source: str) -> None:
    """Raises MlxworldError, naming `source`, for rates, sizes or names that no dataset has."""
    require_rates(info.fps, info.samples, info.size, source)
    if not MOST_ASPECT >= info.aspect >= 1 / MOST_ASPECT:
        raise MlxworldError(f"{source}: aspect must be from 1/{MOST_ASPECT} to {MOST_ASPECT}, not {shown(info.aspect)}")
    wrong = [n for n in (*info.actions, *info.buttons, *info.axes) if not n or not n.isprintable()]
    if wrong or not info.actions:
        raise MlxworldError(f"{source}: {shown(wrong[0]) if wrong else 'nothing'} is no name of an action")
    if len(set(info.actions)) < len(info.actions):
        twice = next(name for name in info.actions if info.actions.count(name) > 1)
        raise MlxworldError(f"{source}: the action {shown(twice)} is there twice")


def episodes(folder: str | os.PathLike) -> list[Path]:
    """The films of a dataset in order of name, folders within it included; hidden ones and trainings are not."""
    return list(listing(folder).films)


def dataset_info(
    folder: str | os.PathLike, fps: float | None = None, size: tuple[int, int] | None = None
) -> DatasetInfo:
    """What a folder's clips are read as: its dataset.json, or else 30 steps a second of 1,024 samples at 128x128.

    `fps` and `size` replace the folder's own; the sound keeps its number of samples per step where it can: at another
    fps the sample rate stays and the samples change (it must divide).
    """
    if fps is not None and (type(fps) not in (int, float) or not 1 <= fps <= FASTEST):
        raise MlxworldError(f"{folder}: frames a second are a number from 1 to {FASTEST}, not {shown(fps)}")
    info = read_info(folder)
    if info is None:
        actions = (NOOP, *sorted(_names_in(folder) - {NOOP}))
        info = DatasetInfo(fps or DEFAULT_FPS, DEFAULT_SAMPLES, DEFAULT_SIZE, actions, str(folder))
    if fps is not None and fps != info.fps:
        samples = round(info.sample_rate / fps)
        if samples * fps != info.sample_rate:
            raise MlxworldError(f"{folder}: {info.sample_rate} samples a second cannot be cut into {fps} equal steps")
        info = replace(info, fps=fps, samples=samples)
    info = info if size is None else replace(info, size=size)
    require_info(info, str(folder))
    return info


def _names_in(folder: str | os.PathLike) -> set[str]:
    """Action names in all readable actions files of a folder; a broken one is named when its video is read."""
    names: set[str] = set()
    for video in episodes(folder):
        with contextlib.suppress(MlxworldError):
            names |= set(read_names(actions_file(video)))
    return names


def write_episode(folder: str | os.PathLike, name: str, episode: Episode, info: DatasetInfo) -> None:
    """Write one episode; the video comes last, so that an episode whose video exists is whole.

    Raises MlxworldError if shapes and `info` disagree or the disk is full.
    """
    T, H, W, _ = episode.video.shape
    expected = ((T, *info.size, 3), (T, info.samples), (T, *info.action_space.shape))
    if (episode.video.shape, episode.audio.shape, episode.actions.shape) != expected:
        raise MlxworldError(f"{name}: an episode of {T} frames must have the shapes {expected} of its dataset")
    folder = Path(folder)
    write_beside(folder / f"{name}.mp4", info.action_space, list(episode.actions), episode.state)
    write_clip(folder / f"{name}.mp4", episode.video, episode.audio, info.fps, info.sample_rate)


def write_beside(path: Path, space: ActionSpace, actions: list[np.ndarray], state: dict[str, np.ndarray]) -> None:
    """Write what lies beside a video file: its actions, and its state if there is one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_actions(path, space, actions)
    if state:
        part = path.with_name(f".{path.stem}.state.part.npz")
        try:
            np.savez_compressed(part, **state)  # pyright: ignore[reportArgumentType]
            os.replace(part, state_file(path))
        except OSError as error:
            part.unlink(missing_ok=True)
            raise MlxworldError(f"{path}: cannot be written ({error.strerror})") from error


def read_episode(folder: str | os.PathLike, name: str, info: DatasetInfo | None = None) -> Episode:
    """Read one episode by the name of its video, with or without suffix. Raises MlxworldError for a broken one."""
    info = info or dataset_info(folder)
    path = Path(folder) / name
    path = path if path.suffix.lower() in SUFFIXES else path.with_name(f"{path.name}.mp4")
    video, audio, numbers = read_film(path, info.size, info.fps, info.samples)
    return Episode(video, audio, read_actions(path, info.action_space, numbers), read_state(path))


def read_state(video: Path) -> dict[str, np.ndarray]:
    """State {name: (T, ...)} beside a video file; empty if there is none."""
    path = state_file(video)
    if not path.exists():
        return {}
    try:
        with os.fdopen(open_regular(path), "rb") as file, np.lib.npyio.NpzFile(file) as entries:
            return dict(entries)
    except (OSError, EOFError, ValueError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise MlxworldError(f"{path}: broken state file ({error})") from error


def rare_steps(video: Path, numbers: np.ndarray) -> np.ndarray:
    """The steps (R,) of a film of which step t shows the frame `numbers[t]`, that are the first to show a moment that
    its state calls rare, or what follows it; none where it says nothing of them."""
    rare = read_state(video).get("rare")
    if rare is None:
        return np.zeros(0, np.int64)
    if rare.ndim != 1 or rare.dtype != bool or not has_rows(len(rare), numbers):
        raise MlxworldError(f"{state_file(video)}: rare is {rare.dtype} {rare.shape}, not bool ({numbers[-1] + 1},)")
    steps = np.unique(np.searchsorted(numbers, np.flatnonzero(rare)))
    return steps[steps < len(numbers)]


def state_file(film: Path) -> Path:
    """Where a film's state is."""
    return film.with_name(f"{film.stem}.state.npz")
