"""How well a model translates told scenes it has never seen: each figure beside a control of shuffled pairs.

`evaluate/` is numpy: the model is a function `translate(source, data, target)` -> numpy. Readers look at what the model
makes by itself: words are parsed, pictures are read for colours at places, spectrograms for onsets.
"""

import re
from collections.abc import Callable
from typing import Any

import numpy as np

from ..data.envs.scenes import COLOURS, FRAMES, NUMBERS, Scene, tell
from ..data.pairs.scenes import COLUMNS, batch_of, held_out
from ..text.bytes import Bytes
from ..text.rows import texts
from ..text.tokenizer import Tokenizer

Translate = Callable[[str, np.ndarray, str], np.ndarray]
LOUDER = 0.35  # of the scale of `spectrogram`: how much louder than just before a column is where something begins


def facts(text: str) -> set[str]:
    """What a text says of who is where."""
    return set(re.findall(r"a (\w+ \w+ at the \w+ \w+)", text))


def impacts(text: str) -> int | None:
    """How many impacts a text tells of; None where it does not say."""
    match = re.search(r"(\w+) impacts?\.", text)
    return NUMBERS.index(match.group(1)) if match and match.group(1) in NUMBERS else None


def seen(picture: np.ndarray) -> set[tuple[str, int]]:
    """Colours and places (0 to 3) of what a picture (H, W, 3) in [0, 1] shows: 60 pixels or more of a colour."""
    palette = np.array(list(COLOURS.values())) / 255
    near = np.abs(picture[:, :, None] - palette).max(-1) < 0.2
    H, W = picture.shape[:2]
    bodies = set()
    for i, colour in enumerate(COLOURS):
        y, x = np.nonzero(near[:, :, i])
        if len(x) >= 60:
            bodies.add((colour, int(x.mean() > W / 2) + 2 * int(y.mean() > H / 2)))
    return bodies


def onsets(mel: np.ndarray) -> np.ndarray:
    """Frames of video in which something begins to sound in a spectrogram (T * COLUMNS, bands)."""
    loud = mel.max(-1)
    before = np.concatenate([[-1.0, -1.0], loud])
    rise = loud - np.minimum(before[1:-1], before[:-2])
    starts = (rise > LOUDER) & np.concatenate([[True], ~(rise > LOUDER)[:-1]])
    return np.nonzero(starts)[0] // COLUMNS


def f1(found: np.ndarray, true: np.ndarray, slack: int = 1) -> tuple[int, int, int]:
    """Onsets matched within `slack` frames, each at most once; how many were found, and how many there are."""
    left, matched = list(true), 0
    for t in found:
        near = [x for x in left if abs(x - t) <= slack]
        if near:
            left.remove(min(near, key=lambda x: abs(x - t)))
            matched += 1
    return matched, len(found), len(true)


def recall_at_1(a: np.ndarray, b: np.ndarray) -> float:
    """Share of latents a (N, C) whose nearest among b, by angle, is their own."""
    a, b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (a, b))
    return float(((a @ b.T).argmax(1) == np.arange(len(a))).mean())


def figures(
    translate: Translate, scenes: list[Scene], bands: int, letters: int, tokenizer: Tokenizer | None = None
) -> dict[str, dict[str, float]]:
    """{figure: {"model", "shuffled", "real"}}: against each scene's truth, against another's, and the reader's ceiling
    on real data."""
    batch, n = batch_of(scenes, bands, letters, tokenizer), len(scenes)
    image, video = (batch[m].astype(np.float32) / 255 for m in ("image", "video"))
    told, heard = [tell(s) for s in scenes], batch["audio"]
    true_hits = [np.array([int(t * FRAMES / 2) for t in s.hits]) for s in scenes]
    asked = [{(list(COLOURS)[t.colour], t.place) for t in s.things} for s in scenes]

    def written(source: str, data: np.ndarray) -> list[str]:
        return texts(translate(source, data, "text"), tokenizer or Bytes())

    def share(values: list[Any], truth: list[Any]) -> float:
        return float(np.mean([a == b for a, b in zip(values, truth, strict=True)]))

    def matched(values: list[np.ndarray], truth: list[np.ndarray]) -> float:
        counts = np.array([f1(a, b) for a, b in zip(values, truth, strict=True)]).sum(0)
        return float(2 * counts[0] / max(1, counts[1] + counts[2]))

    def row(score: Callable, made: list[Any], truth: list[Any], real: list[Any]) -> dict[str, float]:
        shifted = [truth[(i + 1) % n] for i in range(n)]
        return {"model": score(made, truth), "shuffled": score(made, shifted), "real": score(real, truth)}

    sounds = {m: [onsets(x) for x in translate(m, d, "audio")] for m, d in (("video", video), ("text", batch["text"]))}
    real = [onsets(x) for x in heard]
    counts = [len(x) for x in true_hits]
    return {
        "image -> text, all facts": row(
            share, list(map(facts, written("image", image))), *[list(map(facts, told))] * 2
        ),
        "text -> image, colours and places": row(
            share, list(map(seen, translate("text", batch["text"], "image"))), asked, list(map(seen, image))
        ),
        "video -> audio, onsets F1": row(matched, sounds["video"], true_hits, real),
        "text -> audio, impacts": row(share, list(map(len, sounds["text"])), counts, list(map(len, real))),
        "audio -> text, impacts": row(share, list(map(impacts, written("audio", heard))), counts, counts),
    }


def report(
    translate: Translate, bands: int, letters: int, count: int = 100, tokenizer: Tokenizer | None = None
) -> dict[str, dict[str, dict[str, float]]]:
    """`figures` on scenes of learnt combinations, and on those of new ones."""
    return {
        name: figures(translate, held_out(count, new), bands, letters, tokenizer)
        for name, new in (("seen", False), ("new", True))
    }
