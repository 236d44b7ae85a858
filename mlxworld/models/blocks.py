"""The one transformer block that every model shares, and the small parts around it.

Notable: RMSNorm before each sublayer, normalised queries and keys, SwiGLU, no biases, rotary angles from a table of
whole turns, masks that are added, an optional ring of keys and values in place of the past.

B batch, T frames, K tokens of a frame, C model width, H heads, E width of a head, W frames in a ring.
"""

import math

from .. import nn, ops, random
from ..nn import Linear, Module, RMSNorm


def rotary_table(period, width):
    """Cosines and signed sines (2, period, width) of `rotate`: every frequency makes whole turns in `period` frames,
    geometric from one radian a frame down to one turn, so row `frame % period` is exact for ever, in any dtype (RoPE:
    Su et al. 2021)."""
    half = width // 2
    turns = [round((period / math.tau) ** (1 - j / max(1, half - 1))) for j in range(half)]
    angles = [[math.tau * (t * n % period) / period for n in turns] for t in range(period)]
    cos = [[math.cos(a) for a in row] * 2 for row in angles]
    sin = [[-math.sin(a) for a in row] + [math.sin(a) for a in row] for row in angles]
    return [cos, sin]


def rotate(x, angles):
    """x (B, T, K, H, E), each number of its first half turned with its like of the second, by angles: cosines and
    signed sines (T, 1, 1, E) in x's dtype."""
    return x * angles[0] + ops.roll(x, x.shape[-1] // 2, axis=-1) * angles[1]


def band(frames, window, like):
    """(T, T): frame t sees frames t - window + 1 .. t."""
    t = ops.arange(frames, like=like)
    age = t[:, None] - t[None]
    return (age >= 0) & (age < window)


def mask(seen, like):
    """What attention adds to its scores where a query may look (0) and where not, from booleans, in `like`'s dtype."""
    return ops.cast(ops.where(seen, 0.0, -3e4), like=like)  # as good as minus infinity, in float16 too


def dropout(x, p, key):
    """Inverted dropout."""
    return x * ops.cast(random.bernoulli(key, 1 - p, x.shape), like=x) / (1 - p)


def ring_empty(shape, like, int8=False):
    """A ring of zeros (B, H, W, K, E): an array in the dtype of `like`, or bytes about 128 with a scale for each token
    and head, which take half the memory of float16."""
    if not int8:
        return ops.zeros(shape, like=like)
    return {"bytes": ops.uint8(ops.full(shape, 128, like=like)), "scale": ops.zeros((*shape[:-1], 1), like=like)}


def ring_write(ring, new, slots):
    """The ring (B, H, W, K, E) with frames new (B, H, T, K, E) in its slots (T,)."""
    if isinstance(ring, dict):
        scale = ops.max(ops.abs(new), axis=-1, keepdims=True) / 127
        whole = ops.uint8(new / (scale + 1e-6) + 128)
        return {"bytes": ring_write(ring["bytes"], whole, slots), "scale": ring_write(ring["scale"], scale, slots)}
    return ops.ring_write(ring, new, slots)


def ring_read(ring, like):
    """A ring's frames (B, H, W, K, E)."""
    return (ops.cast(ring["bytes"], like=like) - 128) * ring["scale"] if isinstance(ring, dict) else ring


class Attention(Module):
    """Attention of all T * K tokens to each other, or to `source`, under a mask."""

    def __init__(self, dim, heads, cross=False):
        super().__init__()
        self.heads = heads
        if cross:
            self.q = Linear(dim, dim, bias=False)
            self.kv = Linear(dim, 2 * dim, bias=False)
        else:
            self.qkv = Linear(dim, 3 * dim, bias=False)
        self.gain = ops.ones((2 * dim,))  # of normalised queries and keys
        self.out = Linear(dim, dim, bias=False)

    def forward(self, x, angles=None, mask=None, ring=None, slots=None, source=None, onto=None):
        """x (B, T, K, C) -> (B, T, K, C), added to `onto` where that is given, and the ring with its frames.

        mask broadcasts to (B, H, T*K, keys), see `mask`; one of n chunks, (n, T*K / n, keys), also says that each sees
        itself and the first half of the one before (of the first there is none: mask it). With a ring (two of
        (B, H, W, K, E)), the frames are written to its `slots` (see ring_write) and then attend to the ring itself.
        With a source (B, T', K', C), keys and values are its.
        """
        B, T, K, C = x.shape
        H = self.heads
        gain = self.gain.reshape(2 * H, C // H)
        if source is None:
            x = _heads(self.qkv(x), 3 * H)
            qk = ops.rms_norm(x)[:, :, :, : 2 * H] * gain  # of the values too: less work than to cut them out first
            v = x[:, :, :, 2 * H :]
            if angles is not None:
                qk = rotate(qk, angles)
            q, k = ops.split(qk, [H, H], axis=3)
        else:
            k, v = ops.split(_heads(self.kv(source), 2 * H), [H, H], axis=3)
            q, k = ops.rms_norm(_heads(self.q(x), H)) * gain[:H], ops.rms_norm(k) * gain[H:]
        q, k, v = (a.moveaxis(3, 1) for a in (q, k, v))  # (B, H, T, K, E)
        if ring is not None:
            ring = ring_write(ring[0], k, slots), ring_write(ring[1], v, slots)
            k, v = (ring_read(a, like=q) for a in ring)
        if mask is not None and mask.ndim == 3 and len(mask) > 1:
            n = len(mask)
            q, k, v = q.reshape(B, H * n, -1, C // H), _with_before(k, n), _with_before(v, n)
            mask = ops.broadcast_to(mask, (H, *mask.shape)).reshape(1, H * n, *mask.shape[1:])
        else:
            q, k, v = (a.flatten(2, 3) for a in (q, k, v))
        y = ops.attention(q, k, v, mask).reshape(B, H, T * K, C // H)
        y = y.swapaxes(1, 2).reshape(B, T, K, C)
        return self.out(y) if onto is None else nn.residual(onto, self.out, y), ring


def _heads(x, n):
    """(B, T, K, n * E) -> (B, T, K, n, E)."""
    return x.reshape(*x.shape[:3], n, x.shape[3] // n)


def _with_before(x, n):
    """Each of n chunks of (B, H, T, K, E) after the first half of the chunk before: (B, H * n, 3/2 T*K / n, E)."""
    B, H, T, K, E = x.shape
    x = x.reshape(B, H, n, 2, -1, E)
    past = x[:, :, :, :1]
    before = ops.concat([past[:, :, :1], past[:, :, :-1]], axis=2)
    return ops.concat([before, x], axis=3).reshape(B, H * n, -1, E)


class SwiGLU(Module):
    """The gated feed-forward layer of Shazeer (2020), hidden width 8/3 of the model's, a multiple of 64."""

    def __init__(self, dim):
        super().__init__()
        self.hidden = 64 * math.ceil(dim * 8 / 3 / 64)
        self.up = Linear(dim, 2 * self.hidden, bias=False)
        self.down = Linear(self.hidden, dim, bias=False)

    def forward(self, x, onto):
        """onto + the layer's output, all (..., C)."""
        gate, x = ops.split(self.up(x), [self.hidden] * 2)
        return nn.residual(onto, self.down, ops.silu(gate) * x)


class Block(Module):
    """x + attention, then x + SwiGLU, each after an RMSNorm."""

    def __init__(self, dim, heads, dropout=0.0):
        super().__init__()
        self.dropout = dropout
        self.norm1 = RMSNorm(dim)
        self.attn = Attention(dim, heads)
        self.norm2 = RMSNorm(dim)
        self.mlp = SwiGLU(dim)

    def forward(self, x, angles=None, mask=None, ring=None, slots=None, key=None):
        """x (B, T, K, C) -> the same shape, and the layer's ring (see Attention)."""
        dropped = key is not None and self.dropout > 0
        y, ring = self.attn(self.norm1(x), angles, mask, ring, slots, onto=None if dropped else x)
        x = x + dropout(y, self.dropout, key) if dropped else y
        return self.mlp(self.norm2(x), onto=x), ring


def apply(block, x, angles=None, mask=None, checkpointing=False, key=None):
    """A block's output alone, (B, T, K, C), its activations recomputed in the backward pass if `checkpointing`."""
    if checkpointing:
        return nn.checkpoint(_First(block, key), x, angles, mask)
    return block(x, angles, mask, key=key)[0]


class _First(Module):
    """The key is no argument: a checkpoint is differentiated by those, and MLX has no gradient of random bits."""

    def __init__(self, block, key):
        super().__init__()
        self.block, self._key = block, key

    def forward(self, *args):
        return self.block(*args, key=self._key)[0]


def by_frame(x):
    """(B, T, K, C) -> (B*T, 1, K, C): attention stays inside a frame."""
    return x.reshape(-1, 1, *x.shape[2:])


def init_weights(model, key, depth):
    """Fresh weights, the same on both backends: names in sorted order, one key each.

    | parameter | from |
    |---|---|
    | matrix, convolution | N(0, 1 / fan_in) |
    | `out`, `down`: what is added to the residual stream | N(0, 1 / (2 * depth * fan_in)) |
    | embedding, learned token or code (see `codes`) | N(0, 0.02^2) |
    | `head`: the last layer | N(0, 0.02^2 / fan_in) |
    | norm | 1 |    | bias | 0 |
    | anything else (gates, uncertainties) | as its module made it |
    """
    held = nn.parameters(model)
    made = {}
    for name, now in zip(sorted(held), random.split(key, len(held)), strict=True):
        x = held[name]
        parts = name.split(".")
        layer, kind = parts[-2] if len(parts) > 1 else "", parts[-1]
        fan_in = math.prod(x.shape[1:])
        if kind == "bias":
            value = ops.zeros(x.shape)
        elif kind == "weight" and len(x.shape) == 1:
            value = ops.ones(x.shape)
        elif kind == "code" or kind.endswith("tokens") or layer.startswith("embed_"):
            value = random.normal(now, x.shape) * 0.02
        elif kind == "weight":
            std = fan_in**-0.5
            if layer in ("out", "down"):
                std *= (2 * depth) ** -0.5
            elif layer.startswith("head"):
                std *= 0.02
            value = random.normal(now, x.shape) * std
        else:
            continue
        made[name] = value
    nn.assign(model, made)
