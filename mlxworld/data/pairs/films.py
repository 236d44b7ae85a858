"""Films with words beside: NAME.srt, whose lines have their times, or NAME.txt, which is about all of a film.

Films are decoded by `episodes.open_frames`. A clip's text is the lines of its transcript that belong to it. What is in
some films only, sound or words, is needed of all: films without it are left out, and counted.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...configs.translator import MODALITIES, TranslatorConfig
from ...errors import MlxworldError
from ...files.reading import listed
from ...text.rows import rows
from ..episodes.format import read_info
from ..episodes.frames import FrameStore, open_frames
from ..episodes.pixels import fit
from .batches import Pairs, sequence
from .spectrogram import heard
from .transcripts import Line, read_plain, read_transcript

FPS = 8.0  # of films whose folder does not say
ALWAYS = 1e9  # seconds: the end of words that are about all of a film


@dataclass(frozen=True)
class Film:
    name: str
    first: int  # frame of the store
    frames: int
    lines: tuple[Line, ...]  # of an .srt; of a .txt one, which lasts for ever


class Films(Pairs):
    """Clips of films, each with the sound and the words of its time; its picture is its first frame."""

    def __init__(self, cfg: TranslatorConfig, store: FrameStore, folder: Path):
        """cfg: with the store's rates (see `opened`). Raises MlxworldError where no film can be used."""
        self.cfg, self.store = cfg, store
        films, notes = _films(store, folder)
        silent = set(store.silent)
        named = {"audio": {f.name for f in films if f.name not in silent}, "text": {f.name for f in films if f.lines}}
        self.modalities = tuple(m for m in MODALITIES if named.get(m, True))
        for modality, what in (("audio", "no sound"), ("text", "no words beside them (.srt, .txt)")):
            without = [f.name for f in films if named[modality] and f.name not in named[modality]]
            notes += [f"{len(without)} films have {what}: {listed(without)}"] if without else []
            films = [f for f in films if f.name not in without]
        short = [f.name for f in films if f.frames < cfg.frames]
        notes += [f"{len(short)} films are shorter than a clip of {cfg.seconds:g} s: {listed(short)}"] if short else []
        self.films = [f for f in films if f.frames >= cfg.frames]
        if not self.films:
            raise MlxworldError(f"{folder}: no film can be used: {'; '.join(notes)}")
        if "text" not in self.modalities:
            notes.append("no film has words beside it: nothing is learnt of text")
        if "audio" not in self.modalities:
            notes.append("no film has sound: nothing is learnt of it")
        self.clips, self.notes = max(f.frames for f in self.films) // cfg.frames, tuple(notes)
        facts = [[f.name, f.first, f.frames, f.lines] for f in self.films]
        digest = hashlib.sha256(json.dumps([facts, store.info.fps, store.info.size]).encode()).hexdigest()[:16]
        self.identity = {"source": "films", "films": len(self.films), "digest": digest}
        hours = round(sum(f.frames for f in self.films) / store.info.fps / 3600, 3)
        data = {"source": store.info.source, "films": len(self.films), "hours": hours}
        self.card = {"data": data, "licence": store.info.licence}

    def texts(self) -> Iterator[str]:
        """All lines."""
        return (text for film in self.films for _, _, text in film.lines)

    def batch(self, rng: np.random.Generator, size: int, clips: int = 1) -> dict[str, np.ndarray]:
        """See `Pairs.batch`."""
        c, info = self.cfg, self.store.info
        if clips > 1:
            films = [f for f in self.films if f.frames >= clips * c.frames]
            drawn = [clip for _ in range(size // clips) for clip in self._row(rng, films, clips)]
        else:
            drawn = [(*self._one(rng), 0) for _ in range(size)]
        frames = np.array([film.first + start for film, start, _ in drawn])[:, None] + np.arange(c.frames)
        video = self.store.video[frames]
        image = np.stack([fit(x, (c.image_size, c.image_size)) for x in video[:, 0]])
        batch = {"image": image, "video": _smaller(video, c.video_size)}
        if "audio" in self.modalities:
            batch["audio"] = np.stack([heard(c, wave.reshape(-1)) for wave in self.store.sound(frames)])
        if "text" in self.modalities:
            texts = [said(film.lines, start / info.fps, c.seconds) for film, start, _ in drawn]
            batch["text"] = rows(texts, c.max_text, self.tokenizer)
        if clips > 1:
            batch["time"] = np.array([start / info.fps for _, start, _ in drawn], np.float32)
            batch["scene"] = np.array([scene for _, _, scene in drawn], np.int32)
        return batch

    def _one(self, rng: np.random.Generator) -> tuple[Film, int]:
        """A film, each as likely as it is long, and the first frame of a clip of it: around a line where it has any."""
        lengths = np.array([film.frames for film in self.films])
        film = self.films[int(rng.choice(len(lengths), p=lengths / lengths.sum()))]
        room = film.frames - self.cfg.frames
        if not film.lines:
            return film, int(rng.integers(room + 1))
        begin, end, _ = film.lines[int(rng.integers(len(film.lines)))]
        end = min(end, film.frames / self.store.info.fps)
        middle = rng.uniform(begin, max(begin, end)) - self.cfg.seconds / 2
        return film, int(np.clip(round(middle * self.store.info.fps), 0, room))

    def _row(self, rng: np.random.Generator, films: list[Film], clips: int) -> list[tuple[Film, int, int]]:
        """Clips of one film in their order: the film, the first frame of each, and the number of its scene."""
        film = films[int(rng.integers(len(films)))]
        starts, scenes = sequence(rng, clips, self.cfg.frames, film.frames)
        return [(film, int(start), int(scene)) for start, scene in zip(starts, scenes, strict=True)]


def opened(cfg: TranslatorConfig, folder: Path, fps: float | None, cache: Path | None) -> FrameStore:
    """The decoded films of a folder, at `fps`; None: as its dataset.json says, else 8 a second."""
    own = read_info(folder)
    return open_frames(folder, max(cfg.image_size, cfg.video_size), fps or (None if own else FPS), cache=cache)


def said(lines: tuple[Line, ...], begin: float, seconds: float) -> str:
    """The text of a clip: lines of which at least half lies in it, or that take up at least half of it."""
    texts = []
    for start, end, text in lines:
        inside = min(end, begin + seconds) - max(start, begin)
        if inside >= 0 and inside >= 0.5 * min(end - start, seconds):
            texts.append(text)
    return " ".join(texts)


def _films(store: FrameStore, folder: Path) -> tuple[list[Film], list[str]]:
    """The films with their words, and notes of what is amiss with them."""
    films, jumping, disordered, empty, broken = [], [], [], [], []
    counts = {name: store.names.count(name) for name in store.names}
    for name, (first, last) in zip(store.names, store.spans(), strict=True):
        if counts[name] > 1:
            jumping += [name] if name not in jumping else []
            continue
        try:
            lines, in_order = _words(folder / name)
        except MlxworldError as error:
            broken.append(str(error))
            lines, in_order = None, True
        if lines is not None and not lines and _beside(folder / name):
            empty.append(name)
        disordered += [] if in_order else [name]
        lines = [line for line in lines or [] if line[0] < (last - first) / store.info.fps]
        films.append(Film(name, first, last - first, tuple(lines)))
    kinds = {
        "films are left out, their time stamps jump": jumping,
        "transcripts are not in order, and were sorted": disordered,
        "films have a transcript that says nothing": empty,
    }
    notes = [f"{len(those)} {what}: {listed(those)}" for what, those in kinds.items() if those]
    return films, notes + ([f"{len(broken)} transcripts cannot be read; the first: {broken[0]}"] if broken else [])


def _beside(film: Path) -> Path | None:
    """The words beside a film."""
    return next((path for s in (".srt", ".txt") if (path := film.with_suffix(s)).is_file()), None)


def _words(film: Path) -> tuple[list[Line], bool]:
    """The lines beside a film, and whether they are in order."""
    path = _beside(film)
    if path is None:
        return [], True
    if path.suffix == ".srt":
        lines, in_order = read_transcript(path)
        return [line for line in lines if line[2]], in_order
    text = " ".join(read_plain(path).split())
    return [(0.0, ALWAYS, text)] if text else [], True


def _smaller(video: np.ndarray, size: int) -> np.ndarray:
    """Video (..., H, W, 3) uint8 area-averaged to a square."""
    if video.shape[-2] == size:
        return video
    flat = video.reshape(-1, *video.shape[-3:])
    return np.stack([fit(frame, (size, size)) for frame in flat]).reshape(*video.shape[:-3], size, size, 3)
