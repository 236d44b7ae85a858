"""What is said of pictures, or words alone, as rows that a published model learns to write: its own prompt, the answer
and what ends it.

All rows are of one length: pictures are of one size, and a shorter answer is filled up at its end, where nothing that
counts sees it. numpy only. B rows, T tokens, A of an answer, and n arrays of a picture.
"""

from typing import Any, Protocol

import numpy as np

from . import chat
from .assistant import Assistant
from .prompt import Arrays, extended, prompt

PICTURE = "pixels of "  # before the names of a picture's arrays


class Told(Protocol):
    def draw(self, rng: np.random.Generator, size: int) -> tuple[list[str], np.ndarray | None]:
        """Texts, and the pictures (B, H, W, 3) uint8 that they are about, if they are."""
        ...


class Lessons:
    """layout: plain numbers of a picture, the same for all; () without pictures."""

    def __init__(self, assistant: Assistant, told: Told, question: str, length: int):
        """question: before each answer; "" for texts alone: they are read as they stand. length: tokens of an answer,
        at most. Raises MlxworldError for a model that does not take such pictures."""
        self.assistant, self.told, self.question, self.length = assistant, told, question, length
        self.layout: Any = ()
        _, pictures = told.draw(np.random.default_rng(0), 1)
        kinds = ["image"] if pictures is not None else []
        self.reads = bool(kinds) or question != ""  # a prompt, not the text itself
        self._prompt = assistant.text([{"role": "user", "content": chat.parts(question, kinds)}]) if self.reads else ""
        self._ids: dict[str, list[int]] = {}
        if pictures is not None:
            _, seen = assistant.read(self._prompt, list(pictures))
            self.layout = seen.layout if seen is not None else ()

    def batch(self, rng: np.random.Generator, size: int, clips: int = 1) -> Arrays:
        """What `answer_loss` takes, but for the features of pictures: their arrays (B, n, ...) as PICTURE and name.
        clips: as `Batches` asks."""
        texts, pictures = self.told.draw(rng, size)
        if not self.reads:
            rows = [self._text(rng, text) for text in texts]
        else:
            rows = [self._answer(text, None if pictures is None else pictures[i]) for i, text in enumerate(texts)]
        return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}

    def _answer(self, text: str, picture: np.ndarray | None) -> Arrays:
        """A row of a question and its answer."""
        arrays, seen = self.assistant.read(self._prompt, [] if picture is None else [picture])
        row = self._row(arrays, self.assistant.ids(text))
        shown = {} if seen is None or seen.arrays is None else seen.arrays
        return row | {f"{PICTURE}{name}": x[None] for name, x in shown.items()}

    def _text(self, rng: np.random.Generator, text: str) -> Arrays:
        """A row of a text itself; of a longer one a part, wherever it begins."""
        if text not in self._ids:
            self._ids[text] = self.assistant.ids(text, begins=True)
        ids = self._ids[text]
        first = int(rng.integers(max(1, len(ids) - self.length)))
        grids = () if self.assistant.config.decoder.rope.sections else None
        return self._row(prompt([ids[first : first + 1]], grids=grids), ids[first + 1 :])

    def _row(self, arrays: Arrays, ids: list[int]) -> Arrays:
        answer, n = np.zeros((1, self.length), np.int32), min(len(ids), self.length)
        answer[0, :n] = ids[:n]
        counts = (np.arange(self.length) < n).astype(np.float32)[None]
        return extended(arrays, answer) | {"answer": answer, "counts": counts}
