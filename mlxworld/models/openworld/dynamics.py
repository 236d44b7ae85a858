"""LatentDynamics: the next frame of a latent world. Causal over frames, free inside a frame.

A rollout is a pure function: `step(cache, noise, action) -> latent, cache`. The cache is arrays only, of fixed shapes:
per layer a ring of frames of keys and values, the slot counters, how much past each world has, and the last frame.
Every pass writes its frames to their slots and attends to the ring itself, so a noisy pass is overwritten by the next,
and nothing is concatenated. What stays of a frame are the keys of a context pass over the finished latent; it runs
together with the first denoising pass of the frame after it, as two frames of one pass: a frame takes no pass more than
it is denoised by, with the same result. It knows nothing of pictures or sound.

Training is diffusion forcing (Chen et al. 2024), each frame with its own noise level, over a nearly clean past, as
a rollout's is. The flow head predicts the clean latent and is conditioned on the step size (shortcut models, Frans et
al. 2024; as in Dreamer 4, Hafner et al. 2025).

B worlds, T frames, K tokens of a frame, D their width, C model width, H heads, E head width, N frames of a ring: a
window and the frame after it.
"""

from typing import Any

from ... import ops, random
from ...nn import Embedding, Linear, Module, RMSNorm
from .. import blocks


def after(i, n):
    """i + 1 modulo n, by comparison: a remainder does not pass through every exporter."""
    return ops.where(i + 1 < n, i + 1, i * 0)


def back(i, a, n):
    """i - a modulo n, for i in 0 .. n - 1 and a in 0 .. n."""
    return ops.where(i - a < 0, i - a + n, i - a)


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
        self._order = ops.arange(max(cfg.window, cfg.memory) + 1)

    def is_global(self, layer):
        return (layer + 1) % self.cfg.every == 0

    def window(self, layer):
        """Frames that a layer sees, the present one included."""
        return self.cfg.memory if self.is_global(layer) else self.cfg.window

    def predict(
        self, z, action, level, stride, angles, masks, rings=None, slots: Any = None, key=None, checkpointing=False
    ):
        """z (B, T, K, D); action, level, stride (B, T) -> the clean z (B, T, K, D), and each layer's keys and values.

        angles: see `blocks.rotate`. masks: of the local and of the global layers. rings: the past, if it is in the
        cache; then `slots`, of local and of global rings, are where the T frames go.
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
                x, seen = block(x, angles, masks[kind], rings[i], slots[kind])
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
        c, (K, D) = self.cfg, self.size

        def ring(layer):
            shape = (B, c.heads, self.window(layer) + 1, K, c.dim // c.heads)
            return blocks.ring_empty(shape, self.tokens, c.cache == "int8")

        zero = self._order[:1] * 0
        past = ops.broadcast_to(zero, (B,)) * 1
        return {
            "rings": [(ring(i), ring(i)) for i in range(c.depth)],
            "slots": ops.concat([zero, zero]),
            "frame": zero * 1,
            "past": past,
            "last": {"z": ops.zeros((B, 1, K, D), like=self._rotary), "action": past[:, None] * 1},
        }

    def _places(self, cache, ages):
        """Where frames of these ages (0: the present, 1: the last) stand: their angles, two of (T, 1, E/2), masks
        (B, 1, T*K, N*K) and slots, T of (1,), the latter two of local and of global layers."""
        c, (K, _) = self.cfg, self.size
        rows = ops.concat([back(cache["frame"], a, c.period) for a in ages])
        masks, slots = [], []
        for kind, window in enumerate((c.window, c.memory)):
            now, n = cache["slots"][kind : kind + 1], window + 1
            age = back(now, self._order[:n], n)  # (N,) of what each slot holds
            known = age[None] <= cache["past"][:, None]  # (B, N)
            seen = [(known & (age > a) & (age < a + window)) | (age == a) for a in ages]
            seen = ops.stack(seen, axis=1)[:, :, None, :, None]  # five axes: Core ML has no more
            shape = (known.shape[0], len(ages), K, n, K)
            masks.append(ops.broadcast_to(seen, shape).reshape(shape[0], 1, len(ages) * K, n * K))
            slots.append([back(now, a, n) for a in ages])
        angles = ops.cast(ops.take(self._rotary, rows, axis=1), like=self.tokens)[:, :, None]
        return (angles[0], angles[1]), masks, slots

    def _attend(self, places, rings, z, action, level, stride):
        """One pass over the T last frames of these places, which are written to the rings: see `predict`."""
        (angles, masks, slots), (T, K) = places, z.shape[1:3]
        if len(slots[0]) > T:
            angles, slots = [x[-T:] for x in angles], [x[-T:] for x in slots]
            masks = [x[:, :, -T * K :] for x in masks]
        return self.predict(z, action, level, stride, angles, masks, rings, slots)

    def _next(self, cache, rings, z, noise, action):
        """The cache of the frame after the present one, whose latent is z."""
        c = self.cfg
        slots = ops.concat([after(cache["slots"][:1], c.window + 1), after(cache["slots"][1:], c.memory + 1)])
        past = ops.where(cache["past"] < max(c.window, c.memory), cache["past"] + 1, cache["past"])
        last = {"z": self.noisy(z, noise, action * 0 + c.levels), "action": action}
        return {"rings": rings, "slots": slots, "frame": after(cache["frame"], c.period), "past": past, "last": last}

    def observe(self, cache, z, noise, action):
        """Takes a frame that happened into the cache: z, noise (B, 1, K, D), action (B, 1) -> cache."""
        new, level = self._next(cache, cache["rings"], z, noise, action), action * 0
        frame, ages = (cache["last"], (1,)) if self.cfg.context == "clean" else (new["last"], (0,))
        places, finished = self._places(cache, ages), level + self.cfg.levels
        _, rings = self._attend(places, cache["rings"], frame["z"], frame["action"], finished, level)
        return new | {"rings": rings}

    def step(self, cache, noise, action):
        """noise (B, 1, K, D), action (B, 1) int32 -> the next latent (B, 1, K, D) and the cache that knows it."""
        c, level, last = self.cfg, action * 0, cache["last"]
        steps = c.steps if c.head == "flow" else 1
        stride = c.levels // steps
        z, rings = (noise if c.head == "flow" else noise * 0), cache["rings"]
        places = self._places(cache, (1, 0) if c.context == "clean" else (0,))
        for i in range(steps):
            frames = z, action, level + i * stride, level + stride
            if i == 0 and c.context == "clean":
                before = last["z"], last["action"], level + c.levels, level
                frames = [ops.concat(pair, axis=1) for pair in zip(before, frames, strict=True)]
            clean, rings = self._attend(places, rings, *frames)
            z = z + (clean[:, -1:] - z) / (steps - i)  # Euler on the straight path to the predicted clean latent
        z = unit(z)
        return z, self._next(cache, rings, z, noise, action)
