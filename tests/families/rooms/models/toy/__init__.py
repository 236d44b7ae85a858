"""A frame with its sound is one token; the next token is a function of the last one, the action and a little noise."""

from ... import ops, random
from ...nn import Embedding, Linear, Module, role
from ..blocks import init_weights
from ..part import Part


class Model(Module):
    def __init__(self, cfg):
        super().__init__()
        self.cfg, pixels = cfg, 3 * cfg.size**2
        self.register_buffer("mean_frame", ops.zeros((pixels,)))
        self.see, self.hear = Linear(pixels, cfg.dim), Linear(cfg.samples, cfg.dim)
        self.act = role(Embedding(len(cfg.actions), cfg.dim), "embedding")
        self.mix, self.predict = Linear(2 * cfg.dim, 2 * cfg.dim), role(Linear(2 * cfg.dim, cfg.dim), "residual")
        self.paint, self.sing = role(Linear(cfg.dim, pixels), "head"), role(Linear(cfg.dim, cfg.samples), "head")

    def init(self, key):
        init_weights(self, key, 1)
        return self

    def encode(self, video, audio):
        """video (B, T, H, W, 3), audio (B, T, S) -> z (B, T, 1, D)."""
        pixels = video.reshape(*video.shape[:2], -1) - self.mean_frame
        return ops.tanh(self.see(ops.cast(pixels, like=self.see.weight)) + self.hear(audio))[:, :, None]

    def next(self, z, action, noise):
        """z, noise (B, T, 1, D), action (B, T) -> the z of the frame after each."""
        x = ops.concat([ops.cast(z + 0.01 * noise, like=self.see.weight), self.act(action)[:, :, None]], axis=-1)
        return ops.tanh(z + ops.float32(self.predict(ops.silu(self.mix(x)))))

    def decode(self, z):
        """z (B, T, 1, D) -> video (B, T, H, W, 3), audio (B, T, S)."""
        z = ops.cast(z[:, :, 0], like=self.see.weight)
        video = ops.float32(self.paint(z)) + self.mean_frame
        return video.reshape(*z.shape[:2], self.cfg.size, self.cfg.size, 3), ops.tanh(ops.float32(self.sing(z)))

    def init_state(self, B):
        return {"z": ops.zeros((B, 1, 1, self.cfg.dim))}

    def noise(self, key, B):
        return random.normal(key, (B, 1, 1, self.cfg.dim))

    def observe(self, state, z, noise, action):
        return *self.decode(z), {"z": z}

    def step(self, state, noise, action):
        z = self.next(state["z"], action, noise)
        return *self.decode(z), z, {"z": z}

    def parts(self, batch=1):
        c = self.cfg
        z, action = self.init_state(batch)["z"], ops.int32(ops.zeros((batch, 1)))
        video, audio = ops.zeros((batch, 4, c.size, c.size, 3)), ops.zeros((batch, 4, c.samples))
        step = lambda s, noise, action: ((y := self.next(s["z"], action, noise),), {"z": y * 1})  # noqa: E731
        parts = (
            Part("step", "The next latent.", step, {"z": z}, {"noise": z, "action": action}, ("z",)),
            Part(
                "observe",
                "A frame that happened.",
                lambda s, z, noise, action: ((z * 1,), {"z": z + 0 * noise * action[..., None, None]}),
                {"z": z},
                {"z": z, "noise": z, "action": action},
                ("observed",),
            ),
            Part("video", "A picture.", lambda s, z: ((self.decode(z)[0],), s), None, {"z": z}, ("video",)),
            Part("audio", "A sound.", lambda s, z: ((self.decode(z)[1],), s), None, {"z": z}, ("audio",)),
            Part(
                "encode",
                "Latents.",
                lambda s, *clip: ((self.encode(*clip),), s),
                None,
                {"video": video, "audio": audio},
                ("z",),
            ),
        )
        return {part.name: part for part in parts}


def loss(model, batch, key):
    """Pictures and sounds again, and the next latent."""
    video, audio = ops.float32(batch["video"]) / 255, ops.float32(batch["audio"])
    z = model.encode(video, audio)
    pictures, sounds = model.decode(ops.float32(z))
    after = model.next(ops.float32(z[:, :-1]), batch["actions"][:, 1:], random.normal(key, z[:, 1:].shape))
    parts = {
        "picture": ops.abs(pictures - video).mean(),
        "sound": ops.square(sounds - audio).mean(),
        "next": ops.square(after - ops.stop_gradient(ops.float32(z[:, 1:]))).mean(),
    }
    return parts["picture"] + parts["sound"] + parts["next"], parts
