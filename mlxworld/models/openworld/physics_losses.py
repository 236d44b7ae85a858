"""What the physics modules learn: the simulator's state, how it changes along a trajectory, and what cannot happen.

B batch, T frames, K tokens of width D, N objects. `motion` is of a frame, `conservation` and `path` of a trajectory.
"""

from typing import Any

from ... import ops, random
from ..arrays import Array
from .physics import PAST, Physics

SKIPS = (3, 6)  # frames that an impossible clip leaves out
SEEN = 0.05  # mean square change of a frame's latent from which a fault is one: of a token that is all else, 2
NOISE = 0.1  # largest standard deviation of the noise in latents, as a dream's have


def physics_loss(model: Physics, batch: dict[str, Array], key: Array) -> tuple[Array, dict[str, Array]]:
    """batch: z (B, T, K, D), and of the simulator position, velocity (B, T, N, 3), mass and energy (B, T, N).

    The first PAST frames are not judged: their past is not known.
    """
    z, truth = ops.float32(batch["z"]), {n: ops.float32(batch[n]) for n in ("position", "velocity", "mass", "energy")}
    keys = random.split(key, 5)
    noise = NOISE * random.uniform(keys[0], (z.shape[0], 1, 1, 1)) * random.normal(keys[1], z.shape)
    predicted = {name: x[:, PAST:] for name, x in model(z + noise, keys[2]).items()}
    parts = motion(model, predicted, {name: x[:, PAST:] for name, x in truth.items()})
    broken, target, weight = impossible(z, keys[3])
    wrong = model(broken + noise, keys[4])["logit"]
    parts["plausibility"] = 0.5 * (cross_entropy(predicted["logit"], 1.0).mean() + weighted(wrong, target, weight))
    return model.objective(parts), parts


def motion(model: Physics, found: dict[str, Array], truth: dict[str, Array]) -> dict[str, Array]:
    """Errors of what was found, in units of the data's spread. Of a trajectory: `conservation`, the change of the
    scene's energy and momentum since its first frame, and `path`, where each object has gone since then, each against
    the simulator's."""
    p = model.predictor
    momentum = truth["mass"][..., None] * truth["velocity"]
    moment, spread = p.mass * p.speed, p.energy[1]

    def error(name, scale):
        return ops.abs((found[name] - truth[name]) / scale).mean()

    def since(x):
        return x - x[:, :1]

    total = found["energy"].sum(axis=-1), truth["energy"].sum(axis=-1)
    pushed = found["momentum"].sum(axis=2), momentum.sum(axis=2)
    energy = ops.abs(since(total[0]) - since(total[1])).mean() / spread
    return {
        "position": error("position", p.extent),
        "velocity": error("velocity", p.speed),
        "mass": ops.abs(ops.log(found["mass"] / truth["mass"])).mean(),
        "energy": error("energy", spread),
        "momentum": ops.abs((found["momentum"] - momentum) / moment).mean(),
        "path": ops.abs((since(found["position"]) - since(truth["position"])) / p.extent).mean(),
        "conservation": energy + ops.abs((since(pushed[0]) - since(pushed[1])) / moment).mean(),
    }


def impossible(z: Array, key: Array) -> tuple[Array, Array, Array]:
    """Clips in which something happens that cannot, from clips z (B, T, K, D) of what did: from a frame on, some tokens
    or all are those of another clip, or of frames to come (a body is gone, is elsewhere, is faster than it can be).

    Returns the clips, which frames (B, T) are possible, 1 or 0, and the weight (B, T) of each.
    """
    B, T, K, _ = z.shape
    keys = random.split(key, 4)
    cut = random.randint(keys[0], PAST, max(PAST + 1, T - max(SKIPS)), (B, 1))
    kind = random.randint(keys[1], 0, 1 + len(SKIPS), (B, 1, 1, 1))
    share = ops.clip(1.5 * random.uniform(keys[2], (B, 1, 1)), 0.1, 1.0)  # of tokens: all of them in a third
    chosen = random.uniform(keys[3], (B, 1, K)) < share
    other = ops.roll(z, 1, 0)
    for i, skip in enumerate(SKIPS):
        other = ops.where(kind == i + 1, ops.roll(z, -skip, 1), other)
    t = ops.arange(T, like=z)[None]
    after = (t >= cut)[:, :, None] & chosen
    broken = ops.where(after[..., None], other, z)
    fault = (t == cut) | (t == cut + 1)  # the second frame after a leap still has its acceleration
    seen = ops.square(broken - z).mean(axis=(2, 3)) > SEEN
    judged = (t >= PAST) & (t < T - max(SKIPS))  # what is rolled begins again at the end
    weight = ops.where(fault, ops.float32(seen) * 4, ops.float32(t * 0 + 1)) * ops.float32(judged)
    return broken, ops.float32(t + 0 * cut) * 0 + 1 - ops.float32(fault), weight


def cross_entropy(logit: Array, target: Any) -> Array:
    """Of a score's logit against what is so, 0 or 1."""
    return ops.relu(logit) - logit * target + ops.log(1 + ops.exp(-ops.abs(logit)))


def weighted(logit: Array, target: Array, weight: Array) -> Array:
    """The mean cross entropy of frames of these weights."""
    return (weight * cross_entropy(logit, target)).sum() / (weight.sum() + 1e-6)
