"""CrossModalFusion: picture and sound attend to each other at several depths, as far as learned gates let them.

B frames (batch and time together), N tokens of one modality, M of the other, C width.
"""

from typing import Any

from mlxworld.configs.block import BlockConfig
from mlxworld.configs.openworld import OpenWorldConfig

from ... import ops
from ...nn import Linear, Module, RMSNorm, role
from .. import blocks
from ..arrays import Array


class CrossModalAttention(Module):
    """x + gate * attention(x to other). The gate is tanh of a learned scalar per channel (when to look at all;
    Flamingo, Alayrac et al. 2022) times a weight that each token decides from its own content. Shut, x passes
    untouched."""

    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.norm = RMSNorm(dim)
        self.norm_other = RMSNorm(dim)
        self.attn = blocks.Attention(BlockConfig(dim, heads), cross=True)
        self.token_gate = Linear(dim, 1)
        self.channel_gate = ops.full((dim,), 0.5)

    def forward(self, x: Array, other: Array) -> Array:
        """x (B, 1, N, C), other (B, 1, M, C) -> (B, 1, N, C)."""
        normed = self.norm(x)
        y, _ = self.attn(normed, source=self.norm_other(other))
        return x + ops.tanh(self.channel_gate) * ops.sigmoid(self.token_gate(normed)) * y


class FusionLevel(Module):
    """Attention inside each modality, then both ways across."""

    def __init__(self, dim: int, heads: int):
        super().__init__()
        block = BlockConfig(dim, heads)
        self.video_block = blocks.Block(block)
        self.audio_block = blocks.Block(block)
        self.video_cross = CrossModalAttention(dim, heads)
        self.audio_cross = CrossModalAttention(dim, heads)

    def forward(self, video: Array, audio: Array, checkpointing: bool = False) -> tuple[Array, Array]:
        video = blocks.apply(self.video_block, video, checkpointing=checkpointing)
        audio = blocks.apply(self.audio_block, audio, checkpointing=checkpointing)
        return self.video_cross(video, audio), self.audio_cross(audio, video)


class CrossModalFusion(Module):
    """Features of the vision encoder at several depths and of the sound -> fused video and audio features.

    A modality that is missing is replaced by a learned token, frame by frame, before the first level."""

    def __init__(self, cfg: OpenWorldConfig):
        super().__init__()
        v = cfg.vision
        self.checkpointing = cfg.checkpointing
        self.missing_video = ops.zeros((v.dim,))
        self.missing_audio = ops.zeros((v.dim,))
        role(self, "embedding", "missing_video", "missing_audio")
        self.project = [Linear(v.dim, v.dim, bias=False) for _ in v.taps]
        self.levels = [FusionLevel(v.dim, v.heads) for _ in v.taps]

    def forward(
        self,
        features: list[Array],
        audio: Array,
        video_present: Array | None = None,
        audio_present: Array | None = None,
    ) -> tuple[Array, Array]:
        """features: a list of (B, T, P, C); audio (B, T, J, C); present (B, T), 1 or 0, None where nothing is missing.
        Returns video (B, T, P, C) and audio (B, T, J, C)."""
        features = [_masked(x, video_present, self.missing_video) for x in features]
        x: Any = None
        y = blocks.by_frame(_masked(audio, audio_present, self.missing_audio))
        for project, level, feature in zip(self.project, self.levels, features, strict=True):
            new = project(blocks.by_frame(feature))
            x, y = level(new if x is None else x + new, y, self.checkpointing)
        return x.reshape(features[0].shape), y.reshape(audio.shape)


def _masked(x, present, absent):
    if present is None:
        return x
    present = ops.cast(present, like=x)[:, :, None, None]
    return present * x + (1 - present) * absent
