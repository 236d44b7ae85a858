"""The latent dynamics by hand, in plain MLX: what one would write without the protocol, to know what that costs.

The mathematics and the names of weights are those of `LatentDynamics` (flow head, context pass
with the next frame's first pass); the rest is as MLX likes it: state in, state out. Imports nothing of the house.

B worlds, T frames of a pass, K tokens of a frame, D their width, C model width, H heads, E head width, N slots.
"""

import math

import mlx.core as mx
from mlx import nn


def put(ring, new, slots):
    """The ring (B, H, N, K, E) with frames new (B, H, T, K, E) in slots (T,)."""
    here = mx.arange(ring.shape[2])[:, None] == slots  # (N, T)
    for t in range(len(slots)):
        frame, slot = new[:, :, t : t + 1], slots[t : t + 1]
        if mx.default_device() == mx.cpu:
            ring = mx.slice_update(ring, frame, slot, [2])
        else:  # fewer kernels
            ring = mx.where(here[:, t, None, None], frame, ring)
    return ring


class Attention(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.qk_gain = mx.ones((2 * dim,))
        self.out = nn.Linear(dim, dim, bias=False)

    def __call__(self, x, turn, mask, ring, slots):
        """x (B, T, K, C); the ring's keys and values (B, H, N, K, E) take the T frames in `slots` and are then seen."""
        B, T, K, C = x.shape
        qk, v = mx.split(self.qkv(x).reshape(B, T, K, 3 * self.heads, -1), [2 * self.heads], axis=3)
        qk = turn(mx.fast.rms_norm(qk, None, 1e-5) * self.qk_gain.reshape(2 * self.heads, -1))
        q, k = mx.split(qk.moveaxis(3, 1), 2, axis=1)
        keys, values = put(ring[0], k, slots), put(ring[1], v.moveaxis(3, 1), slots)
        q = q.flatten(2, 3)
        scale = (C // self.heads) ** -0.5
        y = mx.fast.scaled_dot_product_attention(q, keys.flatten(2, 3), values.flatten(2, 3), scale=scale, mask=mask)
        return self.out(y.swapaxes(1, 2).reshape(B, T, K, C)), (keys, values)


class SwiGLU(nn.Module):
    def __init__(self, dim):
        super().__init__()
        hidden = 64 * math.ceil(dim * 8 / 3 / 64)
        self.up = nn.Linear(dim, 2 * hidden, bias=False)
        self.down = nn.Linear(hidden, dim, bias=False)

    def __call__(self, x):
        gate, x = mx.split(self.up(x), 2, axis=-1)
        return self.down(nn.silu(gate) * x)


class Block(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.norm1 = nn.RMSNorm(dim)
        self.attn = Attention(dim, heads)
        self.norm2 = nn.RMSNorm(dim)
        self.mlp = SwiGLU(dim)

    def __call__(self, x, *seen):
        y, ring = self.attn(self.norm1(x), *seen)
        x = x + y
        return x + self.mlp(self.norm2(x)), ring


class PlainDynamics(nn.Module):
    def __init__(self, cfg, tokens, latent, actions):
        """cfg: any object with the fields of a DynamicsConfig."""
        super().__init__()
        self.cfg, self.size = cfg, (tokens, latent)
        self.embed = nn.Linear(latent, cfg.dim)
        self.tokens = mx.zeros((tokens, cfg.dim))
        self.embed_action = nn.Embedding(actions + 1, cfg.dim)
        self.embed_noise_level = nn.Embedding(cfg.noise_levels + 1, cfg.dim)
        self.embed_step_size = nn.Embedding(cfg.noise_levels + 1, cfg.dim)
        self.blocks = [Block(cfg.dim, cfg.heads) for _ in range(cfg.depth)]
        self.norm = nn.RMSNorm(cfg.dim)
        self.head = nn.Linear(cfg.dim, latent)
        half = cfg.dim // cfg.heads // 2
        self._swap = mx.array([*range(half, 2 * half), *range(half)])
        turns = [round((cfg.period / math.tau) ** (1 - j / max(1, half - 1))) for j in range(half)]
        angles = [[math.tau * (t * n % cfg.period) / cfg.period for n in turns] for t in range(cfg.period)]
        self._cos = mx.array([[math.cos(a) for a in row] * 2 for row in angles])
        self._sin = mx.array([[-math.sin(a) for a in row] + [math.sin(a) for a in row] for row in angles])

    def wide(self, layer):
        return (layer + 1) % self.cfg.global_every == 0

    def init_state(self, B):
        """The state before the first frame."""
        c, (K, D) = self.cfg, self.size

        def ring(layer):
            slots = (c.global_window if self.wide(layer) else c.local_window) + 1
            return mx.zeros((B, c.heads, slots, K, c.dim // c.heads), self.tokens.dtype)

        rings = [(ring(i), ring(i)) for i in range(c.depth)]
        return {
            "rings": rings,
            "time": mx.zeros(1, mx.int32),
            "last": (mx.zeros((B, 1, K, D)), mx.zeros((B, 1), mx.int32)),
        }

    def places(self, time):
        """Of the last and the present frame: rotary angles (2, 1, 1, E), and for both kinds of layer mask and slots."""
        frames, K = time + mx.arange(-1, 1), self.size[0]
        row, found = frames % self.cfg.period, []
        for window in (self.cfg.local_window, self.cfg.global_window):
            held = time - (time - mx.arange(window + 1)) % (window + 1)  # (N,), the frame that each slot holds
            age = frames[:, None] - held
            seen = ((age >= 0) & (age < window) & (held >= 0)) | (age == 0)
            mask = mx.where(seen, 0.0, -3e4).astype(self.tokens.dtype)[:, None, :, None]
            mask = mx.broadcast_to(mask, (2, K, window + 1, K)).reshape(2 * K, -1)
            found.append((mask, frames % (window + 1)))
        dtype = self.tokens.dtype
        return self._cos[row][:, None, None].astype(dtype), self._sin[row][:, None, None].astype(dtype), found

    def predict(self, rings, z, action, level, stride, places, frames):
        """The clean z of the last `frames` (2 or 1) frames, and the rings: z (B, T, K, D); the others (B, T)."""
        (cos, sin, kinds), K = places, self.size[0]
        cos, sin = cos[-frames:], sin[-frames:]

        def turn(x):
            return x * cos + mx.take(x, self._swap, axis=-1) * sin

        frame = self.embed_action(action) + self.embed_noise_level(level) + self.embed_step_size(stride)
        x = self.embed(z.astype(self.tokens.dtype)) + self.tokens + frame[:, :, None]
        new = []
        for i, block in enumerate(self.blocks):
            mask, slots = kinds[self.wide(i)]
            x, ring = block(x, turn, mask[-frames * K :], rings[i], slots[-frames:])
            new.append(ring)
        return self.head(self.norm(x)).astype(mx.float32), new

    def step(self, state, noise, action):
        """noise (B, 1, K, D), action (B, 1) int32 -> the next latent (B, 1, K, D), and the state after it."""
        c, places, none = self.cfg, self.places(state["time"]), mx.zeros_like(action)
        stride, z, rings, last = c.noise_levels // c.steps, noise, state["rings"], state["last"]
        for i in range(c.steps):
            level = none + i * stride
            if i == 0:
                both, actions = mx.concatenate([last[0], z], 1), mx.concatenate([last[1], action], 1)
                levels, strides = (
                    mx.concatenate([none + c.noise_levels, level], 1),
                    mx.concatenate([none, none + stride], 1),
                )
                clean, rings = self.predict(rings, both, actions, levels, strides, places, 2)
                clean = clean[:, 1:]
            else:
                clean, rings = self.predict(rings, z, action, level, none + stride, places, 1)
            z = z + (clean - z) / (c.steps - i)
        z = mx.fast.rms_norm(z, None, 1e-6)
        last = (1 - c.context_noise) * z + c.context_noise * noise, action
        return z, {"rings": rings, "time": state["time"] + 1, "last": last}
