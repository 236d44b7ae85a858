"""The block: attention, then a feed-forward layer, each added to the stream. Options are fields of BlockConfig.

B batch, T frames, K tokens of a frame, C model width.
"""

from collections.abc import Callable
from typing import Any

from mlxworld.configs.block import BlockConfig

from ... import nn, ops, random
from ...nn import LayerNorm, Linear, Module, RMSNorm
from ..arrays import Array
from .attention import Attention, attend


class RMSNormPlusOne(Module):
    """x / rms(x) * (1 + weight), in float32 (Gemma)."""

    def __init__(self, dim: int, eps: float):
        super().__init__()
        self.weight, self.eps = ops.zeros((dim,)), eps

    def forward(self, x: Array) -> Array:
        y = ops.rms_norm(ops.float32(x), self.eps) * (1 + ops.float32(self.weight))
        return ops.cast(y, like=x)


def norm(cfg: BlockConfig) -> LayerNorm | RMSNorm | RMSNormPlusOne:
    """The norm that a BlockConfig names, over its width."""
    if cfg.norm == "rms":
        return RMSNorm(cfg.dim, cfg.eps)
    return LayerNorm(cfg.dim, cfg.eps, bias=cfg.bias) if cfg.norm == "layer" else RMSNormPlusOne(cfg.dim, cfg.eps)


def dropout(x: Array, p: float, key: Array) -> Array:
    """Inverted dropout."""
    return x * ops.cast(random.bernoulli(key, 1 - p, x.shape), like=x) / (1 - p)


def gelu_tanh(x: Array) -> Array:
    """The tanh form of GELU (Hendrycks & Gimpel 2016)."""
    return 0.5 * x * (1 + ops.tanh(0.7978845608028654 * (x + 0.044715 * x * x * x)))


def quick_gelu(x: Array) -> Array:
    """The sigmoid form of GELU (Hendrycks & Gimpel 2016), as CLIP has it."""
    return x * ops.sigmoid(1.702 * x)


ACTS = {"silu": ops.silu, "gelu": ops.gelu, "gelu_tanh": gelu_tanh, "quick_gelu": quick_gelu, "relu": ops.relu}


def activated(x: Array, act: str, gated: bool) -> Array:
    """act(x), or of a gate and a value side by side (..., 2 C) act(gate) * value (..., C)."""
    if not gated:
        return ACTS[act](x)
    gate, value = ops.split(x, [x.shape[-1] // 2] * 2)
    return ACTS[act](gate) * value


class FeedForward(Module):
    """down(act(up(x))), or with a gate down(act(gate) * up(x)), gate and up in one product (Shazeer 2020)."""

    def __init__(self, cfg: BlockConfig):
        super().__init__()
        self.gated, self.act = cfg.gated, cfg.act
        self.up = Linear(cfg.dim, (2 if cfg.gated else 1) * cfg.ffn, bias=cfg.bias)
        self.down = nn.role(Linear(cfg.ffn, cfg.dim, bias=cfg.bias), "residual")

    def forward(self, x: Array, onto: Array | None = None) -> Array:
        """x (..., C) -> (..., C), added to `onto` where that is given."""
        x = activated(self.up(x), self.act, self.gated)
        return self.down(x) if onto is None else nn.residual(onto, self.down, x)


class Block(Module):
    def __init__(self, cfg: BlockConfig, cross: bool = False):
        """cross: attention is to a source."""
        super().__init__()
        self.order, self.gate, self.dropout, self.blind = cfg.order, cfg.gate, cfg.dropout, cfg.blind
        self.attn, self.mlp, self.norm1 = Attention(cfg, cross), FeedForward(cfg), norm(cfg)
        if cfg.order != "parallel":
            self.norm2 = norm(cfg)
        if cfg.order == "sandwich":
            self.norm1_after, self.norm2_after = norm(cfg), norm(cfg)
        if cfg.gate != "none":
            first = 1.0 if cfg.gate == "scale" else 0.0
            shape = (1,) if cfg.gate == "tanh_scalar" else (cfg.dim,)
            self.gate1, self.gate2 = ops.full(shape, first), ops.full(shape, first)

    def forward(
        self,
        x: Array,
        rope: Callable[[Array], Array] | None = None,
        mask: Array | None = None,
        cache: Any = None,
        key: Array | None = None,
        attend: Callable[..., Array] = attend,
        source: Any = None,
        sees: Array | None = None,
    ) -> tuple[Array, Any]:
        """x (B, T, K, C) -> the same shape, and the layer's cache (see Attention). key: of dropout, in training.

        source: see Attention. sees (B, T, 1, 1): 1 where a token sees anything of it, else 0.
        """
        dropped = key is not None and self.dropout > 0
        plain = self.gate == "none"  # then a layer's product adds the stream itself
        if self.order == "pre":
            adds = plain and not dropped and self.blind != "attn"
            y, cache = self.attn(self.norm1(x), rope, mask, cache, source, x if adds else None, attend)
            x = y if adds else x + self._gated(y, 1, key, sees)
            y = self.norm2(x)
            adds = plain and self.blind != "mlp"
            return (self.mlp(y, x) if adds else x + self._gated(self.mlp(y), 2, None, sees)), cache
        h = x if self.order == "post" else self.norm1(x)
        y, cache = self.attn(h, rope, mask, cache, source, None, attend)
        if self.order == "parallel":  # one norm, both layers read it
            return x + self._gated(y, 1, key) + self._gated(self.mlp(h), 2), cache
        if self.order == "post":
            x = self.norm1(x + self._gated(y, 1, key))
            return self.norm2(x + self._gated(self.mlp(x), 2)), cache
        x = x + self._gated(self.norm1_after(y), 1, key)  # sandwich: a norm before and after each layer
        return x + self._gated(self.norm2_after(self.mlp(self.norm2(x))), 2), cache

    def _gated(self, y, layer, key=None, sees=None):
        """What the first or second layer adds to the stream."""
        if sees is not None and self.blind == ("attn", "mlp")[layer - 1]:
            y = y * sees
        if key is not None and self.dropout > 0:
            y = dropout(y, self.dropout, key)
        if self.gate == "none":
            return y
        gate = self.gate1 if layer == 1 else self.gate2
        return y * (gate if self.gate == "scale" else ops.tanh(gate))


def apply(
    block: Block,
    x: Array,
    rope: Callable[[Array], Array] | None = None,
    mask: Array | None = None,
    checkpointing: bool = False,
    key: Array | None = None,
    attend: Callable[..., Array] = attend,
) -> Array:
    """A block's output alone, (B, T, K, C), its activations recomputed in the backward pass if `checkpointing`."""
    if checkpointing:
        return nn.checkpoint(_First(block, rope, mask, key, attend), x)
    return block(x, rope, mask, key=key, attend=attend)[0]


class _First(Module):
    """A checkpoint is differentiated by its arguments: what needs no gradient, as angles and masks, is none."""

    def __init__(self, block, rope, mask, key, attend):
        super().__init__()
        self.block, self._mask, self._key = block, mask, key
        self.rope, self.attend = rope, attend

    def forward(self, x):
        return self.block(x, self.rope, self._mask, key=self._key, attend=self.attend)[0]


def by_frame(x: Array) -> Array:
    """(B, T, K, C) -> (B*T, 1, K, C): attention stays inside a frame."""
    return x.reshape(-1, 1, *x.shape[2:])
