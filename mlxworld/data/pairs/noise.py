"""Noise of a model's own sizes: for asking what fits into memory, and how fast it trains."""

from collections.abc import Iterator

import numpy as np

from ...configs.translator import TranslatorConfig
from .batches import Pairs


class Noise(Pairs):
    """Numbers that say nothing, in every modality."""

    moments = True

    def __init__(self, cfg: TranslatorConfig):
        self.cfg = cfg
        self.identity = {"source": "synthetic"}
        self.card = {"data": {"source": "synthetic"}, "licence": "CC0-1.0"}

    def texts(self) -> Iterator[str]:
        """Random letters."""
        rng = np.random.default_rng(0)
        return (" ".join("".join(map(chr, rng.integers(97, 123, 5))) for _ in range(8)) for _ in range(500))

    def batch(self, rng: np.random.Generator, size: int, moments: bool = False) -> dict[str, np.ndarray]:
        """See `Pairs.batch`."""
        c = self.cfg
        batch = {
            "text": rng.integers(3, c.vocab_size, (size, c.max_text)).astype(np.int32),
            "audio": rng.uniform(-1, 1, (size, c.audio_frames, c.bands)).astype(np.float32),
            "image": rng.integers(0, 256, (size, c.image_size, c.image_size, 3), np.uint8),
            "video": rng.integers(0, 256, (size, c.frames, c.video_size, c.video_size, 3), np.uint8),
        }
        return batch | ({"time": np.tile(np.arange(2, dtype=np.float32), size // 2)} if moments else {})
