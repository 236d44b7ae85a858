"""Texts as the rows of a batch, and back. Ids: 0 is padding, 1 a text's beginning, 2 its end."""

from collections.abc import Iterable, Sequence

import numpy as np

from .bytes import Bytes
from .tokenizer import UNFINISHED, Tokenizer


def rows(texts: Sequence[str], length: int, tokenizer: Tokenizer | None = None) -> np.ndarray:
    """Texts with their ends as (B, length) int32, padded with 0; one that is longer is cut. Without a
    tokenizer they are bytes."""
    tokenizer = tokenizer or Bytes()
    ids = np.zeros((len(texts), length), np.int32)
    for row, text in zip(ids, texts, strict=True):
        cut = tokenizer.encode(text, special=True)[:length]
        row[: len(cut)] = cut
    return ids


def texts(ids: np.ndarray, tokenizer: Tokenizer) -> list[str]:
    """The texts of rows (B, length), each up to its end."""
    return [tokenizer.decode(_ended(row)) for row in ids]


def printable(text: str) -> str:
    """A text for a terminal: what is no letter, but a command to it, as U+FFFD."""
    return "".join(c if c.isprintable() or c == "\n" else UNFINISHED for c in text)


def _ended(row: Iterable[int]) -> list[int]:
    """The ids before the first end or padding."""
    ids = []
    for number in map(int, row):
        if number in (0, 2):
            break
        ids.append(number)
    return ids
