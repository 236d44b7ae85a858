"""Attention of T frames of K tokens each to each other, or to a source; a sequence of words is T frames of one token.

Notable: queries, keys and values in one product; queries and keys normalised, scaled and turned together; masks that
are added; grouped heads; a cache in place of the past.

B batch, T frames, K tokens of a frame, C model width, H heads, G heads of keys and values, E width of a head.
"""

from collections.abc import Callable
from typing import Any

from mlxworld.configs.block import BlockConfig

from ... import nn, ops
from ...nn import Linear, Module
from ..arrays import Array


def band(frames: int, window: int, like: Array) -> Array:
    """Booleans (T, T): frame t sees frames t - window + 1 .. t."""
    t = ops.arange(frames, like=like)
    age = t[:, None] - t[None]
    return (age >= 0) & (age < window)


def mask(seen: Array, like: Array) -> Array:
    """What attention adds to its scores where a query may look (0) and where not, from booleans, in `like`'s dtype."""
    return ops.cast(ops.where(seen, 0.0, -3e4), like=like)  # as good as minus infinity, in float16 too


More = tuple[Array, Array, Array] | None  # further keys and values (1, G, M, E), added to their logits (M,)


def attend(q: Array, k: Array, v: Array, mask: Array | None, scale: float | None = None, more: More = None) -> Array:
    """q (B, H, T, K, E), k and v (B, G, N, K, E) -> (B, H, T*K, E): all to all, under a mask that broadcasts to
    (B, H, T*K, N*K). scale: of q k^T, 1 / sqrt(E) unless given. more: seen by every query, needs a mask."""
    q, k, v = (a.flatten(2, 3) for a in (q, k, v))
    if more is not None and mask is not None:
        k, v, mask = _with_more(k, v, mask, more)
    return ops.attention(q, k, v, mask, scale)


def _with_more(k, v, mask, more):
    """Keys and values (B, G, N, E) and a mask (..., N), and after them the M that every query sees."""
    rows = [ops.broadcast_to(x, (k.shape[0], *x.shape[1:])) for x in more[:2]]
    k, v = (ops.concat([x, ops.cast(row, like=x)], axis=2) for x, row in zip((k, v), rows, strict=True))
    gates = ops.broadcast_to(ops.cast(more[2], like=mask), (*mask.shape[:-1], len(more[2])))
    return k, v, ops.concat([mask, gates], axis=-1)


def attend_in_chunks(q: Array, k: Array, v: Array, mask: Array, more: More = None) -> Array:
    """As `attend`, over n chunks of the frames: each sees itself and the first half of the one before.

    mask (n, T*K / n, 3/2 T*K / n) says what of it; the first chunk has none before it: mask that part. T is a multiple
    of 2 n.
    """
    (B, H, T, K, E), G, n = q.shape, k.shape[1], len(mask)
    r = H // G  # heads of queries for each of keys, next to each other: chunks are further heads
    q = q.reshape(B, G, r, n, -1, E).swapaxes(2, 3).reshape(B, H * n, -1, E)
    mask = ops.broadcast_to(mask[:, None], (G, n, r, *mask.shape[1:])).reshape(1, H * n, *mask.shape[1:])
    k, v = _with_before(k, n), _with_before(v, n)
    if more is not None:  # the same for each chunk
        keys, values = (ops.broadcast_to(x[:, :, None], (1, G, n, *x.shape[2:])).flatten(1, 2) for x in more[:2])
        k, v, mask = _with_more(k, v, mask, (keys, values, more[2]))
    y = ops.attention(q, k, v, mask)
    return y.reshape(B, G, n, r, -1, E).swapaxes(2, 3).reshape(B, H, T * K, E)


def _with_before(x, n):
    """Each of n chunks of (B, G, T, K, E) after the first half of the chunk before: (B, G * n, 3/2 T*K / n, E)."""
    B, G, _, _, E = x.shape
    x = x.reshape(B, G, n, 2, -1, E)
    first_half = x[:, :, :, :1]
    before = ops.concat([first_half[:, :, :1], first_half[:, :, :-1]], axis=2)
    return ops.concat([before, x], axis=3).reshape(B, G * n, -1, E)


class Attention(Module):
    def __init__(self, cfg: BlockConfig, cross: bool = False):
        """cross: keys and values are a source's."""
        super().__init__()
        self.heads, self.groups, self.width = cfg.heads, cfg.groups, cfg.width
        self.qk_norm, self.eps, self.plus_one = cfg.qk_norm, cfg.eps, cfg.norm == "rms_plus_one"
        H, G, E = self.heads, self.groups, self.width
        if cross:
            self.q = Linear(cfg.dim, H * E, bias=cfg.qkv_bias)
            self.kv = Linear(cfg.source_dim or cfg.dim, 2 * G * E, bias=cfg.qkv_bias)
        else:
            self.qkv = Linear(cfg.dim, (H + 2 * G) * E, bias=cfg.qkv_bias)
        if cfg.qk_norm in ("each", "whole"):
            self.qk_gain = ops.full(((H + G) * E,), 0.0 if self.plus_one else 1.0)
        elif cfg.qk_norm != "none":
            self.qk_gain = ops.full((2 * E,), 0.0 if self.plus_one else 1.0)
        if cfg.qk_norm == "layer":
            self.qk_shift = ops.zeros((2 * E,))
        self.out = nn.role(Linear(H * E, cfg.dim, bias=cfg.bias if cfg.out_bias is None else cfg.out_bias), "residual")

    def forward(
        self,
        x: Array,
        rope: Callable[[Array], Array] | None = None,
        mask: Array | None = None,
        cache: Any = None,
        source: Any = None,
        onto: Array | None = None,
        attend: Callable[..., Array] = attend,
    ) -> tuple[Array, Any]:
        """x (B, T, K, C) -> (B, T, K, C), added to `onto` where that is given, and the cache with the new frames.

        rope turns queries and keys (see rope.py); mask and attend: see `attend`. With a cache, keys and values are all
        that its `update` gives. With a source (B, T', K', C), or what `keys_values` made of one, they are its.
        """
        B, T, K, _ = x.shape
        H, G = self.heads, self.groups
        if source is None:
            x = self._split(self.qkv(x))
            qk, v = self._scaled(x, 0, H + G, rope), x[:, :, :, H + G :]
            q, k = ops.split(qk, [H, G], axis=3)
            q, k, v = (a.moveaxis(3, 1) for a in (q, k, v))  # (B, H or G, T, K, E)
        else:
            k, v = source if isinstance(source, tuple) else self.keys_values(source)
            q = self._scaled(self._split(self.q(x)), 0, H, rope).moveaxis(3, 1)
        if cache is not None:
            k, v, cache = cache.update(k, v)
        y = attend(q, k, v, mask).swapaxes(1, 2).reshape(B, T, K, -1)
        return self.out(y) if onto is None else nn.residual(onto, self.out, y), cache

    def keys_values(self, source: Array) -> tuple[Array, Array]:
        """A source (B, T', K', C) -> its keys and values, each (B, G, T', K', E)."""
        k, v = ops.split(self._split(self.kv(source)), [self.groups, self.groups], axis=3)
        return self._scaled(k, self.heads, self.groups).moveaxis(3, 1), v.moveaxis(3, 1)

    def _split(self, x):
        """(B, T, K, n * E) -> (B, T, K, n, E)."""
        return x.reshape(*x.shape[:3], -1, self.width)

    def _scaled(self, x, first, n, rope=None):
        """The first n heads of x (B, T, K, ..., E), normalised, times the gains from number `first` on, and turned."""
        if self.qk_norm in ("each", "shared"):
            normed = ops.rms_norm(x, self.eps)  # of values too, where they are in x: less work than to cut them out
            normed, gains = normed[:, :, :, :n], self._gains()[first : first + n]
            return normed * gains if rope is None else rope(normed, gains)
        scaled = self._other(x, first, n)
        return scaled if rope is None else rope(scaled)

    def _other(self, x, first, n):
        """As `_scaled`, of the norms that are not of each head's mean square, and not turned."""
        if self.qk_norm == "none":
            return x[:, :, :, :n]
        if self.qk_norm == "whole":
            parts = [(0, self.heads), (self.heads, self.heads + self.groups)]  # queries, keys
            parts = [x[:, :, :, a - first : b - first] for a, b in parts if first <= a < first + n]
            normed = [ops.rms_norm(part.flatten(3), self.eps).reshape(part.shape) for part in parts]
            return (normed[0] if len(normed) == 1 else ops.concat(normed, axis=3)) * self._gains()[first : first + n]
        x = x[:, :, :, :n]
        normed = ops.rms_norm(x - x.mean(-1, keepdims=True), self.eps)
        return normed * self._gains()[first : first + n] + self._of_heads(self.qk_shift)[first : first + n]

    def _gains(self):
        """(H + G, E)."""
        gains = 1 + self.qk_gain if self.plus_one else self.qk_gain
        if self.qk_norm in ("each", "whole"):
            return gains.reshape(self.heads + self.groups, self.width)
        return self._of_heads(gains)

    def _of_heads(self, x):
        """x (2 * E,), of queries and of keys -> (H + G, E)."""
        H, G, E = self.heads, self.groups, self.width
        q, k = ops.split(x.reshape(2, 1, E), [1, 1], axis=0)
        return ops.concat([ops.broadcast_to(q[0], (H, E)), ops.broadcast_to(k[0], (G, E))], axis=0)
