"""CrossModalFusion: picture and sound look at each other, at several depths, as far as learned gates let them.

B frames (batch and time together), N tokens of one modality, M of the other, C width.
"""

from typing import Any

from ... import ops
from ...nn import Linear, Module, RMSNorm
from .. import blocks


class CrossModalAttention(Module):
    """x + gate * attention(x to other). The gate is tanh of a learned scalar per channel (when to look at all;
    Flamingo, Alayrac et al. 2022) times a weight that each token decides from its own content. Shut, x passes
    untouched."""

    def __init__(self, dim, heads):
        super().__init__()
        self.norm = RMSNorm(dim)
        self.norm_other = RMSNorm(dim)
        self.attn = blocks.Attention(dim, heads, cross=True)
        self.weigh = Linear(dim, 1)
        self.gate = ops.full((dim,), 0.5)

    def forward(self, x, other):
        """x (B, 1, N, C), other (B, 1, M, C) -> (B, 1, N, C)."""
        seen = self.norm(x)
        y, _ = self.attn(seen, source=self.norm_other(other))
        return x + ops.tanh(self.gate) * ops.sigmoid(self.weigh(seen)) * y


class FusionLevel(Module):
    """Attention inside each modality, then both ways across."""

    def __init__(self, dim, heads):
        super().__init__()
        self.video_block = blocks.Block(dim, heads)
        self.audio_block = blocks.Block(dim, heads)
        self.video_cross = CrossModalAttention(dim, heads)
        self.audio_cross = CrossModalAttention(dim, heads)

    def forward(self, video, audio, checkpointing=False):
        video = blocks.apply(self.video_block, video, checkpointing=checkpointing)
        audio = blocks.apply(self.audio_block, audio, checkpointing=checkpointing)
        return self.video_cross(video, audio), self.audio_cross(audio, video)


class CrossModalFusion(Module):
    """Features of the vision encoder at several depths and of the sound -> fused video and audio features.

    A modality that is missing is replaced by a learned token, frame by frame, before the first level."""

    def __init__(self, cfg):
        super().__init__()
        v = cfg.vision
        self.checkpointing = cfg.checkpointing
        self.video_tokens = ops.zeros((v.dim,))
        self.audio_tokens = ops.zeros((v.dim,))
        self.bring = [Linear(v.dim, v.dim, bias=False) for _ in v.taps]
        self.levels = [FusionLevel(v.dim, v.heads) for _ in v.taps]

    def forward(self, features, audio, video_present=None, audio_present=None):
        """features: a list of (B, T, P, C); audio (B, T, J, C); present (B, T), 1 or 0, None where nothing is missing.
        Returns video (B, T, P, C) and audio (B, T, J, C)."""
        features = [_masked(x, video_present, self.video_tokens) for x in features]
        x: Any = None
        y = blocks.by_frame(_masked(audio, audio_present, self.audio_tokens))
        for bring, level, found in zip(self.bring, self.levels, features, strict=True):
            new = bring(blocks.by_frame(found))
            x, y = level(new if x is None else x + new, y, self.checkpointing)
        return x.reshape(features[0].shape), y.reshape(audio.shape)


def _masked(x, present, absent):
    if present is None:
        return x
    here = ops.cast(present, like=x)[:, :, None, None]
    return here * x + (1 - here) * absent
