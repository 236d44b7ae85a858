"""LatentDynamics: the next frame of a latent world. Causal over frames, free inside a frame.

A rollout is a pure function: `step(cache, noise, action) -> latent, cache`. The cache is arrays only, of fixed shapes:
per layer a ring of frames of keys and values, a clock, how much past each world has, and the last frame.
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


PRESENT, LAST, BOTH = slice(0, 1), slice(1, 2), slice(0, 2)  # frames of a pass


def back(i, a, n):
    """i - a modulo n, for i in 0 .. n - 1 and a in 0 .. n."""
    return ops.where(i - a < 0, i - a + n, i - a)


def unit(z):
    """z (..., D) on the sphere of radius sqrt(D), where latents live: each token has mean square 1."""
    return ops.rms_norm(ops.float32(z), 1e-6)


def _weave(past, new, w):
    """Of each chunk of w frames the past ones, then the new ones: (B, T, ...) twice -> (B, 2T, ...)."""
    pair = [x.reshape(x.shape[0], -1, w, *x.shape[2:]) for x in (past, new)]
    return ops.concat(pair, axis=2).reshape(new.shape[0], -1, *new.shape[2:])


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
        self._rotary = ops.array(blocks.rotary_table(cfg.period, cfg.dim // cfg.heads))  # (2, period, E)
        self._sizes = ops.array([cfg.window + 1, cfg.memory + 1, cfg.period])  # where each hand of the clock turns
        self._ages = ops.array([0, 1])  # of the two frames of a pass: the present, the last
        self._query = ops.array([[0] * tokens, [1] * tokens])  # the same, of their tokens
        longest = max(cfg.window, cfg.memory) + 1
        self._key = ops.array([slot for slot in range(longest) for _ in range(tokens)])  # of a ring's tokens

    def is_global(self, layer):
        return (layer + 1) % self.cfg.every == 0

    def window(self, layer):
        """Frames that a layer sees, the present one included."""
        return self.cfg.memory if self.is_global(layer) else self.cfg.window

    def predict(
        self, z, action, level, stride, angles, masks, rings=None, slots: Any = None, key=None, checkpointing=False
    ):
        """z (B, T, K, D); action (B, T), level and stride (B or 1, T) -> the clean z (B, T, K, D), each layer's ring.

        angles: see `blocks.rotate`. masks: of the local and of the global layers. rings: the past, if it is in the
        cache; then `slots` (T,), of local and of global rings, are where the T frames go.
        """
        frame = self.embed_action(action) + self.embed_level(level) + self.embed_stride(stride)
        x = self.embed(ops.cast(z, like=self.tokens))
        x = x + ops.cast(self.tokens + frame[:, :, None], like=x)  # low precision all along, under autocast too
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
        frame of a clip in one pass. Without, z is its own past. Local layers attend chunk by chunk (see `Attention`),
        where T is a multiple of their window.
        """
        T, twice = z.shape[1], past is not None
        w = self.cfg.window if twice and T % self.cfg.window == 0 else T  # frames of a chunk
        t = ops.arange(T, like=z)[None]
        time, new, angles = t, t * 0, ops.cast(self._rotary[:, :T, None, None], like=self.tokens)
        if twice:
            z, action, angles = _weave(past, z, w), _weave(action, action, w), _weave(angles, angles, w)
            level, stride = _weave(level * 0 + self.cfg.levels, level, w), _weave(stride * 0, stride, w)
            time, new = _weave(t, t, w), _weave(t * 0, t * 0 + 1, w)
        masks = [self._seen((time, new), (time, new), window) for window in (self.cfg.window, self.cfg.memory)]
        if w < T:
            time, new = time.reshape(-1, 2 * w), new.reshape(-1, 2 * w)
            keys = ops.concat([time[:, :w] - w, time], axis=1), ops.concat([new[:, :w], new], axis=1)
            masks[0] = self._seen((time, new), keys, self.cfg.window)
        z = self.predict(z, action, level, stride, angles, masks, key=key, checkpointing=checkpointing)[0]
        return z.reshape(-1, T // w, 2, w, *z.shape[2:])[:, :, 1].reshape(-1, T, *z.shape[2:]) if twice else z

    def _seen(self, queries, keys, window):
        """Mask (n, Q*K, N*K). queries: times (n, Q) of frames, and 1 for those as they are in z, 0 for those of the
        past; keys (n, N) likewise. The past is seen, and of the frames in z only the query itself."""
        time, new = (x[:, :, None] for x in queries)
        key_time, key_new = (x[:, None] for x in keys)
        age, n, K = time - key_time, len(queries[0]), self.size[0]
        past = (age >= new) & (age < window) & (key_new == 0) & (key_time >= 0)
        itself = (age == 0) & (new + key_new == 2)
        seen = blocks.mask(past | itself, like=self.tokens)[:, :, None, :, None]
        shape = n, age.shape[1], K, age.shape[2], K
        return ops.broadcast_to(seen, shape).reshape(n, shape[1] * K, shape[3] * K)

    def noisy(self, z, noise, level):
        """z mixed with noise, per frame: level (B, T) of `levels`, where `levels` itself is a context frame."""
        c = self.cfg
        signal = ops.float32(level)[:, :, None, None] / c.levels
        return ops.where(signal < 1, signal * z + (1 - signal) * noise, self.finished(z, noise))

    def finished(self, z, noise):
        """What later frames see of a frame: z with a little noise."""
        return (1 - self.cfg.context_noise) * z + self.cfg.context_noise * noise

    def empty(self, B):
        """The cache before the first frame. All worlds share the clock: the slots of local and of global rings that are
        next, and the frame of the rotary angles. `past` counts, for each world, the frames behind it that it may see:
        zero it to start one world anew, the others do not notice."""
        c, (K, D) = self.cfg, self.size

        def ring(layer):
            shape = (B, c.heads, self.window(layer) + 1, K, c.dim // c.heads)
            return blocks.ring_empty(shape, self.tokens, c.cache == "int8")

        clock = self._sizes * 0
        past = ops.broadcast_to(clock[:1], (B,)) * 1
        return {
            "rings": [(ring(i), ring(i)) for i in range(c.depth)],
            "clock": clock,
            "past": past,
            "last": {"z": ops.zeros((B, 1, K, D), like=self._rotary), "action": past[:, None] * 1},
        }

    def _places(self, cache, frames):
        """Where the LAST, the PRESENT or BOTH frames stand: their angles, two of (T, 1, 1, E), masks (B, 1, T*K, N*K)
        and slots (T,), the latter two of local and of global layers."""
        c, K, clock = self.cfg, self.size[0], cache["clock"]
        ages, query = self._ages[frames], self._query[frames].reshape(-1, 1)
        masks, slots = [], []
        for kind, window in enumerate((c.window, c.memory)):
            now, n = clock[kind : kind + 1], window + 1
            key = back(now, self._key[: n * K], n)  # (N*K,) ages
            known = (key[None] <= cache["past"][:, None])[:, None]  # (B, 1, N*K)
            seen = (known & (key > query) & (key < query + window)) | (key == query)
            masks.append(blocks.mask(seen, like=self.tokens)[:, None])
            slots.append(back(now, ages, n))
        angles = ops.take(self._rotary, back(clock[2:], ages, c.period), axis=1)
        angles = ops.cast(angles, like=self.tokens)[:, :, None, None]
        return (angles[0], angles[1]), masks, slots

    def _attend(self, places, rings, z, action, level, stride):
        """One pass over the T first frames of these places, which are written to the rings: see `predict`."""
        (angles, masks, slots), (T, K) = places, z.shape[1:3]
        if len(slots[0]) > T:
            angles, slots = [x[:T] for x in angles], [x[:T] for x in slots]
            masks = [x[:, :, : T * K] for x in masks]
        return self.predict(z, action, level, stride, angles, masks, rings, slots)

    def _next(self, cache, rings, z, noise, action):
        """The cache of the frame after the present one, whose latent is z."""
        c, past = self.cfg, cache["past"]
        past = ops.where(past < max(c.window, c.memory), past + 1, past)
        last = {"z": self.finished(z, noise), "action": action}
        return {"rings": rings, "clock": after(cache["clock"], self._sizes), "past": past, "last": last}

    def observe(self, cache, z, noise, action):
        """Takes a frame that happened into the cache: z, noise (B, 1, K, D), action (B, 1) -> cache."""
        new, ages = self._next(cache, cache["rings"], z, noise, action), self._ages[None, LAST]
        frame, which = (cache["last"], LAST) if self.cfg.context == "clean" else (new["last"], PRESENT)
        level, places = ages * self.cfg.levels, self._places(cache, which)
        _, rings = self._attend(places, cache["rings"], frame["z"], frame["action"], level, ages * 0)
        return new | {"rings": rings}

    def step(self, cache, noise, action):
        """noise (B, 1, K, D), action (B, 1) int32 -> the next latent (B, 1, K, D) and the cache that knows it."""
        c, last, rings = self.cfg, cache["last"], cache["rings"]
        steps = c.steps if c.head == "flow" else 1
        stride = c.levels // steps
        z = noise if c.head == "flow" else noise * 0
        both = c.context == "clean"
        places = self._places(cache, BOTH if both else PRESENT)
        for i in range(steps):
            seen, finished = (z, action), self._ages[None, PRESENT]
            if i == 0 and both:
                seen = [ops.concat(pair, axis=1) for pair in zip(seen, (last["z"], last["action"]), strict=True)]
                finished = self._ages[None]  # 1 for the last frame
            level = finished * c.levels + (1 - finished) * (i * stride)
            clean, rings = self._attend(places, rings, *seen, level, (1 - finished) * stride)
            z = z + (clean[:, :1] - z) / (steps - i)  # Euler on the straight path to the predicted clean latent
        z = unit(z)
        return z, self._next(cache, rings, z, noise, action)
