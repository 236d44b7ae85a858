"""Which of several texts fit a picture: models of two encoders and one space, as CLIP, SigLIP and BiomedCLIP.

matcher = Matcher(pretrained.load("clip-vit-base-patch32", mlxworld.on("torch")))
matcher([picture], ["a photo of a cat", "a photo of a dog"])     # (1, 2)
"""

import html
from collections.abc import Sequence

import numpy as np

from .. import images
from ..configs.vision import DualEncoderConfig
from ..errors import MlxworldError
from ..files.layouts import open_clip
from ..files.pretrained import Pretrained
from ..files.reading import shown
from ..images import pixels
from . import tokenizer


class Matcher:
    def __init__(self, loaded: Pretrained):
        """Raises MlxworldError for a model that is no pair of encoders."""
        published = loaded.published
        if not isinstance(loaded.config, DualEncoderConfig):
            kind = shown(published["model_type"])
            raise MlxworldError(f"{loaded.folder}: {kind} is no model of two encoders, which texts are matched by")
        self._loaded, self._text, self._tokenizer = loaded, loaded.config.text, tokenizer.load(loaded.folder)
        self._cleans = published["model_type"] == open_clip.MODEL_TYPE
        if self._cleans:
            about = published["model_cfg"]["text_cfg"]
            self._processor: images.Processor = images.biomedclip(loaded.config.tower.size)
            self._longest, fill = min(self._text.positions, about.get("context_length", 256)), self._text.padding
        else:
            about = published.get("text_config") or {}
            self._processor, self._longest = images.load(loaded.folder), self._text.positions
            fill = about.get("pad_token_id", 1)  # which CLIP does not see, and SigLIP does
        self._fill = 0 if fill is None else int(fill)

    def __call__(self, pictures: Sequence[np.ndarray], texts: Sequence[str]) -> np.ndarray:
        """Pictures uint8 (H, W, 3) and texts -> (pictures, texts), float32: how probable each text is for a picture, if
        one of them is right, or by itself where the model was taught so (SigLIP). Longer texts than the model reads
        are cut. Raises MlxworldError where there is no picture or no text."""
        if not pictures or not texts:
            raise MlxworldError("to match needs at least one picture and one text")
        for picture in pictures:
            pixels.require(picture)
        engine = self._loaded.package.engine
        seen = engine.array(self._processor(pictures).arrays["pixels"])
        with engine.inference():
            logits = engine.numpy(self._loaded.model(seen, engine.array(self.ids(texts)))).astype(np.float64)
        if self._loaded.config.sigmoid:
            return (0.5 + 0.5 * np.tanh(logits / 2)).astype(np.float32)
        likely = np.exp(logits - logits.max(axis=1, keepdims=True))
        return (likely / likely.sum(axis=1, keepdims=True)).astype(np.float32)

    def ids(self, texts: Sequence[str]) -> np.ndarray:
        """Token ids (texts, N), padded on the right: to the length of the longest, or the one that the model knows."""
        rows = []
        for text in texts:
            text = " ".join(html.unescape(html.unescape(text)).split()) if self._cleans else text
            row = self._tokenizer.encode(text, special=True)
            rows.append(row if len(row) <= self._longest else [*row[: self._longest - 1], row[-1]])  # the end stays
        width = self._longest if self._text.pool == "last" else max(map(len, rows))
        return np.array([row + [self._fill] * (width - len(row)) for row in rows], np.int32)
