"""A frame with its sound is one token; the next token is a function of the last one, the action and a little noise."""

from ... import ops, random
from ...nn import Embedding, Linear, role
from ..blocks import init_weights
from ..world import WorldModel


class Model(WorldModel):
    def __init__(self, cfg):
        super().__init__(cfg)
        pixels = 3 * cfg.size**2
        self.register_buffer("mean_frame", ops.zeros((pixels,)))
        self.scale = ops.ones((cfg.dim,))
        self.see, self.hear = Linear(pixels, cfg.dim), Linear(cfg.samples, cfg.dim)
        self.embed_action = role(Embedding(len(cfg.actions), cfg.dim), "embedding")
        self.mix, self.move = Linear(2 * cfg.dim, 2 * cfg.dim), role(Linear(2 * cfg.dim, cfg.dim), "residual")
        self.paint, self.sing = role(Linear(cfg.dim, pixels), "head"), role(Linear(cfg.dim, cfg.samples), "head")

    def init(self, key):
        init_weights(self, key, 1)
        return self

    def encode(self, video, audio):
        pixels = video.reshape(*video.shape[:2], -1) - self.mean_frame
        pixels, audio = (ops.cast(x, like=self.scale) for x in (pixels, audio))
        return ops.tanh(ops.float32(self.see(pixels) + self.hear(audio)))[:, :, None]

    def following(self, z, noise, action):
        """z, noise (B, T, 1, D), action (B, T) -> the z of the frame after each."""
        x = ops.cast(z + 0.01 * noise, like=self.scale) * self.scale
        x = self.mix(ops.concat([x, self.embed_action(action)[:, :, None]], axis=-1))
        return ops.tanh(z + ops.float32(self.move(ops.silu(x))))

    def init_past(self, B):
        return {"last": ops.zeros((B, 1, *self.cfg.latent_shape), like=self.mean_frame)}

    def step_latent(self, past, noise, action):
        z = self.following(past["last"], noise, action)
        return z, {"last": z * 1}

    def observe_latent(self, past, z, noise, action):
        return {"last": z + 0 * (noise + action[:, :, None, None])}  # an exporter drops an input that is not read

    def decode_video(self, z):
        video = ops.float32(self.paint(ops.cast(z[:, :, 0], like=self.scale))) + self.mean_frame
        return video.reshape(*z.shape[:2], self.cfg.size, self.cfg.size, 3)

    def decode_audio(self, z, sound):
        return ops.tanh(ops.float32(self.sing(ops.cast(z[:, :, 0], like=self.scale)))), sound


def loss(model, batch, key):
    """Pictures and sounds again, and the next latent."""
    video, audio = ops.float32(batch["video"]) / 255, ops.float32(batch["audio"])
    z = model.encode(video, audio)
    pictures, sounds, _ = model.decode(z)
    after = model.following(z[:, :-1], random.normal(key, z[:, 1:].shape), batch["actions"][:, 1:])
    parts = {
        "picture": ops.abs(pictures - video).mean(),
        "sound": ops.square(sounds - audio).mean(),
        "next": ops.square(after - ops.stop_gradient(z[:, 1:])).mean(),
    }
    return parts["picture"] + parts["sound"] + parts["next"], parts
