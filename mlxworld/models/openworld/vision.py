"""Pictures in. Patches of one frame attend to each other; then each patch looks back at its own recent past.

B batch, T frames, H, W pixels, P patches of a frame, C width.
"""

import math

from ... import ops
from ...nn import Linear, Module, RMSNorm
from .. import blocks

PERIOD = 1024  # frames until the rotary angles of time repeat; a clip is shorter


class SpatioTemporalEncoding(Module):
    """Where and when a patch is: a code added for its place, learned or fixed (sines of row and column, Vaswani et al.
    2017), and rotary angles for its frame, so that only differences of time matter."""

    def __init__(self, side, dim, heads, kind):
        super().__init__()
        if kind == "learned":
            self.code = ops.zeros((side * side, dim))
        else:
            self._sines = ops.array(
                [_sines(i // side, dim // 2) + _sines(i % side, dim // 2) for i in range(side * side)]
            )
        self.kind = kind
        self._rotary = ops.array(blocks.rotary_table(PERIOD, dim // heads))

    def forward(self, x):
        """x (B, T, P, C) with the code of each patch's place added."""
        return x + (self.code if self.kind == "learned" else ops.cast(self._sines, like=x))

    def angles(self, frames, x):
        """(2, T, 1, 1, E) of so many frames in x's dtype, for attention over time."""
        return ops.cast(self._rotary[:, :frames, None, None], like=x)


def _sines(position, dim):
    waves = [position / 10000 ** (2 * i / dim) for i in range(dim // 2)]
    return [math.sin(w) for w in waves] + [math.cos(w) for w in waves]


class VisionEncoder(Module):
    """video (B, T, H, W, 3), differences from a mean picture -> features (B, T, P, C) at several depths, the
    last of which has seen the past."""

    def __init__(self, cfg):
        super().__init__()
        v = cfg.vision
        self.patch, self.taps, self.memory, self.checkpointing = cfg.patch, v.taps, v.memory, cfg.checkpointing
        self.embed = Linear(3 * cfg.patch * cfg.patch, v.dim)
        self.encoding = SpatioTemporalEncoding(cfg.size // cfg.patch, v.dim, v.heads, v.encoding)
        self.blocks = [blocks.Block(v.dim, v.heads) for _ in range(v.depth)]
        self.past = blocks.Block(v.dim, v.heads)
        self.norms = [RMSNorm(v.dim) for _ in v.taps]

    def forward(self, video):
        B, T, H, W, _ = video.shape
        p = self.patch
        x = video.reshape(B * T, H // p, p, W // p, p, 3).swapaxes(2, 3).reshape(B, T, -1, 3 * p * p)
        x = self.encoding(self.embed(ops.cast(x * 4, like=self.embed.weight)))
        found = []
        for depth, block in enumerate(self.blocks, 1):
            x = blocks.apply(block, blocks.by_frame(x), checkpointing=self.checkpointing).reshape(x.shape)
            if depth in self.taps:
                found.append(x)
        mask = blocks.mask(blocks.band(T, self.memory, like=x), like=x)
        by_patch = found[-1].swapaxes(1, 2).reshape(-1, T, 1, x.shape[-1])
        by_patch = blocks.apply(self.past, by_patch, self.encoding.angles(T, x), mask, self.checkpointing)
        found[-1] = by_patch.reshape(B, -1, T, x.shape[-1]).swapaxes(1, 2)
        return [norm(x) for norm, x in zip(self.norms, found, strict=True)]
