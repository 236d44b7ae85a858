"""LatentCompressor: a frame's fused features to K normalised tokens of width D, and the decoders' first look at them.

B batch, T frames, P patches, J spectrogram columns, K tokens (first the picture's, then the sound's), D their width.
"""

from mlxworld.configs.block import BlockConfig
from mlxworld.configs.openworld import OpenWorldConfig

from ... import ops
from ...nn import Linear, Module, RMSNorm, role
from .. import blocks
from ..arrays import Array
from .dynamics import unit


class LatentCompressor(Module):
    """Fused features -> z (B, T, K, D), each token of mean square 1. `grid`: a picture token is a square of patches, a
    sound token all columns. `queries`: K learned queries attend to every patch and column."""

    def __init__(self, cfg: OpenWorldConfig):
        super().__init__()
        c, dim = cfg.latent, cfg.vision.dim
        self.layout, self.grid, self.side, self.audio = c.layout, c.grid, cfg.size // cfg.patch, c.audio
        if c.layout == "grid":
            self.merge = Linear((self.side // c.grid) ** 2 * dim, dim)
            self.gather = Linear(cfg.audio.columns * dim, c.audio * dim)
        else:
            self.queries = ops.zeros((c.tokens, dim))
            role(self, "embedding", "queries")
            self.norm_query = RMSNorm(dim)
            self.attn = blocks.Attention(BlockConfig(dim, cfg.vision.heads), cross=True)
        self.norm = RMSNorm(dim)
        self.project = Linear(dim, c.dim)

    def forward(self, video: Array, audio: Array) -> Array:
        """video (B, T, P, C), audio (B, T, J, C) -> z (B, T, K, D)."""
        B, T, _, C = video.shape
        if self.layout == "grid":
            g, s = self.grid, self.side // self.grid
            x = video.reshape(B * T, g, s, g, s, C).swapaxes(2, 3).reshape(B, T, g * g, s * s * C)
            y = self.gather(audio.reshape(B, T, -1)).reshape(B, T, self.audio, C)
            x = ops.concat([self.merge(x), y], axis=2)
        else:
            source = blocks.by_frame(ops.concat([video, audio], axis=2))
            x = ops.broadcast_to(self.queries, (B * T, 1, *self.queries.shape)) + ops.cast(
                0 * source[:, :, :1], like=source
            )
            x = (x + self.attn(self.norm_query(x), source=source)[0]).reshape(B, T, -1, C)
        return unit(self.project(self.norm(x)))


class LatentProcessor(Module):
    """Latent tokens -> the features that a decoder reads: attention inside the frame. Cells are the picture's squares:
    in the `queries` layout learned tokens find them."""

    def __init__(self, cfg: OpenWorldConfig, width: int):
        super().__init__()
        c, d = cfg.latent, cfg.decoder
        self.layout, self.cells, self.checkpointing = c.layout, c.grid * c.grid, cfg.checkpointing
        self.embed = role(Linear(width, d.dim), "input")
        self.code = ops.zeros((c.tokens, d.dim))
        role(self, "embedding", "code")
        if c.layout == "queries":
            self.queries = ops.zeros((self.cells, d.dim))
            role(self, "embedding", "queries")
        self.blocks = [blocks.Block(BlockConfig(d.dim, d.heads)) for _ in range(d.depth)]
        self.norm = RMSNorm(d.dim)

    def forward(self, z: Array) -> tuple[Array, Array]:
        """z (B, T, K, width) -> cells (B, T, G*G, C) and the mean of all sound tokens (B, T, C)."""
        B, T, K, _ = z.shape
        x = blocks.by_frame(self.embed(ops.cast(z, like=self.code)) + self.code)
        if self.layout == "queries":
            x = ops.concat([ops.broadcast_to(self.queries, (B * T, 1, *self.queries.shape)), x], axis=2)
        for block in self.blocks:
            x = blocks.apply(block, x, checkpointing=self.checkpointing)
        x = self.norm(x).reshape(B, T, -1, x.shape[-1])
        return x[:, :, : self.cells], x[:, :, self.cells :].mean(axis=2)
