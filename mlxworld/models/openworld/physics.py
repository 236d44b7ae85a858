"""What a simulator knows, read from latents: where each object is and how it moves, and whether this can happen.

    PhysicsEncoder: successive z -> features of motion;  PhysicsPredictor: features -> objects, a score

It is trained where the simulator tells the truth, after the tokenizer, whose latents it leaves as they are.
B batch, T frames, K tokens of width D, N objects, C width.
"""

from mlxworld.configs.block import BlockConfig
from mlxworld.configs.openworld import OpenWorldConfig

from ... import ops, random
from ...nn import Linear, Module, RMSNorm, role
from .. import blocks
from ..arrays import Array
from ..objectives.uncertainty import Uncertainty

PAST = 2  # frames before its own that a reading depends on, beside those that its latent depends on
# Where the logarithms of the tasks' variances start: near those of the losses that are hoped for.
START = {"position": -3.0, "velocity": -2.0, "mass": -3.0, "energy": -2.0, "momentum": -2.0}
START |= {"path": -3.0, "conservation": -2.0, "plausibility": -2.0}


class PhysicsEncoder(Module):
    """z with its velocity and acceleration, from one frame to the next, and the velocity's square, its kinetic energy,
    each of a token -> features (B, T, K, C). Before the first frame the world stood still."""

    def __init__(self, cfg: OpenWorldConfig):
        super().__init__()
        self.embed = role(Linear(3 * cfg.latent.dim + 1, cfg.physics.dim), "input")
        self.code = ops.zeros((cfg.latent.tokens, cfg.physics.dim))
        role(self, "embedding", "code")

    def forward(self, z: Array) -> Array:
        """z (B, T, K, D) -> (B, T, K, C)."""
        velocity = change(z)
        kinetic = 0.5 * ops.square(velocity).mean(axis=-1, keepdims=True)
        x = ops.concat([z, velocity, change(velocity), kinetic], axis=-1)
        return self.embed(ops.cast(x, like=self.code)) + self.code


class PhysicsPredictor(Module):
    """A learned query for each object, and one for the scene, read the tokens; what they find becomes the objects'
    state in the simulator's units, which are buffers, and a score."""

    centre: Array  # (3,) mean position
    extent: Array  # (3,) standard deviation of positions
    speed: Array  # (3,) of velocities
    mass: Array  # (1,) mean mass of an object
    energy: Array  # (2,) mean and standard deviation of an object's energy

    def __init__(self, cfg: OpenWorldConfig):
        super().__init__()
        c = cfg.physics
        self.objects = c.objects
        self.queries = ops.zeros((c.objects + 1, c.dim))
        role(self, "embedding", "queries")
        block = BlockConfig(c.dim, c.heads, dropout=c.dropout)
        self.blocks = [blocks.Block(block) for _ in range(c.depth)]
        self.norm = RMSNorm(c.dim)
        self.head = role(Linear(c.dim, 8), "head")  # position and velocity (3 each), log mass, energy
        self.score = role(Linear(c.dim, 1), "head")
        self.register_buffer("centre", ops.zeros((3,)))
        self.register_buffer("extent", ops.ones((3,)))
        self.register_buffer("speed", ops.ones((3,)))
        self.register_buffer("mass", ops.ones((1,)))
        self.register_buffer("energy", ops.array([0.0, 1.0]))

    def forward(self, features: Array, key: Array | None = None) -> dict[str, Array]:
        """features (B, T, K, C); key: of dropout -> position and velocity (B, T, N, 3), mass and energy (B, T, N),
        momentum (B, T, N, 3), the product of mass and velocity, plausibility (B, T) in [0, 1], and its logit."""
        B, T, _, C = features.shape
        queries = ops.broadcast_to(self.queries, (B * T, 1, *self.queries.shape))
        x = ops.concat([ops.cast(queries, like=features), blocks.by_frame(features)], axis=2)
        keys = [None] * len(self.blocks) if key is None else random.split(key, len(self.blocks))
        for block, own in zip(self.blocks, keys, strict=True):
            x = blocks.apply(block, x, key=own)
        x = self.norm(x[:, :, : self.objects + 1]).reshape(B, T, self.objects + 1, C)
        raw, logit = ops.float32(self.head(x[:, :, :-1])), ops.float32(self.score(x[:, :, -1]))[..., 0]
        velocity = self.speed * raw[..., 3:6]
        mass = self.mass * ops.exp(ops.clip(raw[..., 6], -5.0, 5.0))
        return {
            "position": self.centre + self.extent * raw[..., :3],
            "velocity": velocity,
            "mass": mass,
            "momentum": mass[..., None] * velocity,
            "energy": self.energy[0] + self.energy[1] * raw[..., 7],
            "plausibility": ops.sigmoid(logit),
            "logit": logit,
        }


class Physics(Module):
    """Encoder and predictor, and the weights of their losses."""

    def __init__(self, cfg: OpenWorldConfig):
        super().__init__()
        self.encoder, self.predictor = PhysicsEncoder(cfg), PhysicsPredictor(cfg)
        self.objective = Uncertainty(START)

    def forward(self, z: Array, key: Array | None = None) -> dict[str, Array]:
        """z (B, T, K, D) -> see PhysicsPredictor. The first PAST frames know less of their past than later ones."""
        return self.predictor(self.encoder(z), key)


def change(x: Array) -> Array:
    """x (B, T, ...) against the frame before; nothing for the first."""
    return ops.concat([x[:, :1] * 0, x[:, 1:] - x[:, :-1]], axis=1)
