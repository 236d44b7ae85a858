"""Two encoders, one space: a picture and a text that belong together point the same way (CLIP, Radford et al. 2021).

BiomedCLIP (Zhang et al. 2023): a ViT's class token through a matrix, and BERT's first token through an MLP.
"""

from mlxworld.configs.vision import DualEncoderConfig, TextEncoderConfig

from ... import ops
from ...nn import Embedding, Linear, Module, role
from .. import blocks
from ..arrays import Array
from ..blocks.block import norm
from .tower import Tower, patchify


class TextEncoder(Module):
    """BERT (Devlin et al. 2019)."""

    def __init__(self, cfg: TextEncoderConfig):
        super().__init__()
        C = cfg.block.dim
        self.words = role(Embedding(cfg.vocab, C), "embedding")
        self.positions, self.types = ops.zeros((cfg.positions, C)), ops.zeros((cfg.types, C))
        role(self, "embedding", "positions", "types")
        self.norm, self.padding = norm(cfg.block), cfg.padding
        self.blocks = [blocks.Block(cfg.block) for _ in range(cfg.depth)]

    def forward(self, ids: Array) -> Array:
        """ids (B, N), padded on the right -> (B, N, C); padding is not seen."""
        x = self.words(ids) + self.positions[: ids.shape[1]] + self.types[0]
        x = self.norm(x)[:, None]
        mask = blocks.mask((ids != self.padding)[:, None, None], like=x)
        for block in self.blocks:
            x, _ = block(x, mask=mask)
        return x[:, 0]


class DualEncoder(Module):
    def __init__(self, cfg: DualEncoderConfig):
        super().__init__()
        self.tower, self.text = Tower(cfg.tower), TextEncoder(cfg.text)
        self.picture_out = role(Linear(cfg.tower.block.dim, cfg.out, bias=False), "head")
        self.text_up = Linear(cfg.text.block.dim, cfg.hidden, bias=False)
        self.text_out = role(Linear(cfg.hidden, cfg.out, bias=False), "head")
        self.log_scale = ops.array(2.659260036932778)  # log(1 / 0.07)
        self.patch = cfg.tower.patch

    def pictures(self, pixels: Array) -> Array:
        """pixels (n, H, W, 3) -> (n, out), of length 1."""
        grid = pixels.shape[1] // self.patch, pixels.shape[2] // self.patch
        return _unit(self.picture_out(self.tower(patchify(pixels, self.patch), grid)[:, 0]))

    def texts(self, ids: Array) -> Array:
        """ids (m, N) -> (m, out), of length 1."""
        return _unit(self.text_out(ops.gelu(self.text_up(self.text(ids)[:, 0]))))

    def forward(self, pixels: Array, ids: Array) -> Array:
        """How well each picture fits each text: (n, m), logits."""
        return ops.exp(self.log_scale) * self.pictures(pixels) @ self.texts(ids).swapaxes(0, 1)


def _unit(x):
    return x * ops.rsqrt(ops.square(x).sum(-1, keepdims=True))
