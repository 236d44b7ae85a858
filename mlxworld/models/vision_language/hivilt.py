"""HiViLT, a hierarchical vision-and-language transformer. There is no paper: this definition is the project's own.

A picture is read at L levels, each with a quarter of the patches of the one before. At level l pictures V_l and words
T_l go through a block each, and look at each other:

    F_l = MLP[ V_l ; T_l ; V_l * attended T_l ; T_l * attended V_l ]         each part the mean over its tokens

where a patch's attended T_l is what it reads of the words, a word's attended V_l what it reads of the patches. Patches
merge two by two on the way to the next level; words go on. Then what is left of both, pooled, reads all levels (a
global cross-attention over F_1 .. F_L), and heads tell whether the text belongs to the picture, and which answer holds.

n pairs, h x w patches, M words, C width.
"""

from mlxworld.configs.block import BlockConfig
from mlxworld.configs.hivilt import HiViLTConfig

from ... import ops
from ...nn import Linear, Module, role
from .. import blocks
from ..arrays import Array
from ..blocks.block import norm
from .dual import TextEncoder
from .projector import squares
from .tower import Tower, patchify


class Level(Module):
    """One level: V, T -> V, T and F."""

    def __init__(self, cfg: BlockConfig):
        super().__init__()
        self.picture_block, self.text_block = blocks.Block(cfg), blocks.Block(cfg)
        self.picture_norm, self.text_norm = norm(cfg), norm(cfg)
        self.to_text, self.to_picture = blocks.Attention(cfg, cross=True), blocks.Attention(cfg, cross=True)
        self.up, self.down = Linear(4 * cfg.dim, cfg.ffn), Linear(cfg.ffn, cfg.dim)

    def forward(self, v: Array, t: Array, is_word: Array) -> tuple[Array, Array, Array]:
        """v (n, N, C), t (n, M, C), is_word (n, M): 1, or 0 for padding -> v, t and F (n, C)."""
        mask = blocks.mask(is_word[:, None, None] > 0, like=v)
        v, _ = self.picture_block(v[:, None])
        t, _ = self.text_block(t[:, None], mask=mask)
        a, b = self.picture_norm(v), self.text_norm(t)
        of_text, _ = self.to_text(a, mask=mask, source=b)
        of_picture, _ = self.to_picture(b, source=a)
        parts = [
            a[:, 0].mean(1),
            mean(b[:, 0], is_word),
            (a * of_text)[:, 0].mean(1),
            mean((b * of_picture)[:, 0], is_word),
        ]
        return v[:, 0], t[:, 0], self.down(ops.gelu(self.up(ops.concat(parts, axis=-1))))


class HiViLT(Module):
    def __init__(self, cfg: HiViLTConfig):
        super().__init__()
        C = cfg.block.dim
        self.tower, self.text = Tower(cfg.tower), TextEncoder(cfg.text)
        self.levels = [Level(cfg.block) for _ in range(cfg.levels)]
        self.merge = [Linear(4 * C, C) for _ in range(cfg.levels - 1)]
        self.global_norm, self.head_norm = norm(cfg.block), norm(cfg.block)
        self.read_levels = blocks.Attention(cfg.block, cross=True)
        self.match = role(Linear(2 * C, 1), "head")
        if cfg.classes:
            self.answer = role(Linear(2 * C, cfg.classes), "head")
        self.patch, self.padding, self.classes = cfg.tower.patch, cfg.text.padding, cfg.classes

    def forward(self, pixels: Array, ids: Array) -> dict[str, Array]:
        """pixels (n, H, W, 3), ids (n, M), padded on the right -> {"match": (n,) logits, "answer": (n, classes) logits,
        "levels": F (n, L, C)}."""
        h, w = pixels.shape[1] // self.patch, pixels.shape[2] // self.patch
        v, t = self.tower(patchify(pixels, self.patch), (h, w)), self.text.tokens(ids)
        is_word, fused = ops.cast(ids != self.padding, like=v), []
        for i, level in enumerate(self.levels):
            if i:
                v = self.merge[i - 1](squares(v.reshape(len(v), h, w, -1), 2).flatten(3))
                h, w = h // 2, w // 2
                v = v.flatten(1, 2)
            v, t, f = level(v, t, is_word)
            fused.append(f)
        levels, pooled = ops.stack(fused, axis=1), ops.stack([v.mean(1), mean(t, is_word)], axis=1)  # (n, L or 2, C)
        queries, source = self.global_norm(pooled)[:, None], levels[:, None]
        y, _ = self.read_levels(queries, source=source, onto=pooled[:, None])
        y = self.head_norm(y).reshape(len(v), -1)
        out = {"match": self.match(y)[:, 0], "levels": levels}
        return out | {"answer": self.answer(y)} if self.classes else out


def mean(x: Array, is_there: Array) -> Array:
    """x (n, M, C) over the tokens that are there (n, M): (n, C)."""
    weights = is_there / is_there.sum(1, keepdims=True)
    return (x * weights[..., None]).sum(1)
