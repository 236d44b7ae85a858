"""Noise of a model's own sizes: for asking what fits into memory, and how fast it trains."""

from collections.abc import Iterator

import numpy as np

from ...configs.translator import TranslatorConfig
from .batches import Pairs


class Noise(Pairs):
    """Numbers that say nothing, in every modality."""

    clips = 1 << 20

    def __init__(self, cfg: TranslatorConfig):
        self.cfg = cfg
        self.identity = {"source": "synthetic"}
        self.card = {"data": {"source": "synthetic"}, "licence": "CC0-1.0"}

    def texts(self) -> Iterator[str]:
        """Random letters."""
        rng = np.random.default_rng(0)
        return (" ".join("".join(map(chr, rng.integers(97, 123, 5))) for _ in range(8)) for _ in range(500))

    def batch(self, rng: np.random.Generator, size: int, clips: int = 1) -> dict[str, np.ndarray]:
        """See `Pairs.batch`."""
        c = self.cfg
        batch = {
            "text": rng.integers(3, c.vocab_size, (size, c.max_text)).astype(np.int32),
            "audio": rng.uniform(-1, 1, (size, c.audio_frames, c.bands)).astype(np.float32),
            "image": rng.integers(0, 256, (size, c.image_size, c.image_size, 3), np.uint8),
            "video": rng.integers(0, 256, (size, c.frames, c.video_size, c.video_size, 3), np.uint8),
        }
        if clips > 1:
            batch["time"] = np.tile(np.arange(clips, dtype=np.float32), size // clips)
            batch["scene"] = np.tile(np.arange(clips, dtype=np.int32) // 2, size // clips)
        return batch
