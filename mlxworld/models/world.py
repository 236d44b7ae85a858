"""What every world is made of: a frame with its sound to latents, the next latents, latents to a frame with its sound.

A family's model says how: `encode`, `step_latent`, `observe_latent`, `decode_video`, `decode_audio`, and the states
before the first frame, `init_past` and `init_sound`. One that imagines the sound of silent pictures has `encode_silent`
and `with_sound` too. What is played, measured and exported is made of those, here.

B worlds, T frames, H, W pixels, S samples of a frame, K latent tokens of width D. An action is (B, 1) int32, or
a row of numbers (B, 1, A) where the world has buttons and axes.
"""

from typing import Any

from mlxworld.configs.world import WorldConfig

from .. import ops, random
from ..nn import Module
from .arrays import Array, State
from .part import Part


class WorldModel(Module):
    def __init__(self, cfg: WorldConfig):
        super().__init__()
        self.cfg = cfg

    def encode(self, video: Array, audio: Array) -> Array:
        """video (B, T, H, W, 3) in [0, 1], audio (B, T, S) in [-1, 1] -> z (B, T, K, D)."""
        raise TypeError(f"{type(self).__name__} has no encode")

    def step_latent(self, past: State, noise: Array, action: Array) -> tuple[Array, State]:
        """noise (B, 1, K, D) and the action that leads to it -> the next z (B, 1, K, D), and the past that has it."""
        raise TypeError(f"{type(self).__name__} has no step_latent")

    def observe_latent(self, past: State, z: Array, noise: Array, action: Array) -> State:
        """The past with a frame that happened."""
        raise TypeError(f"{type(self).__name__} has no observe_latent")

    def hooked(self) -> Any:
        """The stack of blocks that latent hooks join."""
        raise TypeError(f"{type(self).__name__} has no stack that hooks join")

    def decode_video(self, z: Array) -> Array:
        """z (B, T, K, D) -> video (B, T, H, W, 3), about 0..1, not clipped."""
        raise TypeError(f"{type(self).__name__} has no decode_video")

    def decode_audio(self, z: Array, sound: State) -> tuple[Array, State]:
        """z (B, T, K, D), the state of the sound before -> audio (B, T, S), the state after."""
        raise TypeError(f"{type(self).__name__} has no decode_audio")

    def read_physics(self, z: Array) -> dict[str, Array]:
        """z (B, T, K, D) -> by name (B, T, ...), of cfg.bodies bodies N: position, velocity (N, 3), energy (N,); and
        plausibility (B, T). A frame's reading depends on its latent and the two before it."""
        raise TypeError(f"{type(self).__name__} has no physics modules")

    def init_past(self, B: int) -> State:
        """The past before the first frame. Its leaves are not called noise, action or z: a part has those."""
        raise TypeError(f"{type(self).__name__} has no init_past")

    def init_sound(self, B: int) -> State:
        """The state of the sound before the first frame; none where sound has no state."""
        return {}

    def decode(self, z: Array, sound: State = None) -> tuple[Array, Array, State]:
        """z (B, T, K, D), the state of the sound (None: silence before) -> video, audio, the state after."""
        audio, sound = self.decode_audio(z, self.init_sound(z.shape[0]) if sound is None else sound)
        return self.decode_video(z), audio, sound

    def init_state(self, B: int) -> dict[str, State]:
        """The state of B worlds before their first frame."""
        return {"past": self.init_past(B), "sound": self.init_sound(B)}

    def noise(self, key: Array, B: int) -> Array:
        """The noise of the next frame (B, 1, K, D)."""
        return random.normal(key, (B, 1, *self.cfg.latent_shape))

    def observe(self, state: Any, z: Array, noise: Array, action: Array) -> tuple[Array, Array, Any]:
        """A frame that happened: z, noise (B, 1, K, D) -> video, audio (as `step`) and the state."""
        video, audio, sound = self.decode(z, state["sound"])
        return video, audio, {"past": self.observe_latent(state["past"], z, noise, action), "sound": sound}

    def step(self, state: Any, noise: Array, action: Array) -> tuple[Array, Array, Array, Any]:
        """noise (B, 1, K, D) -> video (B, 1, H, W, 3), audio (B, 1, S), z (B, 1, K, D), state."""
        z, past = self.step_latent(state["past"], noise, action)
        video, audio, sound = self.decode(z, state["sound"])
        return video, audio, z, {"past": past, "sound": sound}

    def parts(self, batch: int = 1) -> dict[str, Part]:
        """The pieces of a step, and the encoder over as many frames as a latent depends on and eight more."""
        c, past, sound, T = self.cfg, self.init_past(batch), self.init_sound(batch), self.cfg.receptive_field + 8
        z, action = ops.ones((batch, 1, *c.latent_shape)), ops.zeros((batch, 1, *c.action_space.shape))
        action = action if c.action_space.shape else ops.int32(action)
        clip = {"video": ops.zeros((batch, T, c.size, c.size, 3)), "audio": ops.zeros((batch, T, c.samples))}

        def step(past, noise, action):
            z, past = self.step_latent(past, noise, action)
            return (z,), past

        def observe(past, z, noise, action):
            return (z * 1,), self.observe_latent(past, z, noise, action)  # an exporter wants an output

        def video(state, z):
            return (self.decode_video(z),), state

        def audio(sound, z):
            samples, sound = self.decode_audio(z, sound)
            return (samples,), sound

        def encode(state, video, audio):
            return (self.encode(video, audio),), state

        about = (
            f"Latents of {T} frames; one depends on {c.receptive_field} frames before its own, nothing on later ones."
        )
        moved = {"noise": z, "action": action}
        parts = (
            Part("step", "The next frame's latent, after an action. The state is the past.", step, past, moved, ("z",)),
            Part("observe", "Takes a frame into the state of `step`.", observe, past, {"z": z, **moved}, ("observed",)),
            Part("video", "A latent's picture.", video, {}, {"z": z}, ("video",)),
            Part("audio", "A latent's sound.", audio, sound, {"z": z}, ("audio",)),
            Part("encode", about, encode, {}, clip, ("z",)),
        )
        return {part.name: part for part in parts}
