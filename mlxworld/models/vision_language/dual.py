"""Two encoders, one space: a picture and a text that belong together point the same way.

CLIP (Radford et al. 2021), SigLIP (Zhai et al. 2023), BiomedCLIP (Zhang et al. 2023), which is a ViT and BERT.
n pictures, m texts of N tokens, C width of an encoder, `out` width of the space.
"""

from mlxworld.configs.block import BlockConfig
from mlxworld.configs.vision import DualEncoderConfig, TextEncoderConfig

from ... import ops
from ...nn import Embedding, Linear, Module, role
from .. import blocks
from ..arrays import Array
from ..blocks.block import norm
from .tower import Tower, patchify


class TextEncoder(Module):
    def __init__(self, cfg: TextEncoderConfig):
        super().__init__()
        C = cfg.block.dim
        self.words = role(Embedding(cfg.vocab, C), "embedding")
        self.positions = ops.zeros((cfg.positions, C))
        if cfg.types:
            self.types = ops.zeros((cfg.types, C))
        role(self, "embedding", "positions", "types")
        self.embed_norm = norm(cfg.block) if cfg.embed_norm else None
        self.blocks = [blocks.Block(cfg.block) for _ in range(cfg.depth)]
        self.final_norm = norm(cfg.block) if cfg.final_norm else None
        self.padding, self.causal, self.typed = cfg.padding, cfg.causal, cfg.types > 0
        self.pool, self.end = cfg.pool, cfg.end

    def forward(self, ids: Array) -> Array:
        """ids (m, N), padded on the right -> (m, C), of the token that stands for the text."""
        x = self.tokens(ids)
        if self.pool == "end":
            is_end = ops.int32(ids == self.end)
            is_first = is_end * ops.int32(is_end.cumsum(1) == 1)
            return (x * ops.cast(is_first, like=x)[..., None]).sum(1)
        return x[:, 0] if self.pool == "first" else x[:, -1]

    def tokens(self, ids: Array) -> Array:
        """ids (m, N) -> (m, N, C)."""
        x = self.words(ids) + self.positions[: ids.shape[1]]
        x = x + self.types[0] if self.typed else x
        x = x if self.embed_norm is None else self.embed_norm(x)
        mask = self._mask(ids, x)
        x = x[:, None]
        for block in self.blocks:
            x, _ = block(x, mask=mask)
        return x[:, 0] if self.final_norm is None else self.final_norm(x[:, 0])

    def _mask(self, ids, like):
        """(m or 1, 1, N or 1, N), or None where all see all."""
        masks = []
        if self.causal:
            masks.append(blocks.mask(blocks.band(ids.shape[1], ids.shape[1], like=ids), like=like)[None, None])
        if self.padding >= 0:
            masks.append(blocks.mask((ids != self.padding)[:, None, None], like=like))
        return sum(masks[1:], masks[0]) if masks else None


class AttentionHead(Module):
    """A learned query reads a picture's patches, then a feed-forward layer (SigLIP)."""

    def __init__(self, cfg: BlockConfig):
        super().__init__()
        self.query = ops.zeros((cfg.dim,))
        role(self, "embedding", "query")
        self.qkv, self.out = Linear(cfg.dim, 3 * cfg.dim), Linear(cfg.dim, cfg.dim)
        self.norm, self.mlp, self.heads = norm(cfg), blocks.FeedForward(cfg), cfg.heads

    def forward(self, x: Array) -> Array:
        """x (n, N, C) -> (n, C)."""
        n, N, C = x.shape
        query = ops.broadcast_to(self.query, (n, 1, C))
        q, (k, v) = self._split(query)[0], self._split(x)[1:]
        y = self.out(ops.attention(q, k, v).swapaxes(1, 2).reshape(n, C))
        return self.mlp(self.norm(y), y)

    def _split(self, x):
        """x (n, N, C) -> queries, keys and values, each (n, H, N, E)."""
        y = self.qkv(x).reshape(*x.shape[:2], 3, self.heads, -1)
        return [y[:, :, i].swapaxes(1, 2) for i in range(3)]


class DualEncoder(Module):
    def __init__(self, cfg: DualEncoderConfig):
        super().__init__()
        self.tower, self.text, self.patch = Tower(cfg.tower), TextEncoder(cfg.text), cfg.tower.patch
        self.attends, self.hidden, self.sigmoid = cfg.attends, cfg.hidden, cfg.sigmoid
        if cfg.attends:
            self.picture_head = AttentionHead(cfg.tower.block)
        else:
            self.picture_out = role(Linear(cfg.tower.block.dim, cfg.out, bias=False), "head")
        if cfg.hidden:
            self.text_up = Linear(cfg.text.block.dim, cfg.hidden, bias=cfg.text_bias)
        self.text_out = role(Linear(cfg.hidden or cfg.text.block.dim, cfg.out, bias=cfg.text_bias), "head")
        self.log_scale = ops.full((), 2.659260036932778)  # log(1 / 0.07)
        if cfg.sigmoid:
            self.shift = ops.full((), -10.0)

    def pictures(self, pixels: Array) -> Array:
        """pixels (n, H, W, 3) -> (n, out), of length 1."""
        grid = pixels.shape[1] // self.patch, pixels.shape[2] // self.patch
        x = self.tower(patchify(pixels, self.patch), grid)
        return _unit(self.picture_head(x) if self.attends else self.picture_out(x[:, 0]))

    def texts(self, ids: Array) -> Array:
        """ids (m, N) -> (m, out), of length 1."""
        x = self.text(ids)
        return _unit(self.text_out(ops.gelu(self.text_up(x)) if self.hidden else x))

    def forward(self, pixels: Array, ids: Array) -> Array:
        """How well each picture fits each text: (n, m), logits."""
        logits = ops.exp(self.log_scale) * (self.pictures(pixels) @ self.texts(ids).swapaxes(0, 1))
        return logits + self.shift if self.sigmoid else logits


def _unit(x):
    return x * ops.rsqrt(ops.square(x).sum(-1, keepdims=True))
