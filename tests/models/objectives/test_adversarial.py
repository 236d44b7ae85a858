"""The critic of patches: what it minimises, what deceives it, and a pull at the pixels as long as it is meant to be."""

import numpy as np
import pytest

from tests.models.small import gap, gradients, module

RNG = np.random.default_rng(0)
REAL = RNG.uniform(0, 1, (2, 3, 16, 16, 3)).astype(np.float32)
FAKE = np.clip(REAL + 0.2 * RNG.normal(size=REAL.shape), 0, 1).astype(np.float32)


def critic(backend):
    net = module(backend, "objectives.adversarial").PatchCritic((4, 8))
    module(backend, "blocks").init_weights(net, backend.random.key(3), 1)
    head = backend.nn.parameters(net)["head.weight"]
    backend.nn.assign(net, {"head.weight": head * 200})  # it has an opinion
    return net


def held(backend, video):
    """A module whose parameter is a video."""

    class Held(backend.nn.Module):
        def __init__(self):
            super().__init__()
            self.video = backend.ops.array(video.tolist())

    return Held()


def pull(backend, loss) -> np.ndarray:
    """The gradient of loss(video) at FAKE."""
    return gradients(backend, held(backend, FAKE), lambda net, batch, key: (loss(net.video),), {})["video"]


def test_it_judges_each_patch_of_a_frame_and_its_change(backend):
    net, engine = critic(backend), backend.engine
    logits, features = net(engine.array(REAL))
    assert logits.shape == (4, 4, 4, 1) and [f.shape[-1] for f in features] == [4, 8]
    other = REAL.copy()
    other[:, 2, :4, :4] = 0  # a corner of the last frame
    moved = np.abs(engine.numpy(net(engine.array(other))[0]) - engine.numpy(logits)).reshape(2, 2, 4, 4)
    assert moved[:, 1, 0, 0].min() > 0 and moved[:, 0].max() == 0 and moved[:, 1, 3, 3].max() == 0
    still = np.repeat(REAL[:, :1], 3, axis=1)  # the same frames, without their changes
    assert gap(engine.numpy(net(engine.array(still))[0])[0], engine.numpy(logits)[0]) > 1e-3


def test_its_own_loss_is_the_hinge_and_leaves_the_picture_alone(backend):
    adversarial, net, engine = module(backend, "objectives.adversarial"), critic(backend), backend.engine
    fake, real = (engine.numpy(net(engine.array(x))[0]) for x in (FAKE, REAL))
    expected = np.maximum(0, 1 + fake).mean() + np.maximum(0, 1 - real).mean()
    loss = adversarial.critic_loss(net, engine.array(FAKE), engine.array(REAL))
    assert float(engine.numpy(loss)) == pytest.approx(expected, rel=1e-5)
    slope = pull(backend, lambda x: adversarial.critic_loss(net, x, backend.engine.array(REAL)))
    assert np.abs(slope).max() == 0
    learnt = gradients(
        backend, net, lambda n, b, k: (adversarial.critic_loss(n, b["fake"], b["real"]),), {"fake": FAKE, "real": REAL}
    )
    assert all(np.abs(g).max() > 0 for g in learnt.values())


def test_the_truth_deceives_best(backend):
    """Features that match count as well as what the critic says."""
    adversarial, net, engine = module(backend, "objectives.adversarial"), critic(backend), backend.engine
    number = lambda x: float(engine.numpy(adversarial.deception(net, engine.array(x), engine.array(REAL))))  # noqa: E731
    says = lambda x: -float(engine.numpy(net(engine.array(x))[0]).mean())  # noqa: E731
    assert number(REAL) == pytest.approx(says(REAL), rel=1e-4)
    assert number(FAKE) - says(FAKE) > 10 * abs(number(REAL) - says(REAL)) + 0.05


@pytest.mark.parametrize("weight", [0.5, 3.0])
def test_the_pull_is_as_long_as_it_is_meant_to_be(backend, weight):
    adversarial, net, ops = module(backend, "objectives.adversarial"), critic(backend), backend.ops
    real = backend.engine.array(REAL)
    reconstruction = lambda x: 7 * ops.square(x - real).mean()  # noqa: E731
    deceived = lambda x: adversarial.deception(net, x, real)  # noqa: E731
    both = pull(backend, lambda x: adversarial.balanced(reconstruction, deceived, x, weight)[0])
    hold, tug = pull(backend, reconstruction), pull(backend, deceived)
    length = np.linalg.norm(both - hold)
    assert length == pytest.approx(weight * np.linalg.norm(hold), rel=1e-3)
    assert gap((both - hold) / length, tug / np.linalg.norm(tug)) < 1e-4
    loss, scale = adversarial.balanced(reconstruction, deceived, backend.engine.array(FAKE), weight)
    fake, number = backend.engine.array(FAKE), lambda x: float(backend.engine.numpy(x))
    told = [number(x) for x in (loss, scale, reconstruction(fake), deceived(fake))]
    assert told[0] == pytest.approx(told[2] + told[1] * told[3], rel=1e-4)
    assert told[1] == pytest.approx(length / np.linalg.norm(tug), rel=1e-3)
