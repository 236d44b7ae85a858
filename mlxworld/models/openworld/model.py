"""TransformerWorldModel: all of OpenWorld in one module, and the pure step that play, export and agents call.

    encode(video, audio) -> z;  dynamics.step(state, noise, action) -> z';  decode(z') -> video, audio

B worlds, T frames, H, W pixels, S samples of a frame, K latent tokens of width D.
"""

from typing import Any

from mlxworld.configs.openworld import OpenWorldConfig

from ... import ops, random
from ...nn import Linear, Module
from ..arrays import Array
from ..blocks import init_weights
from ..world import WorldModel
from .audio import AudioDecoder, AudioEncoder
from .decoder import VideoDecoder
from .dynamics import LatentDynamics
from .fusion import CrossModalFusion
from .latent import LatentCompressor, LatentProcessor
from .losses import Objective
from .physics import Physics
from .vision import VisionEncoder


class AudioVideoTokenizer(Module):
    """Frames with their sound to latents and back. The picture is decoded from z_content alone; z_dynamics, the last
    D - content channels of each token, holds motion and what can only be heard."""

    mean_frame: Array  # (H * W * 3,), a buffer: the data's mean picture

    def __init__(self, cfg: OpenWorldConfig):
        super().__init__()
        self.cfg = cfg
        content, motion = cfg.latent.content, cfg.latent.dim - cfg.latent.content
        self.register_buffer("mean_frame", ops.zeros((cfg.size * cfg.size * 3,)))  # what differs from it is encoded
        self.vision_encoder = VisionEncoder(cfg)
        self.audio_encoder = AudioEncoder(cfg, cfg.vision.dim)
        self.fusion = CrossModalFusion(cfg)
        self.compressor = LatentCompressor(cfg)
        self.video_processor = LatentProcessor(cfg, content)
        self.audio_processor = LatentProcessor(cfg, cfg.latent.dim)
        self.video_decoder = VideoDecoder(cfg)
        self.audio_decoder = AudioDecoder(cfg, cfg.decoder.dim)
        self.motion = Linear(motion, content)  # z_dynamics -> change of z_content
        self.objective = Objective(cfg)

    def encode(
        self, video: Array, audio: Array, video_present: Array | None = None, audio_present: Array | None = None
    ) -> Array:
        """video (B, T, H, W, 3) in [0, 1], audio (B, T, S) in [-1, 1]; present (B, T), 1 or 0, None where nothing is
        missing -> z (B, T, K, D). z of frame t depends on frames t - cfg.receptive_field .. t."""
        features = self.vision_encoder(video - self._mean_frame())
        return self.compressor(*self.fusion(features, self.audio_encoder(audio), video_present, audio_present))

    def split(self, z: Array) -> tuple[Array, Array]:
        """z (B, T, K, D) -> z_content, z_dynamics."""
        return z[..., : self.cfg.latent.content], z[..., self.cfg.latent.content :]

    def picture(self, z: Array) -> Array:
        """z (B, T, K, D) -> video (B, T, H, W, 3), about 0..1, not clipped."""
        return self.video_decoder(self.video_processor(self.split(z)[0])[0]) + self._mean_frame()

    def _mean_frame(self):
        return self.mean_frame.reshape(self.cfg.size, self.cfg.size, 3)

    def sound(self, z: Array, state: dict[str, Array] | None = None) -> tuple[Array, dict[str, Array], Array]:
        """z (B, T, K, D), the audio decoder's state (None: silence before) -> audio (B, T, S), state, pitch."""
        state = self.audio_decoder.init_state(z.shape[0]) if state is None else state
        return self.audio_decoder(self.audio_processor(z)[1], state)


class TransformerWorldModel(WorldModel):
    cfg: OpenWorldConfig

    def __init__(self, cfg: OpenWorldConfig):
        super().__init__(cfg)
        self.tokenizer = AudioVideoTokenizer(cfg)
        self.dynamics = LatentDynamics(
            cfg.dynamics, cfg.latent.tokens, cfg.latent.dim, len(cfg.actions), *cfg.action_space.shape
        )
        if cfg.physics.objects > 0:
            self.physics = Physics(cfg)

    def init(self, key: Array) -> "TransformerWorldModel":
        """Fresh weights from a key, the same on both backends."""
        init_weights(self, key, self.cfg.dynamics.depth)
        return self

    def encode(
        self, video: Array, audio: Array, video_present: Array | None = None, audio_present: Array | None = None
    ) -> Array:
        return self.tokenizer.encode(video, audio, video_present, audio_present)

    def encode_silent(self, video: Array, silence: Array) -> Array:
        """video (B, T, H, W, 3) in [0, 1] of which no sound is known, zeros (B, T, S) -> z (B, T, K, D)."""
        return self.encode(video, silence, audio_present=ops.zeros(video.shape[:2], like=silence))

    def with_sound(self, z: Array, expected: Array) -> Array:
        """z (B, T, K, D) with its pictures, and the sound of `expected` of the same shape; where tokens are of picture
        and sound alike (`queries`), all of `expected`."""
        cells = self.cfg.latent.tokens - self.cfg.latent.audio if self.cfg.latent.layout == "grid" else 0
        return ops.concat([z[:, :, :cells], expected[:, :, cells:]], axis=2)

    def hooked(self) -> LatentDynamics:
        return self.dynamics

    def step_latent(self, past: Any, noise: Array, action: Array) -> tuple[Array, Any]:
        return self.dynamics.step(past, noise, action)

    def observe_latent(self, past: Any, z: Array, noise: Array, action: Array) -> Any:
        return self.dynamics.observe(past, z, noise, action)

    def decode_video(self, z: Array) -> Array:
        return self.tokenizer.picture(z)

    def decode_audio(self, z: Array, sound: Any) -> tuple[Array, Any]:
        return self.tokenizer.sound(z, sound)[:2]

    def read_physics(self, z: Array) -> dict[str, Array]:
        """z (B, T, K, D) -> position, velocity and momentum (B, T, N, 3), mass and energy (B, T, N) in the simulator's
        units, plausibility (B, T) in [0, 1]. Raises TypeError for a model without physics modules."""
        if self.cfg.physics.objects == 0:
            raise TypeError(f"{type(self).__name__} has no physics modules: its data had no state of a simulator")
        readings = self.physics(z)
        return {name: x for name, x in readings.items() if name != "logit"}

    def init_past(self, B: int) -> Any:
        return self.dynamics.init_state(B)

    def init_sound(self, B: int) -> Any:
        return self.tokenizer.audio_decoder.init_state(B)

    def forward(
        self,
        video: Array,
        audio: Array,
        actions: Array,
        future_steps: int,
        key: Array | None = None,
        intermediates: bool = False,
    ) -> dict[str, Any]:
        """Sees T frames, then dreams `future_steps` more.

        video (B, T, H, W, 3) in [0, 1], audio (B, T, S), actions (B, T + future_steps) int32, key: of the noise.
        Returns a dict: reconstruction (video, audio) of the T frames, future_video (B, F, H, W, 3), future_audio
        (B, F, S), where the model has it physics of all T + F frames (see `read_physics`), and with `intermediates`
        also z (B, T + F, K, D), z_content and z_dynamics.
        """
        B, T = video.shape[:2]
        z = self.encode(video, audio)
        pictures, sounds, state = self.decode(z)
        past = self.init_past(B)
        keys = random.split(random.key(0, like=z) if key is None else key, T + future_steps)
        for t in range(T):
            past = self.dynamics.observe(past, z[:, t : t + 1], self.noise(keys[t], B), actions[:, t : t + 1])
        futures = []
        for t in range(T, T + future_steps):
            new, past = self.dynamics.step(past, self.noise(keys[t], B), actions[:, t : t + 1])
            futures.append(new)
        out: dict[str, Any] = {"reconstruction": {"video": pictures, "audio": sounds}}
        if futures:
            future = ops.concat(futures, axis=1)
            out["future_video"], out["future_audio"], _ = self.decode(future, state)
            z = ops.concat([z, future], axis=1)
        if self.cfg.physics.objects > 0:
            out["physics"] = self.read_physics(z)
        if intermediates:
            content, motion = self.tokenizer.split(z)
            out |= {"z": z, "z_content": content, "z_dynamics": motion}
        return out
