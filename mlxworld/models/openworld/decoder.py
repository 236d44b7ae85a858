"""Pictures out: tokens to a small map, then light convolutions that double its size until it is the frame.

B frames (batch and time together), G squares along a side, C channels.
"""

from ... import ops
from ...nn import Conv2d, Linear, Module, RMSNorm


def spread(x, n):
    """Depth to space: (B, H, W, n*n*C) -> (B, n*H, n*W, C)."""
    B, H, W, C = x.shape
    return x.reshape(B, H, W, n, n, C // (n * n)).swapaxes(2, 3).reshape(B, n * H, n * W, C // (n * n))


class Residual(Module):
    """x + conv(silu(norm(x)))."""

    def __init__(self, channels):
        super().__init__()
        self.norm = RMSNorm(channels)
        self.conv = Conv2d(channels, channels, 3, padding=1)

    def forward(self, x):
        return x + self.conv(ops.silu(self.norm(x)))


class VideoDecoder(Module):
    """cells (B, T, G*G, C) -> what differs from the mean picture (B, T, H, W, 3)."""

    def __init__(self, cfg):
        super().__init__()
        d, c = cfg.decoder, cfg.latent
        side = cfg.size // cfg.patch
        self.grid, self.cell = c.grid, side // c.grid
        self.unfold = Linear(d.dim, self.cell**2 * d.channels[0])
        self.stages = [Residual(n) for n in d.channels]
        self.grow = [Linear(a, 4 * b) for a, b in zip(d.channels, d.channels[1:], strict=False)]
        self.norm = RMSNorm(d.channels[-1])
        self.head = Conv2d(d.channels[-1], 4 * 3, 3, padding=1)

    def forward(self, cells):
        B, T, _, _ = cells.shape
        x = spread(self.unfold(cells).reshape(B * T, self.grid, self.grid, -1), self.cell)
        x = self.stages[0](x)
        for grow, stage in zip(self.grow, self.stages[1:], strict=True):
            x = stage(spread(grow(x), 2))
        x = spread(self.head(ops.silu(self.norm(x))), 2)
        return ops.float32(x).reshape(B, T, *x.shape[1:])
