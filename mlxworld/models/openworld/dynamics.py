"""LatentDynamics: the next frame of a latent world. Causal over frames, free inside a frame.

A rollout is a pure function: `step(state, noise, action) -> latent, state`. The state is arrays only, of fixed shapes:
per layer a ring of frames of keys and values, a clock, how much past each world has, and the last frame.
Every pass writes its frames to their slots and attends to the ring itself, so a noisy pass is overwritten by the next,
and nothing is concatenated. What stays of a frame are the keys of a context pass over the finished latent; it runs
together with the first denoising pass of the frame after it, as two frames of one pass: a frame takes no pass more than
it is denoised by, with the same result. It knows nothing of pictures or sound.

Training is diffusion forcing (Chen et al. 2024), each frame with its own noise level, over a nearly clean past, as
a rollout's is. The flow head predicts the clean latent and is conditioned on the step size (shortcut models, Frans et
al. 2024; as in Dreamer 4, Hafner et al. 2025).

Latent hooks join as a prefix (see `blocks/hooks.py`): every frame sees them, they see each other, no ring holds them.

B worlds, T frames, K tokens of a frame, D their width, C model width, H heads, E head width, N frames of a ring: a
window and the frame after it.
"""

from typing import Any

from mlxworld.configs.block import BlockConfig
from mlxworld.configs.openworld import DynamicsConfig

from ... import ops, random
from ...nn import Embedding, Linear, RMSNorm, role
from .. import blocks
from ..arrays import Array, State
from ..blocks import rope
from ..blocks.hooks import Hooked


def after(i: Array, n: Array | int) -> Array:
    """i + 1 modulo n, by comparison: a remainder does not pass through every exporter."""
    return ops.where(i + 1 < n, i + 1, i * 0)


HIDDEN = -2.0  # of buttons and axes: no action has it
PRESENT, LAST, BOTH = slice(0, 1), slice(1, 2), slice(0, 2)  # frames of a pass


def back(i: Array, a: Array, n: int) -> Array:
    """i - a modulo n, for i in 0 .. n - 1 and a in 0 .. n."""
    return ops.where(i - a < 0, i - a + n, i - a)


def unit(z: Array) -> Array:
    """z (..., D) on the sphere of radius sqrt(D), where latents live: each token has mean square 1."""
    return ops.rms_norm(ops.float32(z), 1e-6)


def _weave(past, new, w):
    """Of each chunk of w frames the past ones, then the new ones: (B, T, ...) twice -> (B, 2T, ...)."""
    pair = [x.reshape(x.shape[0], -1, w, *x.shape[2:]) for x in (past, new)]
    return ops.concat(pair, axis=2).reshape(new.shape[0], -1, *new.shape[2:])


class LatentDynamics(Hooked):
    def __init__(self, cfg: DynamicsConfig, tokens: int, latent: int, actions: int, controls: int = 0):
        """K tokens of width `latent` a frame; that many `actions`, and one for a hidden action. With `controls`, an
        action is a row of so many numbers instead (buttons and axes), and a hidden one is HIDDEN in each."""
        super().__init__()
        self.cfg, self.size, self.controls, self.hook_width = cfg, (tokens, latent), controls, cfg.dim
        self.hidden = HIDDEN if controls else actions
        block = BlockConfig(cfg.dim, cfg.heads, dropout=cfg.dropout)
        self.embed = role(Linear(latent, cfg.dim), "input")
        self.tokens = ops.zeros((tokens, cfg.dim))
        role(self, "embedding", "tokens")
        if controls:
            self.embed_controls = [role(Linear(controls, cfg.dim), "input"), Linear(cfg.dim, cfg.dim)]
        else:
            self.embed_action = role(Embedding(actions + 1, cfg.dim), "embedding")
        self.embed_noise_level = role(Embedding(cfg.noise_levels + 1, cfg.dim), "embedding")
        self.embed_step_size = role(Embedding(cfg.noise_levels + 1, cfg.dim), "embedding")
        self.blocks = [blocks.Block(block) for _ in range(cfg.depth)]
        self.norm = RMSNorm(cfg.dim)
        self.head = role(Linear(cfg.dim, latent), "head")
        self._rotary = ops.array(rope.whole_turns(cfg.period, block.width))  # (2, period, E)
        # Where each hand of the clock turns: the slots of local and of global rings, and the period of the angles.
        self._sizes = ops.array([cfg.local_window + 1, cfg.global_window + 1, cfg.period])
        self._ages = ops.array([0, 1])  # of the two frames of a pass: the present, the last
        self._query = ops.array([[0] * tokens, [1] * tokens])  # the same, of their tokens
        longest = max(cfg.local_window, cfg.global_window) + 1
        self._key = ops.array([slot for slot in range(longest) for _ in range(tokens)])  # of a ring's tokens

    def _embed(self, action: Array) -> Array:
        """(B, T) indices, or rows (B, T, A) -> (B, T, C)."""
        if not self.controls:
            return self.embed_action(action)
        first, second = self.embed_controls
        return second(ops.silu(first(ops.cast(action, like=self.tokens))))

    def is_global(self, layer: int) -> bool:
        return (layer + 1) % self.cfg.global_every == 0

    def window(self, layer: int) -> int:
        """Frames that a layer sees, the present one included."""
        return self.cfg.global_window if self.is_global(layer) else self.cfg.local_window

    def predict(
        self,
        z: Array,
        action: Array,
        noise_level: Array,
        step_size: Array,
        angles: Any,
        masks: list[Array],
        rings: list[Any] | None = None,
        slots: Any = None,
        key: Array | None = None,
        checkpointing: bool = False,
        local: Any = blocks.attend,
        more: Any = None,
    ) -> tuple[Array, list[Any]]:
        """z (B, T, K, D); action (B, T), noise_level and step_size (B or 1, T) -> the clean z (B, T, K, D), and each
        layer's ring.

        angles: see `rope.rotate`. masks: of the local and of the global layers. rings: the past, if it is in the
        state; then `slots` (T,), of local and of global rings, are where the T frames go. local: how local layers
        attend. more: of hooks, see `joined`.
        """
        frame = self._embed(action) + self.embed_noise_level(noise_level) + self.embed_step_size(step_size)
        x = self.embed(ops.cast(z, like=self.tokens))
        x = x + ops.cast(self.tokens + frame[:, :, None], like=x)  # low precision all along, under autocast too
        keys = [None] * len(self.blocks) if key is None else random.split(key, len(self.blocks))
        turn, written = rope.turning(angles), []
        for i, block in enumerate(self.blocks):
            kind = int(self.is_global(i))
            attend = blocks.attend if kind or rings is not None else local
            if more is not None and more[i] is not None:
                attend, checkpointing = self.attending(attend, i, more[i]), False  # hooks need a gradient, too
            if rings is None:
                x = blocks.apply(block, x, turn, masks[kind], checkpointing, keys[i], attend)
            else:
                x, ring = block(x, turn, masks[kind], blocks.Ring(rings[i], slots[kind]), attend=attend)
                written.append(ring.stores)
        return ops.float32(self.head(self.norm(x))), written

    def forward(
        self,
        z: Array,
        action: Array,
        noise_level: Array,
        step_size: Array,
        past: Array | None = None,
        key: Array | None = None,
        checkpointing: bool = False,
    ) -> Array:
        """Training: all T frames at once, each with its own noise level. Returns the predicted clean latents
        (B, T, K, D).

        z (B, T, K, D); action, noise_level, step_size (B, T). With a past (B, T, K, D), the same frames as context,
        each frame sees itself as it is in z and earlier frames as they are in the past: just what a rollout sees, for
        every frame of a clip in one pass. Without, z is its own past. Local layers attend chunk by chunk (see
        `blocks.attend_in_chunks`), where T is a multiple of their window.
        """
        T, twice, local = z.shape[1], past is not None, blocks.attend
        w = self.cfg.local_window if twice and T % self.cfg.local_window == 0 else T  # frames of a chunk
        t = ops.arange(T, like=z)[None]
        time, new, angles = t, t * 0, ops.cast(rope.first_rows(self._rotary, T)[:, :, None, None], like=self.tokens)
        if twice:
            z, action, angles = _weave(past, z, w), _weave(action, action, w), _weave(angles, angles, w)
            noise_level = _weave(noise_level * 0 + self.cfg.noise_levels, noise_level, w)
            step_size = _weave(step_size * 0, step_size, w)
            time, new = _weave(t, t, w), _weave(t * 0, t * 0 + 1, w)
        windows = self.cfg.local_window, self.cfg.global_window
        masks = [self._seen((time, new), (time, new), window) for window in windows]
        if w < T:
            time, new, local = time.reshape(-1, 2 * w), new.reshape(-1, 2 * w), blocks.attend_in_chunks
            keys = ops.concat([time[:, :w] - w, time], axis=1), ops.concat([new[:, :w], new], axis=1)
            masks[0] = self._seen((time, new), keys, self.cfg.local_window)
        inputs = z, action, noise_level, step_size, angles, masks
        more = self.joined()
        z = self.predict(*inputs, key=key, checkpointing=checkpointing, local=local, more=more)[0]
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

    def noisy(self, z: Array, noise: Array, noise_level: Array) -> Array:
        """z mixed with noise, per frame: noise_level (B, T) of `noise_levels`, which itself is a context frame."""
        c = self.cfg
        signal = ops.float32(noise_level)[:, :, None, None] / c.noise_levels
        return ops.where(signal < 1, signal * z + (1 - signal) * noise, self.finished(z, noise))

    def finished(self, z: Array, noise: Array) -> Array:
        """What later frames see of a frame: z with a little noise."""
        return (1 - self.cfg.context_noise) * z + self.cfg.context_noise * noise

    def init_state(self, B: int) -> State:
        """The state before the first frame. All worlds share the clock: the slots of local and of global rings that are
        next, and the frame of the rotary angles. `past` counts, for each world, the frames behind it that it may see:
        zero it to start one world anew, the others do not notice."""
        c, (K, D) = self.cfg, self.size

        def ring(layer):
            shape = (B, c.heads, self.window(layer) + 1, K, c.dim // c.heads)
            return blocks.empty(shape, self.tokens, c.kv_cache == "int8")

        clock = self._sizes * 0
        past = ops.broadcast_to(clock[:1], (B,)) * 1
        return {
            "rings": [(ring(i), ring(i)) for i in range(c.depth)],
            "clock": clock,
            "past": past,
            "last": {"z": ops.zeros((B, 1, K, D), like=self._rotary), "action": self._no_action(past)},
        }

    def _no_action(self, past):
        """What led to the frame before the first one: (B, 1), or rows (B, 1, A) of zeros."""
        if not self.controls:
            return past[:, None] * 1
        return ops.zeros((past.shape[0], 1, self.controls), like=self._rotary)

    def _places(self, state, frames):
        """Where the LAST, the PRESENT or BOTH frames stand: their angles, two of (T, 1, 1, E), masks (B, 1, T*K, N*K)
        and slots (T,), the latter two of local and of global layers."""
        c, K, clock = self.cfg, self.size[0], state["clock"]
        ages, query = self._ages[frames], self._query[frames].reshape(-1, 1)
        masks, slots = [], []
        for kind, window in enumerate((c.local_window, c.global_window)):
            present, n = clock[kind : kind + 1], window + 1
            key = back(present, self._key[: n * K], n)  # (N*K,) ages
            known = (key[None] <= state["past"][:, None])[:, None]  # (B, 1, N*K)
            seen = (known & (key > query) & (key < query + window)) | (key == query)
            masks.append(blocks.mask(seen, like=self.tokens)[:, None])
            slots.append(back(present, ages, n))
        angles = ops.take(self._rotary, back(clock[2:], ages, c.period), axis=1)
        angles = ops.cast(angles, like=self.tokens)[:, :, None, None]
        return (angles[0], angles[1]), masks, slots

    def _attend(self, places, rings, more, z, action, noise_level, step_size):
        """One pass over the T first frames of these places, which are written to the rings: see `predict`."""
        (angles, masks, slots), (T, K) = places, z.shape[1:3]
        if len(slots[0]) > T:
            angles, slots = [x[:T] for x in angles], [x[:T] for x in slots]
            masks = [x[:, :, : T * K] for x in masks]
        return self.predict(z, action, noise_level, step_size, angles, masks, rings, slots, more=more)

    def _next(self, state, rings, z, noise, action):
        """The state of the frame after the present one, whose latent is z."""
        c, past = self.cfg, state["past"]
        past = ops.where(past < max(c.local_window, c.global_window), past + 1, past)
        last = {"z": self.finished(z, noise), "action": action}
        return {"rings": rings, "clock": after(state["clock"], self._sizes), "past": past, "last": last}

    def observe(self, state: State, z: Array, noise: Array, action: Array) -> State:
        """Takes a frame that happened into the state: z, noise (B, 1, K, D), action (B, 1) -> state."""
        last, age, more = state["last"], self._ages[None, LAST], self.joined()
        frame = last["z"], last["action"], age * self.cfg.noise_levels, age * 0
        _, rings = self._attend(self._places(state, LAST), state["rings"], more, *frame)
        return self._next(state, rings, z, noise, action)

    def step(self, state: State, noise: Array, action: Array) -> tuple[Array, State]:
        """noise (B, 1, K, D), action (B, 1) int32 -> the next latent (B, 1, K, D) and the state that knows it."""
        c, last, rings = self.cfg, state["last"], state["rings"]
        steps = c.steps if c.head == "flow" else 1
        step_size = c.noise_levels // steps
        z = noise if c.head == "flow" else noise * 0
        places, more = self._places(state, BOTH), self.joined()
        for i in range(steps):
            frames, finished = (z, action), self._ages[None, PRESENT]
            if i == 0:  # the context pass of the last frame, too
                frames = [ops.concat(pair, axis=1) for pair in zip(frames, (last["z"], last["action"]), strict=True)]
                finished = self._ages[None]  # 1 for the last frame
            noise_level = finished * c.noise_levels + (1 - finished) * (i * step_size)
            clean, rings = self._attend(places, rings, more, *frames, noise_level, (1 - finished) * step_size)
            z = z + (clean[:, :1] - z) / (steps - i)  # Euler on the straight path to the predicted clean latent
        z = unit(z)
        return z, self._next(state, rings, z, noise, action)
