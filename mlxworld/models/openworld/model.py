"""TransformerWorldModel: all of OpenWorld in one module, and the pure step that play, export and agents call.

    encode(video, audio) -> z;  dynamics.step(cache, noise, action) -> z';  decode(z') -> video, audio

B worlds, T frames, H, W pixels, S samples of a frame, K latent tokens of width D.
"""

from ... import ops, random
from ...nn import Linear, Module
from ..blocks import init_weights
from .audio import AudioDecoder, AudioEncoder
from .decoder import VideoDecoder
from .dynamics import LatentDynamics
from .fusion import CrossModalFusion
from .latent import LatentCompressor, LatentProcessor
from .losses import Objective
from .vision import VisionEncoder


class AudioVideoTokenizer(Module):
    """Frames with their sound to latents and back. The picture is decoded from z_content alone; z_dynamics, the last
    D - content channels of each token, holds motion and what can only be heard."""

    def __init__(self, cfg):
        super().__init__()
        self.cfg = cfg
        self.still = ops.zeros((cfg.size * cfg.size * 3,))  # a mean picture; what differs from it is encoded
        self.vision = VisionEncoder(cfg)
        self.hearing = AudioEncoder(cfg, cfg.vision.dim)
        self.fusion = CrossModalFusion(cfg)
        self.compressor = LatentCompressor(cfg)
        self.seeing = LatentProcessor(cfg, cfg.latent.content)
        self.sounding = LatentProcessor(cfg, cfg.latent.dim)
        self.video = VideoDecoder(cfg)
        self.audio = AudioDecoder(cfg, cfg.decoder.dim)
        self.motion = Linear(
            cfg.latent.dim - cfg.latent.content, cfg.latent.content
        )  # z_dynamics -> change of z_content
        self.objective = Objective(cfg)

    def encode(self, video, audio, video_present=None, audio_present=None):
        """video (B, T, H, W, 3) in [0, 1], audio (B, T, S) in [-1, 1]; present (B, T), 1 or 0, None where nothing is
        missing -> z (B, T, K, D). z of frame t depends on frames t - cfg.reach .. t."""
        features = self.vision(video - self._still())
        return self.compressor(*self.fusion(features, self.hearing(audio), video_present, audio_present))

    def split(self, z):
        """z (B, T, K, D) -> z_content, z_dynamics."""
        return z[..., : self.cfg.latent.content], z[..., self.cfg.latent.content :]

    def picture(self, z):
        """z (B, T, K, D) -> video (B, T, H, W, 3), about 0..1, not clipped."""
        return self.video(self.seeing(self.split(z)[0])[0]) + self._still()

    def _still(self):
        return ops.float32(self.still).reshape(self.cfg.size, self.cfg.size, 3)

    def sound(self, z, state=None):
        """z (B, T, K, D), the audio decoder's state (None: silence before) -> audio (B, T, S), state, pitch."""
        return self.audio(self.sounding(z)[1], self.audio.empty(z.shape[0]) if state is None else state)

    def decode(self, z, state=None):
        """z (B, T, K, D) -> video (B, T, H, W, 3), audio (B, T, S), the audio decoder's state."""
        audio, state, _ = self.sound(z, state)
        return self.picture(z), audio, state


class TransformerWorldModel(Module):
    def __init__(self, cfg):
        super().__init__()
        self.cfg = cfg
        self.tokenizer = AudioVideoTokenizer(cfg)
        self.dynamics = LatentDynamics(cfg.dynamics, cfg.latent.tokens, cfg.latent.dim, len(cfg.actions))

    def init(self, key):
        """Fresh weights from a key, the same on both backends."""
        init_weights(self, key, self.cfg.dynamics.depth)
        return self

    def encode(self, video, audio, video_present=None, audio_present=None):
        return self.tokenizer.encode(video, audio, video_present, audio_present)

    def decode(self, z, state=None):
        return self.tokenizer.decode(z, state)

    def empty(self, B):
        """The cache of B worlds before their first frame."""
        return {"dynamics": self.dynamics.empty(B), "audio": self.tokenizer.audio.empty(B)}

    def noise(self, key, B):
        """The noise of the next frame (B, 1, K, D)."""
        return random.normal(key, (B, 1, self.cfg.latent.tokens, self.cfg.latent.dim))

    def observe(self, cache, z, noise, action):
        """A frame that happened: z, noise (B, 1, K, D), action (B, 1) -> video, audio (as step) and the cache."""
        video, audio, state = self.decode(z, cache["audio"])
        return video, audio, {"dynamics": self.dynamics.observe(cache["dynamics"], z, noise, action), "audio": state}

    def step(self, cache, noise, action):
        """noise (B, 1, K, D), action (B, 1) int32 -> video (B, 1, H, W, 3), audio (B, 1, S), z (B, 1, K, D), cache."""
        z, dynamics = self.dynamics.step(cache["dynamics"], noise, action)
        video, audio, state = self.decode(z, cache["audio"])
        return video, audio, z, {"dynamics": dynamics, "audio": state}

    def forward(self, video, audio, actions, future_steps, key=None, intermediates=False):
        """Sees T frames, then dreams `future_steps` more.

        video (B, T, H, W, 3) in [0, 1], audio (B, T, S), actions (B, T + future_steps) int32, key: of the noise.
        Returns a dict: reconstruction (video, audio) of the T frames, future_video (B, F, H, W, 3), future_audio
        (B, F, S), and with `intermediates` also z (B, T + F, K, D), z_content and z_dynamics.
        """
        B, T = video.shape[:2]
        z = self.encode(video, audio)
        seen, heard, state = self.decode(z)
        cache = self.dynamics.empty(B)
        keys = random.split(random.key(0, like=z) if key is None else key, T + future_steps)
        for t in range(T):
            cache = self.dynamics.observe(cache, z[:, t : t + 1], self.noise(keys[t], B), actions[:, t : t + 1])
        futures = []
        for t in range(T, T + future_steps):
            new, cache = self.dynamics.step(cache, self.noise(keys[t], B), actions[:, t : t + 1])
            futures.append(new)
        out = {"reconstruction": {"video": seen, "audio": heard}}
        if futures:
            future = ops.concat(futures, axis=1)
            out["future_video"], out["future_audio"], _ = self.decode(future, state)
            z = ops.concat([z, future], axis=1)
        if intermediates:
            content, motion = self.tokenizer.split(z)
            out |= {"z": z, "z_content": content, "z_dynamics": motion}
        return out
