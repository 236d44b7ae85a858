"""LatentDynamics: the next frame of a latent world. Causal over frames, free inside a frame.

A rollout is a pure function: `step(cache, noise, action) -> latent, cache`. The cache is arrays only, of fixed shapes:
per layer a ring of W frames of keys and values, the slot counters, and how much past each world has. Every pass writes
the present frame to its slot and attends to the ring itself, so a noisy pass is overwritten by the next, the context
pass is what stays, and nothing is concatenated. It knows nothing of pictures or sound.

Training is diffusion forcing (Chen et al. 2024), each frame with its own noise level, over a nearly clean past, as
a rollout's is. The flow head predicts the clean latent and is conditioned on the step size (shortcut models, Frans et
al. 2024; as in Dreamer 4, Hafner et al. 2025).

B worlds, T frames, K tokens of a frame, D their width, C model width, H heads, E head width, W frames of a ring.
"""

from typing import Any

from ... import ops, random
from ...nn import Embedding, Linear, Module, RMSNorm
from .. import blocks


def after(i, n):
    """i + 1 modulo n, by comparison: a remainder does not pass through every exporter."""
    return ops.where(i + 1 < n, i + 1, i * 0)


def unit(z):
    """z (..., D) on the sphere of radius sqrt(D), where latents live: each token has mean square 1."""
    z = ops.float32(z)
    return z * ops.rsqrt(ops.square(z).mean(axis=-1, keepdims=True) + 1e-6)


class LatentDynamics(Module):
    def __init__(self, cfg, tokens, latent, actions):
        """cfg: DynamicsConfig; K tokens of width `latent` a frame; that many `actions`, and one for a hidden action."""
        super().__init__()
        self.cfg, self.size, self.actions = cfg, (tokens, latent), actions
        self.embed = Linear(latent, cfg.dim)
        self.tokens = ops.zeros((tokens, cfg.dim))
        self.embed_action = Embedding(actions + 1, cfg.dim)
        self.embed_level = Embedding(cfg.levels + 1, cfg.dim)
        self.embed_stride = Embedding(cfg.levels + 1, cfg.dim)
        self.blocks = [blocks.Block(cfg.dim, cfg.heads, cfg.dropout) for _ in range(cfg.depth)]
        self.norm = RMSNorm(cfg.dim)
        self.head = Linear(cfg.dim, latent)
        self._rotary = ops.array(blocks.rotary_table(cfg.period, cfg.dim // cfg.heads // 2))  # (2, period, E/2)
        self._ages = ops.arange(max(cfg.window, cfg.memory))

    def is_global(self, layer):
        return (layer + 1) % self.cfg.every == 0

    def window(self, layer):
        """Frames that a layer sees, the present one included."""
        return self.cfg.memory if self.is_global(layer) else self.cfg.window

    def predict(
        self, z, action, level, stride, angles, masks, rings=None, slots: Any = None, key=None, checkpointing=False
    ):
        """z (B, T, K, D); action, level, stride (B, T) -> the clean z (B, T, K, D), and each layer's keys and values.

        masks: of the local and of the global layers. rings, slots: the cache, if T is 1 and the past is in it.
        """
        frame = self.embed_action(action) + self.embed_level(level) + self.embed_stride(stride)
        x = self.embed(ops.cast(z, like=self.tokens)) + self.tokens + frame[:, :, None]
        keys = [None] * len(self.blocks) if key is None else random.split(key, len(self.blocks))
        kept = []
        for i, block in enumerate(self.blocks):
            kind = int(self.is_global(i))
            if rings is None:
                x = blocks.apply(block, x, angles, masks[kind], checkpointing, keys[i])
            else:
                x, seen = block(x, angles, masks[kind], rings[i], slots[kind : kind + 1])
                kept.append(seen)
        return ops.float32(self.head(self.norm(x))), kept

    def forward(self, z, action, level, stride, past=None, key=None, checkpointing=False):
        """Training: all T frames at once, each with its own level. Returns the predicted clean latents (B, T, K, D).

        z (B, T, K, D); action, level, stride (B, T). With a past (B, T, K, D), the same frames as context, each frame
        sees itself as it is in z and earlier frames as they are in the past: just what a rollout sees, for every
        frame of a clip in one pass. Without, z is its own past.
        """
        T, K = z.shape[1:3]
        t = ops.arange(T, like=z)
        age = t[:, None] - t[None]
        masks, angles = [], self._rotary[:, :T, None]
        for window in (self.cfg.window, self.cfg.memory):
            seen = (age >= 0) & (age < window)
            if past is not None:
                rows = [ops.concat([seen, age < -T], axis=1), ops.concat([seen & (age > 0), age == 0], axis=1)]
                seen = ops.concat(rows, axis=0)  # (2T, 2T): the past, then the frames
            n = seen.shape[0]
            masks.append(ops.broadcast_to(seen[:, None, :, None], (n, K, n, K)).reshape(n * K, n * K))
        if past is not None:
            z, angles = ops.concat([past, z], axis=1), ops.concat([angles, angles], axis=1)
            action = ops.concat([action, action], axis=1)
            level, stride = ops.concat([level * 0 + self.cfg.levels, level], 1), ops.concat([stride * 0, stride], 1)
        return self.predict(z, action, level, stride, angles, masks, key=key, checkpointing=checkpointing)[0][:, -T:]

    def noisy(self, z, noise, level):
        """z mixed with noise, per frame: level (B, T) of `levels`, where `levels` itself is a context frame."""
        c = self.cfg
        signal = ops.float32(level) / c.levels
        signal = ops.where(level < c.levels, signal, 1 - c.context_noise + 0 * signal)[:, :, None, None]
        return signal * z + (1 - signal) * noise

    def empty(self, B):
        """The cache before the first frame. Slot and frame counters are shared by all worlds; `past` counts, for
        each, the frames behind it that it may see: zero it to start one world anew, the others do not notice."""
        c, (K, _) = self.cfg, self.size

        def ring(layer):
            return ops.zeros((B, c.heads, self.window(layer), K, c.dim // c.heads), like=self.tokens)

        zero = self._ages[:1] * 0
        return {
            "rings": [(ring(i), ring(i)) for i in range(c.depth)],
            "slots": ops.concat([zero, zero]),
            "frame": zero * 1,
            "past": ops.broadcast_to(zero, (B,)) * 1,
        }

    def _present(self, cache):
        """What every pass of the present frame shares: angles (2, 1, 1, E/2) and the two masks (B, 1, 1, W * K)."""
        c, (K, _) = self.cfg, self.size
        masks = []
        for kind, window in enumerate((c.window, c.memory)):
            age = cache["slots"][kind : kind + 1] - self._ages[:window]
            age = ops.where(age < 0, age + window, age)  # (W,), 0 is the present
            seen = age[None] <= cache["past"][:, None]  # (B, W)
            masks.append(
                ops.broadcast_to(seen[:, None, None, :, None], (*seen.shape[:1], 1, 1, window, K)).flatten(3, 4)
            )
        return ops.take(self._rotary, cache["frame"], axis=1)[:, :, None], masks

    def observe(self, cache, z, noise, action):
        """Takes a frame that happened into the cache: z, noise (B, 1, K, D), action (B, 1) -> cache."""
        c, level = self.cfg, action * 0
        angles, masks = self._present(cache)
        z = self.noisy(z, noise, level + c.levels)
        _, rings = self.predict(z, action, level + c.levels, level, angles, masks, cache["rings"], cache["slots"])
        slots = ops.concat([after(cache["slots"][:1], c.window), after(cache["slots"][1:], c.memory)])
        past = ops.where(cache["past"] + 1 < max(c.window, c.memory), cache["past"] + 1, cache["past"])
        return {"rings": rings, "slots": slots, "frame": after(cache["frame"], c.period), "past": past}

    def step(self, cache, noise, action):
        """noise (B, 1, K, D), action (B, 1) int32 -> the next latent (B, 1, K, D) and the cache that knows it."""
        c, level = self.cfg, action * 0
        angles, masks = self._present(cache)
        steps = c.steps if c.head == "flow" else 1
        stride = c.levels // steps
        z, rings = (noise if c.head == "flow" else noise * 0), cache["rings"]
        for i in range(steps):
            clean, rings = self.predict(
                z, action, level + i * stride, level + stride, angles, masks, rings, cache["slots"]
            )
            z = z + (clean - z) / (steps - i)  # Euler on the straight path to the predicted clean latent
        z = unit(z)
        return z, self.observe(cache | {"rings": rings}, z, noise, action)
