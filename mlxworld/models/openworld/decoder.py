"""Pictures out: tokens to a small map, then light convolutions that double its size until it is the frame.

B frames (batch and time together), G squares along a side, C channels.
"""

from mlxworld.configs.openworld import OpenWorldConfig

from ... import ops
from ...nn import Conv2d, Linear, Module, RMSNorm, role
from ..arrays import Array


def depth_to_space(x: Array, n: int) -> Array:
    """(B, H, W, n*n*C) -> (B, n*H, n*W, C)."""
    B, H, W, C = x.shape
    return x.reshape(B, H, W, n, n, C // (n * n)).swapaxes(2, 3).reshape(B, n * H, n * W, C // (n * n))


class Residual(Module):
    """x + conv(silu(norm(x)))."""

    def __init__(self, channels: int):
        super().__init__()
        self.norm = RMSNorm(channels)
        self.conv = Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Array) -> Array:
        return x + self.conv(ops.silu(self.norm(x)))


class VideoDecoder(Module):
    """cells (B, T, G*G, C) -> what differs from the mean picture (B, T, H, W, 3)."""

    def __init__(self, cfg: OpenWorldConfig):
        super().__init__()
        d, c = cfg.decoder, cfg.latent
        side = cfg.size // cfg.patch
        self.grid, self.cell = c.grid, side // c.grid
        self.unfold = Linear(d.dim, self.cell**2 * d.channels[0])
        self.stages = [Residual(n) for n in d.channels]
        self.upsample = [Linear(a, 4 * b) for a, b in zip(d.channels, d.channels[1:], strict=False)]
        self.norm = RMSNorm(d.channels[-1])
        self.head = role(Conv2d(d.channels[-1], 4 * 3, 3, padding=1), "head")

    def forward(self, cells: Array) -> Array:
        B, T, _, _ = cells.shape
        x = depth_to_space(self.unfold(cells).reshape(B * T, self.grid, self.grid, -1), self.cell)
        x = self.stages[0](x)
        for upsample, stage in zip(self.upsample, self.stages[1:], strict=True):
            x = stage(depth_to_space(upsample(x), 2))
        x = depth_to_space(self.head(ops.silu(self.norm(x))), 2)
        return ops.float32(x).reshape(B, T, *x.shape[1:])
