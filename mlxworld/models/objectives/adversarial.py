"""Pictures that a critic takes for real ones: patches of them (Isola et al. 2017), hinge losses (Lim and Ye 2017),
features that match (Wang et al. 2018), and a weight that follows the gradients (Esser et al. 2021).

B batch, T frames, H, W pixels; videos (B, T, H, W, 3) in about 0..1, T at least 2.
"""

import itertools
from collections.abc import Callable, Sequence

from ... import ops
from ...nn import Conv2d, Module, RMSNorm, role
from ..arrays import Array

FEATURES = 4.0  # weight of features that match
LARGEST = 1e4  # weight of the critic's gradient


class PatchCritic(Module):
    """How real each patch of a video looks, of a frame and of how it differs from the frame before."""

    def __init__(self, channels: Sequence[int] = (32, 64, 128)):
        """channels: of layers that halve the picture; H and W are multiples of 2 to their number."""
        super().__init__()
        sizes = (6, *channels)
        self.convs = [Conv2d(a, b, 4, stride=2, padding=1) for a, b in itertools.pairwise(sizes)]
        self.norms = [RMSNorm(n) for n in channels]
        self.head = role(Conv2d(channels[-1], 1, 3, padding=1), "head")

    def forward(self, video: Array) -> tuple[Array, list[Array]]:
        """Logits (B * (T - 1), h, w, 1), high for what looks real, and the features of each layer."""
        x = ops.concat([video[:, 1:], video[:, 1:] - video[:, :-1]], axis=-1)
        x = ops.cast(x.reshape(-1, *x.shape[2:]) * 2 - 1, like=self.head.weight)
        features = []
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = ops.silu(norm(conv(x)))
            features.append(x)
        return ops.float32(self.head(x)), features


def critic_loss(critic: PatchCritic, fake: Array, real: Array) -> Array:
    """What the critic minimises: hinge losses of both videos."""
    fake_logits, real_logits = critic(ops.stop_gradient(fake))[0], critic(real)[0]
    return ops.relu(1 + fake_logits).mean() + ops.relu(1 - real_logits).mean()


def deception(critic: PatchCritic, fake: Array, real: Array) -> Array:
    """What a decoder minimises: how unreal its video looks, and how far its features are from the real one's."""
    (logits, features), (_, wanted) = critic(fake), critic(real)
    pairs = zip(features, wanted, strict=True)
    distance = sum(ops.abs(ops.float32(a) - ops.stop_gradient(ops.float32(b))).mean() for a, b in pairs)
    return FEATURES * distance / len(features) - logits.mean()


def balanced(
    reconstruction: Callable[[Array], Array], deceived: Callable[[Array], Array], video: Array, weight: float
) -> tuple[Array, Array]:
    """reconstruction(video) + scale * deceived(video) and the scale, by which the gradient of the second at the pixels
    is `weight` times as long as that of the first."""
    value, pull = ops.value_and_gradient(deceived, video)
    _, hold = ops.value_and_gradient(reconstruction, video)
    scale = ops.clip(weight * _length(hold) / (_length(pull) + 1e-8), 0.0, LARGEST)
    along = (scale * pull * video).sum()  # whose gradient is scale * pull: the critic is gone through once
    return reconstruction(video) + along + ops.stop_gradient(scale * value - along), scale


def _length(x):
    return ops.sqrt(ops.square(x).sum())
