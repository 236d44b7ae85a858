"""Each modality to tokens and back. B batch, N tokens, C model width, T frames, F bands."""

from typing import Any

from mlxworld.configs.omnilatent import OmniLatentConfig

from ... import nn, ops
from ...nn import Conv1d, Embedding, Linear, Module
from ..arrays import Array


class TextStem(Module):
    """A table that also reads the tokens out (Press & Wolf 2017)."""

    def __init__(self, cfg: OmniLatentConfig):
        super().__init__()
        self.table = nn.role(Embedding(cfg.vocab_size, cfg.hidden_dim), "embedding")
        self.scale = cfg.hidden_dim**0.5

    def embed(self, ids: Array) -> Array:
        """ids (B, T) -> their rows times sqrt(C), (B, T, C)."""
        return self.table(ids) * self.scale

    def read(self, x: Array) -> Array:
        """(B, T, C) -> logits (B, T, V)."""
        return nn.unembed(self.table, x)


class AudioStem(Module):
    """Two convolutions over time, a token for two frames; back by one matrix."""

    def __init__(self, cfg: OmniLatentConfig):
        super().__init__()
        self.bands = cfg.bands
        self.conv1 = Conv1d(cfg.bands, cfg.hidden_dim, 3, padding=1)
        self.conv2 = Conv1d(cfg.hidden_dim, cfg.hidden_dim, 3, stride=2, padding=1)
        self.head = nn.role(Linear(cfg.hidden_dim, 2 * cfg.bands), "head")

    def embed(self, mel: Array, there: Array | None = None) -> Array:
        """mel (B, T, F), there (B, T) 1 where a frame counts -> (B, ceil(T / 2), C)."""
        x = ops.cast(mel, like=self.conv1.weight)
        counted = ops.ones((*x.shape[:2], 1), like=x) if there is None else ops.cast(there, like=x)[..., None]
        x = ops.gelu(self.conv1(x * counted)) * counted
        return self.conv2(x)

    def read(self, x: Array) -> Array:
        """(B, N, C) -> (B, 2 N, F)."""
        return self.head(x).reshape(x.shape[0], -1, self.bands)


class PatchStem(Module):
    """Tubelets of a video, or patches of a picture (a video of one frame), by one matrix each way."""

    def __init__(self, dim: int, size: int, patch: int, tubelet: int, frames: int):
        super().__init__()
        self.n, self.patch, self.tubelet = size // patch, patch, tubelet
        numbers = tubelet * patch * patch * 3
        self.inward = nn.role(Linear(numbers, dim), "input")
        self.head = nn.role(Linear(dim, numbers), "head")
        self.place = ops.zeros((frames // tubelet * self.n**2, dim))
        nn.role(self, "embedding", "place")

    def embed(self, video: Array, there: Array | None = None) -> Array:
        """video (B, T, H, W, 3) in [0, 1] -> (B, T / tubelet * n * n, C). A frame that does not count is black."""
        B, T = video.shape[:2]
        n, p, t = self.n, self.patch, self.tubelet
        x = ops.cast(video, like=self.inward.weight) * 2 - 1
        if there is not None:
            x = x * ops.cast(there, like=x)[:, :, None, None, None]
        x = x.reshape(B, T // t, t, n, p, n, p, 3).swapaxes(4, 5).moveaxis(2, 4)  # (B, T / t, n, n, t, p, p, 3)
        x = self.inward(x.reshape(B, T // t * n * n, -1))
        return x + self.place[None, : x.shape[1]]

    def read(self, x: Array) -> Array:
        """(B, N, C) -> video (B, T, H, W, 3), about 0..1, not clipped."""
        B, n, p, t = x.shape[0], self.n, self.patch, self.tubelet
        x = self.head(x).reshape(B, -1, n, n, t, p, p, 3)
        x = x.moveaxis(4, 2).swapaxes(4, 5)  # (B, N, t, n, p, n, p, 3)
        return 0.5 + 0.5 * x.reshape(B, -1, n * p, n * p, 3)


def stems(cfg: OmniLatentConfig) -> dict[str, Any]:
    """A stem for each modality."""
    return {
        "text": TextStem(cfg),
        "audio": AudioStem(cfg),
        "image": PatchStem(cfg.hidden_dim, cfg.image_size, cfg.image_patch, 1, 1),
        "video": PatchStem(cfg.hidden_dim, cfg.video_size, cfg.video_patch, cfg.tubelet, cfg.frames),
    }
