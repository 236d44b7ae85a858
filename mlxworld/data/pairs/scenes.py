"""Told scenes, made as they are needed; and days of them: clips in turn, of one scene after another, with a candle
that burns down."""

import hashlib
from collections.abc import Iterator

import numpy as np

from ...configs.translator import TranslatorConfig
from ...errors import MlxworldError
from ...text.bytes import Bytes
from ...text.rows import rows
from ...text.tokenizer import Tokenizer
from ..envs.scenes import (
    DAY,
    FPS,
    FRAMES,
    RATE,
    SAMPLES,
    SIZE,
    Scene,
    burn_down,
    draw,
    later,
    make_scene,
    sound,
    tell,
)
from .batches import Pairs, sequence
from .spectrogram import spectrogram

COLUMNS = 4  # of the spectrogram, a frame of video
LEARNT, HELD_OUT = 1 << 40, 1 << 41  # seeds of scenes for learning, and of those to hold out, begin here


def batch_of(
    scenes: list[Scene], bands: int, letters: int, tokenizer: Tokenizer | None = None
) -> dict[str, np.ndarray]:
    """text (B, letters) int32 by the tokenizer, else bytes; audio (B, T * COLUMNS, bands), image (B, H, W, 3) uint8,
    the first frame, and video (B, T, H, W, 3) uint8."""
    video = draw(scenes)
    text = rows([tell(s) for s in scenes], letters, tokenizer or Bytes())
    return {"text": text, "audio": _heard(scenes, bands), "image": video[:, 0], "video": video}


def day_of(rng: np.random.Generator, clips: int, bands: int, first: int) -> dict[str, np.ndarray]:
    """Clips of one day in their order, as `Pairs.batch` gives them, without words. first: where the seeds of the scenes
    begin, LEARNT or HELD_OUT."""
    starts, numbers = sequence(rng, clips, FRAMES, int(DAY * FPS))
    known = [make_scene(first + int(n)) for n in rng.integers(0, LEARNT, int(numbers[-1]) + 1)]
    scenes = [later(known[n], start / FPS) for start, n in zip(starts.tolist(), numbers.tolist(), strict=True)]
    video = draw(scenes)
    for clip, start in zip(video, starts, strict=True):
        burn_down(clip, start / FPS)
    batch = {"audio": _heard(scenes, bands), "image": video[:, 0], "video": video}
    return batch | {"time": (starts / FPS).astype(np.float32), "scene": numbers.astype(np.int32)}


def days(rng: np.random.Generator, size: int, clips: int, bands: int, first: int) -> dict[str, np.ndarray]:
    """Days of `clips` clips each, `size` clips in all: see `day_of`."""
    each = [day_of(rng, clips, bands, first) for _ in range(size // clips)]
    return {name: np.concatenate([day[name] for day in each]) for name in each[0]}


def _heard(scenes: list[Scene], bands: int) -> np.ndarray:
    hop = SAMPLES // COLUMNS
    return spectrogram(np.stack([sound(scene).reshape(-1) for scene in scenes]), RATE, hop, bands)


class ToldScenes(Pairs):
    """Told scenes as data: each batch has scenes of its own, of seeds for learning. Clips in turn are of a day (see
    `day_of`), and have no words: things wander, and some combinations of words are held out."""

    clips, clips_told = int(DAY * FPS) // FRAMES, False

    def __init__(self, cfg: TranslatorConfig):
        """Raises MlxworldError for a model of other sizes than the scenes'."""
        self.cfg = cfg
        needed = (COLUMNS * FRAMES, SIZE, SIZE, FRAMES, FPS, RATE)
        if (cfg.audio_frames, cfg.image_size, cfg.video_size, cfg.frames, cfg.fps, cfg.sample_rate) != needed:
            raise MlxworldError("told scenes need a model of their sizes: --preset scenes, or nano")
        first = batch_of(held_out(2, False), cfg.bands, cfg.max_text)
        digest = hashlib.sha256(b"".join(x.tobytes() for x in first.values())).hexdigest()[:16]
        self.identity = {"source": "scenes", "digest": digest}
        self.card = {"data": {"source": "scenes"}, "licence": "CC0-1.0"}

    def texts(self) -> Iterator[str]:
        """What a tokenizer may be taught from."""
        return (tell(make_scene(LEARNT + i)) for i in range(2000))

    def batch(self, rng: np.random.Generator, size: int, clips: int = 1) -> dict[str, np.ndarray]:
        """`size` scenes: see `batch_of`; or clips of days: see `day_of`."""
        if clips > 1:
            return days(rng, size, clips, self.cfg.bands, LEARNT)
        scenes = [make_scene(LEARNT + int(n)) for n in rng.integers(0, LEARNT, size)]
        return batch_of(scenes, self.cfg.bands, self.cfg.max_text, self.tokenizer)


def held_out(count: int, new_combinations: bool) -> list[Scene]:
    """Scenes of seeds that are never learnt from, with combinations that are, or that are not."""
    return [make_scene(HELD_OUT + i, held_out=new_combinations) for i in range(count)]
