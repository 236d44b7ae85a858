"""Texts alone: the .txt files of a folder, and of those within it."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ...configs.translator import TranslatorConfig
from ...errors import MlxworldError
from ...text.rows import rows
from ..episodes.folder import listing
from .batches import Pairs
from .transcripts import read_plain


class Texts(Pairs):
    """Texts, each as often as another, however long they are."""

    modalities = ("text",)

    def __init__(self, cfg: TranslatorConfig, folder: Path):
        """Raises MlxworldError for a file that is no text, and where there is none with words in it."""
        self.cfg = cfg
        paths = [path for path in listing(folder).others if path.suffix.lower() == ".txt"]
        self._texts = [text for text in map(read_plain, paths) if text.strip()]
        if not self._texts:
            raise MlxworldError(f"{folder}: no .txt with words in it")
        digest = hashlib.sha256(json.dumps(self._texts).encode()).hexdigest()[:16]
        self.identity = {"source": "texts", "texts": len(self._texts), "digest": digest}
        self.card = {"data": {"source": str(folder), "texts": len(self._texts)}, "licence": "unknown"}

    def texts(self) -> Iterator[str]:
        """All of them."""
        return iter(self._texts)

    def batch(self, rng: np.random.Generator, size: int, clips: int = 1) -> dict[str, np.ndarray]:
        """See `Pairs.batch`."""
        return {"text": rows(self.draw(rng, size)[0], self.cfg.max_text, self.tokenizer)}

    def draw(self, rng: np.random.Generator, size: int) -> tuple[list[str], None]:
        """Texts, without pictures."""
        return [self._texts[i] for i in rng.integers(0, len(self._texts), size)], None
