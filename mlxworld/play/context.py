"""What a world can begin from: a clip of its own shapes, or any picture or film, cut to them.

T frames, H, W pixels, S samples of a frame.
"""

import collections
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..configs.world import WorldConfig
from ..data.episodes.actions import actions_file, read_actions
from ..data.episodes.media import to_float32
from ..data.episodes.pictures import read_frames
from ..data.episodes.pixels import fit
from ..data.episodes.sound import Span, grow, read_sound
from ..errors import MlxworldError


@dataclass(frozen=True)
class Clip:
    """Frames that happened: video (T, H, W, 3) uint8, audio (T, S) float32 in [-1, 1] or stereo (T, S, 2), actions
    (T,) int32, or rows (T, A) of buttons and axes, where actions[t] led to frame t."""

    video: np.ndarray
    audio: np.ndarray
    actions: np.ndarray


def clip_of(context: Any, cfg: WorldConfig, name: str) -> Clip:
    """The frames that a context shows, as the world `name` takes them: the last `cfg.context_frames` and those that
    their latents depend on.

    context: a Clip of the world's shapes; a picture (H, W, 3) or pictures (T, H, W, 3) uint8 of any size, also grey
    (H, W) and with a fourth channel, which is left out; a path of a film or a picture. Pictures are cut centrally to a
    square. Where there is no sound it is silent; without actions (NAME.actions.csv beside a film) nothing was pressed.
    Raises MlxworldError for what is none of these.
    """
    if isinstance(context, Clip):
        return checked(context, cfg, name)
    keep = cfg.context_frames + cfg.receptive_field
    if isinstance(context, str | Path):
        return _film(Path(context), cfg, keep)
    pictures = as_array(context)
    if pictures.ndim in (2, 3):
        pictures = pictures[None]
    if pictures.ndim == 3:
        pictures = np.repeat(pictures[..., None], 3, axis=3)
    if pictures.ndim != 4 or pictures.shape[3] not in (3, 4) or 0 in pictures.shape:
        kinds = "a start clip's number, a Clip, a path, or a picture of shape (H, W, 3)"
        what = f"an array of shape {pictures.shape}" if pictures.dtype.kind in "biuf" else type(context).__name__
        raise MlxworldError(f"a context is {kinds}, not {what if pictures.ndim else type(context).__name__}")
    if pictures.dtype != np.uint8:
        raise MlxworldError(f"a context's pictures are uint8, 0 to 255, not {pictures.dtype}")
    video = np.stack([fit(picture[..., :3], (cfg.size, cfg.size)) for picture in pictures[-keep:]])
    return Clip(video, np.zeros((len(video), cfg.samples), np.float32), _nothing(cfg, len(video)))


def _film(path: Path, cfg: WorldConfig, keep: int) -> Clip:
    """The last `keep` frames of a film, with their sound and actions; the one frame of a picture."""
    steps, spans = collections.deque(maxlen=keep), list[Span]()
    numbers = []
    for step in read_frames(path, (cfg.size, cfg.size), cfg.fps):
        steps.append(step)
        numbers.append(step.number)
        grow(spans, step)
    if numbers[-1] == 0:  # a picture lasts as long as its file likes
        steps, spans = collections.deque([steps[-1]]), [Span(spans[0].begin, 1)]
    T, last = len(steps), spans[-1]
    if last.steps > T:
        spans = [Span(last.begin + (last.steps - T) / cfg.fps, T)]
    sound, _ = read_sound(path, spans, cfg.fps, cfg.samples)
    audio = np.zeros((T, cfg.samples), np.float32) if sound is None else to_float32(sound[-T:])
    there = os.path.lexists(actions_file(path))
    actions = read_actions(path, cfg.action_space, np.array(numbers))[-T:] if there else _nothing(cfg, T)
    return Clip(np.stack([step.picture for step in steps]), audio, actions)


def _nothing(cfg: WorldConfig, frames: int) -> np.ndarray:
    """The actions of so many frames in which nothing is pressed."""
    return np.zeros((frames, *cfg.action_space.shape), cfg.action_space.dtype)


def checked(clip: Clip, cfg: WorldConfig, name: str) -> Clip:
    """The clip as arrays, its sound mono float32. Raises MlxworldError for one that does not fit the world `name`."""
    if not isinstance(clip, Clip):
        raise MlxworldError(f"a world encodes a Clip, not {type(clip).__name__}")
    video, audio, actions = map(as_array, (clip.video, clip.audio, clip.actions))
    if audio.ndim == 3 and audio.shape[2] == 2 and audio.dtype.kind == "f":
        audio = audio.mean(axis=2)
    H, S, space = cfg.size, cfg.samples, cfg.action_space
    T = len(actions) if actions.ndim else 0
    if T == 0 or (video.shape, audio.shape, actions.shape) != ((T, H, H, 3), (T, S), (T, *space.shape)):
        shapes = f"{video.shape}, {audio.shape} and {actions.shape}"
        rows = f"(T, {space.shape[0]})" if space.shape else "(T,)"
        wanted = f"(T, {H}, {H}, 3), (T, {S}) and {rows}, T >= 1"
        raise MlxworldError(f"a clip for {name} has video, audio and actions of shapes {wanted}, not {shapes}")
    if video.dtype != np.uint8:
        raise MlxworldError(f"a clip's video is uint8, 0 to 255, not {video.dtype}")
    if audio.dtype.kind != "f" or not np.isfinite(audio).all():
        raise MlxworldError(f"a clip's audio is finite numbers in [-1, 1] of a float type, found {audio.dtype}")
    if not space.holds(actions):
        n = len(cfg.actions)
        numbers = f"whole numbers from 0 to {n - 1}: {name} has {n}"
        rows = f"{len(space.buttons)} buttons, 0 or 1, and {len(space.axes)} axes from -1 to 1"
        raise MlxworldError(f"a clip's actions are {rows if space.shape else numbers}")
    return Clip(video, audio.astype(np.float32), actions)


def as_array(x: Any) -> np.ndarray:
    """An array of it. Raises MlxworldError for rows of several lengths."""
    try:
        return np.asarray(x)
    except (ValueError, TypeError) as error:
        raise MlxworldError(f"a clip is three arrays: {error}") from error
