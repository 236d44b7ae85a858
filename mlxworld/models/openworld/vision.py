"""Pictures in. Patches of one frame attend to each other; then each patch attends to its own recent past.

B batch, T frames, H, W pixels, P patches of a frame, C width.
"""

import math

from mlxworld.configs.block import BlockConfig
from mlxworld.configs.openworld import OpenWorldConfig

from ... import ops
from ...nn import Linear, Module, RMSNorm, role
from .. import blocks
from ..arrays import Array
from ..blocks import rope

PERIOD = 1024  # frames until the rotary angles of time repeat: no patch sees so many


class SpatioTemporalEncoding(Module):
    """Where and when a patch is: a code added for its place, learned or fixed (sines of row and column, Vaswani et al.
    2017), and rotary angles for its frame, so that only differences of time matter."""

    def __init__(self, side: int, dim: int, heads: int, kind: str):
        super().__init__()
        if kind == "learned":
            self.code = ops.zeros((side * side, dim))
            role(self, "embedding", "code")
        else:
            self._sines = ops.array(
                [_sines(i // side, dim // 2) + _sines(i % side, dim // 2) for i in range(side * side)]
            )
        self.kind = kind
        self._rotary = ops.array(rope.whole_turns(PERIOD, dim // heads))

    def forward(self, x: Array) -> Array:
        """x (B, T, P, C) with the code of each patch's place added."""
        return x + (self.code if self.kind == "learned" else ops.cast(self._sines, like=x))

    def angles(self, frames: int, x: Array) -> Array:
        """(2, T, 1, 1, E) of so many frames in x's dtype, for attention over time."""
        return ops.cast(rope.first_rows(self._rotary, frames)[:, :, None, None], like=x)


def _sines(position, dim):
    waves = [position / 10000 ** (2 * i / dim) for i in range(dim // 2)]
    return [math.sin(w) for w in waves] + [math.cos(w) for w in waves]


class VisionEncoder(Module):
    """video (B, T, H, W, 3), differences from a mean picture -> features (B, T, P, C) at several depths, the
    last of which has seen the past."""

    def __init__(self, cfg: OpenWorldConfig):
        super().__init__()
        v = cfg.vision
        self.patch, self.taps, self.temporal_window = cfg.patch, v.taps, v.temporal_window
        self.checkpointing = cfg.checkpointing
        self.embed = role(Linear(3 * cfg.patch * cfg.patch, v.dim), "input")
        self.encoding = SpatioTemporalEncoding(cfg.size // cfg.patch, v.dim, v.heads, v.encoding)
        block = BlockConfig(v.dim, v.heads)
        self.blocks = [blocks.Block(block) for _ in range(v.depth)]
        self.temporal_block = blocks.Block(block)
        self.norms = [RMSNorm(v.dim) for _ in v.taps]

    def forward(self, video: Array) -> list[Array]:
        B, T, H, W, _ = video.shape
        p = self.patch
        x = video.reshape(B * T, H // p, p, W // p, p, 3).swapaxes(2, 3).reshape(B, T, -1, 3 * p * p)
        x = self.encoding(self.embed(ops.cast(x * 4, like=self.embed.weight)))
        features = []
        for depth, block in enumerate(self.blocks, 1):
            x = blocks.apply(block, blocks.by_frame(x), checkpointing=self.checkpointing).reshape(x.shape)
            if depth in self.taps:
                features.append(x)
        mask = blocks.mask(blocks.band(T, self.temporal_window, like=x), like=x)
        by_patch = features[-1].swapaxes(1, 2).reshape(-1, T, 1, x.shape[-1])
        turning = rope.turning(self.encoding.angles(T, x))
        by_patch = blocks.apply(self.temporal_block, by_patch, turning, mask, self.checkpointing)
        features[-1] = by_patch.reshape(B, -1, T, x.shape[-1]).swapaxes(1, 2)
        return [norm(x) for norm, x in zip(self.norms, features, strict=True)]
