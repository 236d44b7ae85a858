"""Which of several texts fit a picture: models of two encoders and one space, as BiomedCLIP.

matcher = Matcher(pretrained.load("BiomedCLIP", mlxworld.on("torch")))
matcher([picture], ["this is a photo of a chest X-ray", "this is a photo of a brain MRI"])     # (1, 2)
"""

import html
from collections.abc import Sequence

import numpy as np

from ..configs.vision import DualEncoderConfig
from ..errors import MlxworldError
from ..files.pretrained import Pretrained
from ..files.reading import shown
from ..images.load import biomedclip
from . import tokenizer


class Matcher:
    def __init__(self, loaded: Pretrained):
        """Raises MlxworldError for a model that is no pair of encoders."""
        if not isinstance(loaded.config, DualEncoderConfig):
            kind = shown(loaded.published["model_type"])
            raise MlxworldError(f"{loaded.folder}: {kind} is no model of two encoders, which texts are matched by")
        self._loaded, self._tokenizer = loaded, tokenizer.load(loaded.folder)
        self._processor = biomedclip(loaded.config.tower.size)
        self._longest = min(
            loaded.config.text.positions, loaded.published["model_cfg"]["text_cfg"].get("context_length", 256)
        )

    def __call__(self, pictures: Sequence[np.ndarray], texts: Sequence[str]) -> np.ndarray:
        """Pictures uint8 (H, W, 3) and texts -> (pictures, texts), float32: how probable each text is for a picture, if
        one of them is right. Longer texts than the model reads are cut. Raises MlxworldError where there is none."""
        if not pictures or not texts:
            raise MlxworldError("to match needs at least one picture and one text")
        engine = self._loaded.package.engine
        pixels = engine.array(self._processor(pictures).arrays["pixels"])
        with engine.inference():
            logits = engine.numpy(self._loaded.model(pixels, engine.array(self.ids(texts)))).astype(np.float64)
        likely = np.exp(logits - logits.max(axis=1, keepdims=True))
        return (likely / likely.sum(axis=1, keepdims=True)).astype(np.float32)

    def ids(self, texts: Sequence[str]) -> np.ndarray:
        """Token ids (texts, N), padded on the right."""
        rows = []
        for text in texts:
            row = self._tokenizer.encode(" ".join(html.unescape(html.unescape(text)).split()), special=True)
            rows.append(row if len(row) <= self._longest else [*row[: self._longest - 1], row[-1]])  # the end stays
        padding, width = self._loaded.config.text.padding, max(map(len, rows))
        return np.array([row + [padding] * (width - len(row)) for row in rows], np.int32)
