"""From patches of a tower to tokens of a decoder: LLaVA, Gemma 3, Phi-3-Vision, InternVL, Qwen2-VL, Molmo in one class.

n pictures, h x w patches of C numbers, s side of a square of patches that becomes one token, D width of the decoder.
"""

from mlxworld.configs.block import BlockConfig
from mlxworld.configs.vision import ProjectorConfig, ResamplerConfig

from ... import ops
from ...nn import Linear, Module, role
from .. import blocks
from ..arrays import Array
from ..blocks.block import activated, norm


def squares(x: Array, side: int) -> Array:
    """x (n, h, w, C) -> (n, h / s, w / s, s * s, C), the patches of each square row by row."""
    n, h, w, C = x.shape
    x = x.reshape(n, h // side, side, w // side, side, C).swapaxes(2, 3)
    return x.reshape(n, h // side, w // side, side * side, C)


class AttentionPool(Module):
    """The mean of a square of patches attends to them (Molmo, Deitke et al. 2024)."""

    def __init__(self, cfg: ProjectorConfig):
        super().__init__()
        H, G, E = cfg.heads, cfg.kv_heads, cfg.head_dim
        self.q, self.kv = Linear(cfg.dim, H * E), Linear(cfg.dim, 2 * G * E)
        self.out = Linear(H * E, cfg.pooled)
        self.heads, self.groups = H, G

    def forward(self, x: Array) -> Array:
        """x (n, h, w, s * s, C) -> (n, h, w, pooled)."""
        shape, x = x.shape[:3], x.flatten(0, 2)
        q = self.q(x.mean(1, keepdims=True)).reshape(len(x), 1, self.heads, -1)
        k, v = ops.split(self.kv(x).reshape(len(x), x.shape[1], 2 * self.groups, -1), [self.groups] * 2, axis=2)
        y = ops.attention(*(a.swapaxes(1, 2) for a in (q, k, v)))  # (n h w, H, 1, E)
        return self.out(y.reshape(*shape, -1))


class Projector(Module):
    def __init__(self, cfg: ProjectorConfig):
        super().__init__()
        self.side, self.reduce, self.norm_at, self.transposed = cfg.side, cfg.reduce, cfg.norm, cfg.transposed
        self.act, self.hidden, self.gated = cfg.act, cfg.hidden, cfg.gated
        if cfg.norm != "none":
            width = cfg.dim if cfg.norm == "before" else cfg.reduced
            self.norm = norm(BlockConfig(width, 1, norm=cfg.norm_kind, eps=cfg.eps, bias=True))
        if cfg.padding_embed:
            self.padding = ops.zeros((2, cfg.dim))  # of patches that show nothing, and of those that show a part
            role(self, "embedding", "padding")
        if cfg.reduce == "attention":
            self.pool = AttentionPool(cfg)
        if cfg.hidden:
            self.up = Linear(cfg.reduced, cfg.hidden * (2 if cfg.gated else 1), bias=cfg.bias)
        self.down = Linear(cfg.hidden or cfg.reduced, cfg.out, bias=cfg.bias)

    def forward(self, x: Array, shown: Array | None = None) -> Array:
        """x (n, h, w, C) -> (n, h / s, w / s, D). shown (n, h, w): how much of a patch is picture and not padding, in
        [0, 1], or -1 where nobody says."""
        if shown is not None:
            nothing, part = shown == 0, (shown < 1) & (shown != 0)
            for i, seen in enumerate((nothing, part)):
                x = x + ops.cast(seen, like=x)[..., None] * self.padding[i]
        if self.norm_at == "before":
            x = self.norm(x)
        if self.reduce != "none":
            x = squares(x, self.side)
            x = x.mean(3) if self.reduce == "mean" else self.pool(x) if self.reduce == "attention" else x.flatten(3)
        if self.transposed:
            x = x.swapaxes(1, 2)
        if self.norm_at == "after":
            x = self.norm(x)
        return self.mlp(x)

    def mlp(self, x: Array) -> Array:
        """x (..., reduced) -> (..., D)."""
        if self.hidden:
            x = activated(self.up(x), self.act, self.gated)
        return self.down(x)


class PerceiverLayer(Module):
    """Latents read a context and themselves, then a feed-forward layer; a norm before each."""

    def __init__(self, cfg: BlockConfig):
        super().__init__()
        self.attn, self.mlp = blocks.Attention(cfg, cross=True), blocks.FeedForward(cfg)
        with_bias = BlockConfig(cfg.dim, 1, norm="layer", eps=cfg.eps, bias=True)
        self.norm_context, self.norm1, self.norm2 = norm(with_bias), norm(with_bias), norm(with_bias)

    def forward(self, x: Array, context: Array) -> Array:
        """x (n, 1, L, C) of latents, context (n, 1, N, C) -> as x."""
        y = self.norm1(x)
        x, _ = self.attn(y, source=ops.concat([self.norm_context(context), y], axis=2), onto=x)
        return self.mlp(self.norm2(x), x)


class Resampler(Module):
    """A perceiver resampler (Flamingo, Alayrac et al. 2022)."""

    def __init__(self, cfg: ResamplerConfig):
        super().__init__()
        self.latents = ops.zeros((cfg.latents, cfg.block.dim))
        role(self, "embedding", "latents")
        self.layers = [PerceiverLayer(cfg.block) for _ in range(cfg.depth)]
        self.norm = norm(BlockConfig(cfg.block.dim, 1, norm="layer", eps=cfg.block.eps, bias=True))

    def forward(self, x: Array) -> Array:
        """x (n, N, C) -> (n, latents, C)."""
        latents = ops.broadcast_to(self.latents, (x.shape[0], 1, *self.latents.shape))
        for layer in self.layers:
            latents = layer(latents, x[:, None])
        return self.norm(latents[:, 0])
