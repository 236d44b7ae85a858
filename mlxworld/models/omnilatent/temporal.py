"""What the clips of a film say together: a causal transformer of two levels over their latents, and four tasks.

A clip's latent is what the backbone makes of its video, never its patches: so that the tasks teach the backbone. The
lower level sees a window of clips. The upper one sees segments, each by what the lower level made of its last clip, and
every clip is told of the last segment that was complete by then: a clip sees all that came before it, but no more than
a window of clips one by one. No level is given a time, which would tell distances and scenes by itself: positions count
clips.

    order      which of two clips came first, of every two             w . (z_a - z_b)
    distance   which class their distance in time is of                symmetric in both
    next       the latent of the next clip of the same scene           a predictor, and a target without gradient (Grill
                                                                       et al. 2020, Chen & He 2021)
    boundary   whether a clip begins another scene than the last one's

B films, N clips of each, S segments, C model width.
"""

from typing import Any

from mlxworld.configs.omnilatent import OmniLatentConfig

from ... import nn, ops
from ...nn import Linear, Module, RMSNorm
from ..arrays import Array
from ..blocks import Block, FeedForward, apply, band, mask
from ..blocks.rope import angles, frequencies, turning
from ..objectives.contrastive import spread
from ..objectives.temporal import DISTANCES, Apart, Order, class_loss, distance_class, logistic_loss
from ..objectives.uncertainty import Uncertainty
from .losses import pairs_loss

TASKS = ("order", "distance", "next", "boundary")


class Timeline(Module):
    """The transformer over clips, and the heads of the tasks."""

    def __init__(self, cfg: OmniLatentConfig):
        super().__init__()
        C, self.cfg = cfg.hidden_dim, cfg
        self.clip_blocks = [Block(cfg.block) for _ in range(cfg.timeline_layers)]
        self.segment_blocks = [Block(cfg.block) for _ in range(cfg.timeline_layers)]
        self.before = ops.zeros((C,))  # what a clip is told of segments before the first is complete
        nn.role(self, "embedding", "before")
        self.down = nn.role(Linear(C, C, bias=False), "residual")
        self.norm = RMSNorm(C)
        self.order, self.distance, self.boundary = Order(C), Apart(C, DISTANCES), Apart(C, 1)
        self.predictor = FeedForward(cfg.block)
        self.objective = Uncertainty(dict.fromkeys(TASKS, 0.0))

    def forward(self, z: Array) -> dict[str, Array]:
        """Latents z (B, N, C) of clips in their order -> "context" (B, N, C), what each is after those before it;
        "next" (B, N, C), what the next clip's latent will be; "boundary" (B, N - 1), logits of all clips but the first:
        above 0 where it is said to begin a new scene. No clip changes anything of those before it."""
        x = self._level(z, self.clip_blocks, self.cfg.segment)
        x = x + self.down(self._told(x))
        x = self.norm(x)
        return {"context": x, "next": self.predictor(x), "boundary": self.boundary(x[:, :-1], x[:, 1:])[..., 0]}

    def pairs(self, z: Array) -> tuple[Array, Array]:
        """Latents z (B, N, C) -> of each two clips a < b, in the order (0, 1), (0, 2) .. (1, 2) ..: logits (B, P) that
        a is the earlier one, and logits (B, P, DISTANCES) of how far apart they are."""
        first, second = (ops.take(z, index, axis=1) for index in two(z.shape[1], like=z))
        return self.order(first, second), self.distance(first, second)

    def _level(self, x, blocks, window):
        """x (B, N, C) through blocks; each place sees `window` of them, itself the last."""
        N = x.shape[1]
        turns = ops.array(frequencies(self.cfg.block.width), like=ops.float32(x[0, 0, :1]))
        turned = ops.cast(angles(ops.arange(N, like=x), turns)[:, :, None, None], like=x)
        rope, seen = turning(turned), mask(band(N, window, like=x), like=x)
        x = x[:, :, None]
        for block in blocks:
            x = apply(block, x, rope, seen)
        return x[:, :, 0]

    def _told(self, x):
        """What each clip is told of segments: (B, N, C)."""
        (B, N, C), K = x.shape, self.cfg.segment
        told = ops.broadcast_to(ops.cast(self.before, like=x)[None, None], (B, 1, C))
        if N >= K:
            ends = x[:, K - 1 :: K]
            told = ops.concat([told, self._level(ends, self.segment_blocks, ends.shape[1])], axis=1)
        return ops.take(told, ops.array([(n + 1) // K for n in range(N)], like=ops.arange(1, like=x)), axis=1)


def two(clips: int, like: Array) -> tuple[Array, Array]:
    """The numbers a and b (P,) of each two of N clips, a < b."""
    pairs = [(a, b) for a in range(clips) for b in range(a + 1, clips)]
    a, b = (ops.array([pair[i] for pair in pairs], like=ops.arange(1, like=like)) for i in range(2))
    return a, b


def next_loss(predicted: Array, z: Array, same: Array) -> tuple[Array, dict[str, Array]]:
    """predicted (B, N, C), of the latent after each clip; z (B, N, C) their latents; same (B, N - 1): 1 where the next
    clip is of the same scene. Mean squared difference of both at one size, 2 (1 - cosine), where it is.

    "spread_clips" of targets goes to 0 when they collapse to one direction. "next_right": the share of predictions
    whose own next clip is the nearest among all clips but the first ones; by chance 1 / (B (N - 1)).
    """
    C = z.shape[-1]
    target = ops.rms_norm(ops.stop_gradient(ops.float32(z[:, 1:])))
    guess, same = ops.rms_norm(ops.float32(predicted[:, :-1])), ops.float32(same)
    count = same.sum() + 1e-6
    loss = (ops.square(guess - target).mean(axis=-1) * same).sum() / count
    near = guess.reshape(-1, C) @ target.reshape(-1, C).swapaxes(0, 1) / C
    row = ops.arange(near.shape[0], like=z)
    own = (near * ops.float32(row[:, None] == row[None])).sum(axis=-1, keepdims=True)
    as_near = ops.float32(near > own - 1e-5).sum(axis=-1)  # where all are alike, none is the nearest
    first = ops.float32(as_near == 1) * same.reshape(-1)
    shown = {"next_right": first.sum() / count, "spread_clips": spread(z.reshape(-1, C))}
    return loss, {name: ops.stop_gradient(x) for name, x in shown.items()}


def tasks(timeline: Timeline, z: Array, time: Array, scene: Array) -> tuple[dict[str, Array], dict[str, Array]]:
    """The losses of the four TASKS, and figures that are shown: latents z (B, N, C) of clips in their order, N at least
    2, the seconds (B, N) at which they begin, and the numbers (B, N) of their scenes."""
    (a, b), (order, distance) = two(z.shape[1], like=z), timeline.pairs(z)
    classes = distance_class(ops.take(time, b, axis=1) - ops.take(time, a, axis=1))
    told = timeline(z)
    new, said = ops.float32(scene[:, 1:] != scene[:, :-1]), told["boundary"]
    losses = {
        "order": logistic_loss(order, order * 0 + 1),
        "distance": class_loss(distance, classes),
        "boundary": logistic_loss(said, new),
    }
    losses["next"], shown = next_loss(told["next"], z, 1 - new)
    right = {
        "in_order": order > 0,
        "distance_right": ops.int32(distance.argmax(-1)) == classes,
        "boundary_right": (said > 0) == (new > 0),
    }
    return losses, shown | {name: ops.stop_gradient(ops.float32(x).mean()) for name, x in right.items()}


def film_tasks(model: Any, batch: dict[str, Array], clips: int) -> tuple[dict[str, Array], dict[str, Array]]:
    """`tasks` of the backbone's latents. batch: "film", or where it is not there "video", (B, T, H, W, 3) uint8: rows
    n k to n k + n - 1 are the n `clips` of one film in their order, with "time" (B,) and "scene" (B,), as
    `mlxworld.data.pairs.batches` makes them."""
    z = model.encode("video", ops.float32(batch.get("film", batch["video"])) / 255)
    z, time, scene = (x.reshape(-1, clips, *x.shape[1:]) for x in (z, batch["time"], batch["scene"]))
    return tasks(model.timeline, z, time, scene)


def temporal_loss(
    model: Any, batch: dict[str, Array], pairs: tuple[tuple[str, str], ...], contrast: float, clips: int
) -> tuple[Array, dict[str, Array]]:
    """`pairs_loss`, and the TASKS, weighed: see `film_tasks`."""
    loss, parts = pairs_loss(model, batch, pairs, contrast)
    losses, shown = film_tasks(model, batch, clips)
    return loss + model.timeline.objective(losses), parts | losses | shown
