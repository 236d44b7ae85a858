"""The transformer block that every model shares. An option that one model needs is a field, never a subclass."""

import math
from dataclasses import dataclass

from ..errors import MlxworldError

CHOICES = {
    "norm": ("rms", "layer", "rms_plus_one"),
    "qk_norm": ("none", "each", "shared", "whole", "layer"),
    "order": ("pre", "post", "sandwich", "parallel"),
    "act": ("silu", "gelu", "gelu_tanh", "quick_gelu", "relu"),
    "gate": ("none", "scale", "tanh", "tanh_scalar"),
    "blind": ("none", "attn", "mlp"),
}


@dataclass(frozen=True)
class BlockConfig:
    dim: int  # C, model width
    heads: int  # H, of queries
    hidden: int = 0  # width of the feed-forward layer; 0: 8/3 of dim if gated, else 4 dim, a multiple of 64
    kv_heads: int = 0  # G, of keys and values: divides heads; 0: as many
    head_dim: int = 0  # E; 0: dim / heads
    qkv_bias: bool = False
    bias: bool = False  # of all other layers, and of a layer norm
    out_bias: bool | None = None  # of attention's output; None: as bias
    norm: str = "rms"  # rms_plus_one: times 1 + weight, and so are queries and keys
    eps: float = 1e-5
    qk_norm: str = "each"  # RMS norm of each head of queries and keys, with a gain for each head or one that the heads
    # share; or of all heads of queries, and all of keys, as a whole (InternViT); or a layer norm that the heads share
    order: str = "pre"  # of norms: before a layer, after the sum, on both sides of a layer, or one before both layers
    act: str = "silu"
    gated: bool = True  # act(gate) * up, in place of act(up)
    gate: str = (
        "none"  # of what a layer adds: a learned scale (LayerScale), or tanh of one, shut at first; or of one number
    )
    dropout: float = 0.0  # of attention's output, in training
    source_dim: int = 0  # width of what a cross block attends to; 0: dim
    blind: str = "none"  # which layer of a cross block adds nothing to a token that sees nothing of the source

    def __post_init__(self):
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise MlxworldError(f"BlockConfig: {name} is one of {', '.join(choices)}, not {getattr(self, name)!r}")
        rules = [
            (min(self.dim, self.heads) >= 1, "dim and heads must be at least 1"),
            (
                min(self.hidden, self.kv_heads, self.head_dim, self.source_dim) >= 0,
                "hidden, kv_heads, head_dim and source_dim must not be negative",
            ),
            (self.head_dim > 0 or self.dim % max(self.heads, 1) == 0, "dim must be a multiple of heads"),
            (self.heads % max(self.kv_heads, 1) == 0, "heads must be a multiple of kv_heads"),
            (self.eps > 0 and 0 <= self.dropout < 1, "eps must be positive, dropout lies in [0, 1)"),
        ]
        for holds, message in rules:
            if not holds:
                raise MlxworldError(f"BlockConfig: {message}")

    @property
    def groups(self) -> int:
        """G, heads of keys and values."""
        return self.kv_heads or self.heads

    @property
    def width(self) -> int:
        """E, numbers of a head."""
        return self.head_dim or self.dim // self.heads

    @property
    def ffn(self) -> int:
        """Width of the feed-forward layer."""
        return self.hidden or 64 * math.ceil(self.dim * (8 / 3 if self.gated else 4) / 64)
