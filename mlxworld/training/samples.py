"""What a person looks at while a world is trained: the same clip of the dataset each time, real above, dream below."""

from pathlib import Path
from types import ModuleType

import numpy as np

from ..data import FrameStore, clip_starts, write_clip
from ..errors import MlxworldError
from ..evaluate.strip import save_png, strip
from ..play.dream import dream

FRAMES = 64  # of a sample, where an episode is that long


def sample(package: ModuleType, model, cache: FrameStore, path: Path, *, context: int | None, seed: int = 0) -> None:
    """Writes PATH.png and PATH.mp4 of a clip of the dataset (so of what the model has seen in training).

    The model sees `context` frames, then goes on alone with the true actions; None: it sees all, and shows what it
    makes of them. PATH.png is a strip of frames, with the waveforms and spectrograms of both below. PATH.mp4 sounds as
    the dream does, after its reconstruction of the context: two pictures can be seen at a glance, but two soundtracks
    at once hide each other's faults. The real sound is in the dataset, and in the strip to be seen.

    Raises MlxworldError when they cannot be written.
    """
    frames = min(FRAMES, cache.longest)
    seen = frames if context is None else min(context, frames)
    rows = clip_starts(cache, frames, 1, seed, 0)[:, None] + np.arange(frames)
    video, audio = cache.video[rows], cache.sound(rows)
    pictures, sounds = dream(package, model, video, audio, cache.actions[rows], seen)
    rate = cache.info.sample_rate
    sound = {"real_audio": audio[0], "dream_audio": sounds[0], "sample_rate": rate}
    picture = strip(video[0], pictures[0], context=0 if context is None else context, **sound)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MlxworldError(f"cannot write {path}.png: {error.strerror}") from error
    save_png(path.with_name(f"{path.name}.png"), picture)
    both = np.concatenate([video[0], pictures[0]], axis=1)
    write_clip(path.with_name(f"{path.name}.mp4"), both, sounds[0], cache.info.fps, rate)
