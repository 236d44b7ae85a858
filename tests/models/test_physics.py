"""The physics modules: the same on both backends, causal, blind to what has no state; losses that know better from
worse; weights of tasks that move; a scene that cannot be, told from one that can."""

import dataclasses

import numpy as np
import pytest

from mlxworld.configs.openworld import PRESETS, PhysicsConfig
from mlxworld.configs.optim import OptimConfig
from mlxworld.errors import MlxworldError
from mlxworld.training.turn import Turn
from tests.models import small

N, T = 2, 16
CFG = small.changed(physics={"objects": N, "dim": 32, "heads": 2, "depth": 1, "dropout": 0.0})


def losses(backend):
    return small.module(backend, "openworld.physics_losses")


def flights(B: int, seed: int) -> dict[str, np.ndarray]:
    """Bodies that fly straight between walls at +-1, and latents that show them: a bump in each token's place."""
    rng = np.random.default_rng(seed)
    start, speed = rng.uniform(-1, 1, (B, 1, N, 2)), rng.uniform(-0.08, 0.08, (B, 1, N, 2))
    raw = start + speed * np.arange(T)[None, :, None, None]
    position = np.abs((raw - 1) % 4 - 2) - 1  # a wave that goes to and fro
    velocity = np.diff(position, axis=1, append=position[:, -1:] + (position[:, -1:] - position[:, -2:-1])) * 30
    deep = [(0, 0)] * 3 + [(0, 1)]
    mass = np.broadcast_to(rng.uniform(0.5, 2, (B, 1, N)), (B, T, N))
    K, D = CFG.latent_shape
    centres = np.random.default_rng(9).uniform(-1, 1, (K, D // N, 2))
    far = ((position[:, :, None, :, None] - centres[None, None, :, None]) ** 2).sum(-1)  # (B, T, K, N, D / N)
    z = np.exp(-far / 0.5).reshape(B, T, K, D) + 0.1 * mass.repeat(D // N, -1)[:, :, None]
    z = z / np.sqrt((z**2).mean(-1, keepdims=True))
    energy = 0.5 * mass * (velocity**2).sum(-1)
    rows = {
        "position": np.pad(position, deep),
        "velocity": np.pad(velocity, deep),
        "mass": mass,
        "energy": energy,
        "z": z,
    }
    return {name: x.astype(np.float32) for name, x in rows.items()}


def ready(backend):
    """A fresh model that knows the units of `flights`."""
    net, truth = small.fresh(backend, CFG), flights(64, 1)
    units = {
        "extent": [*truth["position"].std((0, 1, 2))[:2], 1],
        "speed": [*truth["velocity"].std((0, 1, 2))[:2], 1],
        "mass": [truth["mass"].mean()],
        "energy": [truth["energy"].mean(), truth["energy"].std()],
    }
    arrays = {f"physics.predictor.{n}": backend.engine.array(np.array(x, np.float32)) for n, x in units.items()}
    backend.nn.assign(net, arrays)
    return net


def readings(backend, net, z):
    return backend.engine.numpy(net.read_physics(backend.engine.array(z)))


def test_a_preset_has_no_physics_until_its_data_knows_objects(backend):
    assert all(cfg.physics.objects == 0 for cfg in PRESETS.values())
    net = small.fresh(backend)
    assert not [name for name in small.arrays(backend, net) if "physics" in name]
    with pytest.raises(TypeError, match="no physics modules"):
        net.read_physics(backend.engine.array(flights(1, 0)["z"]))


@pytest.mark.parametrize("wrong", [{"objects": -1}, {"objects": 65}, {"dropout": 1.0}, {"dim": 0}, {"heads": 5}])
def test_settings_that_cannot_be_are_refused(wrong):
    with pytest.raises(MlxworldError, match="OpenWorldConfig: "):
        small.changed(physics=wrong)


def test_both_backends_read_alike():
    import mlxworld

    z, found = flights(2, 3)["z"], []
    for name in ("mlx", "torch"):
        backend = mlxworld.on(name)
        found.append(readings(backend, small.lively(backend, CFG), z))
    for name, x in found[0].items():
        np.testing.assert_allclose(x, found[1][name], rtol=1e-4, atol=1e-4, err_msg=name)
    shapes = {name: x.shape for name, x in found[0].items()}
    assert shapes["position"] == shapes["velocity"] == shapes["momentum"] == (2, T, N, 3)
    assert shapes["mass"] == shapes["energy"] == (2, T, N) and shapes["plausibility"] == (2, T)
    assert (found[0]["mass"] > 0).all() and ((found[0]["plausibility"] >= 0) & (found[0]["plausibility"] <= 1)).all()
    np.testing.assert_allclose(found[0]["momentum"], found[0]["mass"][..., None] * found[0]["velocity"], rtol=1e-5)


def test_a_reading_depends_on_its_frame_and_the_two_before_and_on_no_other(backend):
    net, z = small.lively(backend, CFG), flights(1, 4)["z"]
    changed = z.copy()
    changed[:, 5] = -changed[:, 5]
    before, after = readings(backend, net, z), readings(backend, net, changed)
    moved = np.abs(before["position"] - after["position"]).max(axis=(0, 2, 3)) > 1e-4
    assert np.flatnonzero(moved).tolist() == [5, 6, 7]


def test_forward_reads_what_it_saw_and_what_it_dreamt(backend):
    net = small.lively(backend, CFG)
    rng, c = np.random.default_rng(0), CFG
    video = backend.engine.array(rng.random((1, 4, c.size, c.size, 3), np.float32))
    audio = backend.engine.array(rng.normal(size=(1, 4, c.samples)).astype(np.float32))
    out = net.forward(video, audio, backend.engine.array(np.zeros((1, 6), np.int32)), 2)
    assert out["physics"]["position"].shape == (1, 6, N, 3)


def truth_as_found(backend, truth):
    found = {n: backend.engine.array(x) for n, x in truth.items()}
    return found | {"momentum": found["mass"][..., None] * found["velocity"]}


def parts(backend, net, found, truth):
    rows = losses(backend).motion(net.physics, found, truth)
    return {name: float(x) for name, x in backend.engine.numpy(rows).items()}


def test_each_loss_is_nothing_at_the_truth_and_falls_towards_it(backend):
    net, truth = ready(backend), flights(4, 5)
    arrays = truth_as_found(backend, truth)
    assert max(parts(backend, net, arrays, arrays).values()) < 1e-6
    rng = np.random.default_rng(0)
    drift = {
        n: (1 + rng.normal(size=x.shape) * np.linspace(0, 1, T).reshape(1, T, *[1] * (x.ndim - 2)))
        for n, x in truth.items()
    }
    previous = None
    for share in (0.4, 0.1):
        wrong = truth | {n: truth[n] * (1 + share * (drift[n] - 1)) for n in ("position", "velocity", "mass", "energy")}
        wrong["mass"] = np.maximum(wrong["mass"], 0.05)
        rows = parts(backend, net, truth_as_found(backend, wrong), arrays)
        assert min(rows.values()) > 0
        assert previous is None or all(rows[n] < previous[n] for n in rows), (rows, previous)
        previous = rows


def test_a_frozen_frame_does_not_please_the_losses_of_a_trajectory(backend):
    """Each trajectory against its own: a batch whose changes cancel out is no excuse, nor is one that stands still."""
    net, truth = ready(backend), flights(4, 6)
    arrays = truth_as_found(backend, truth)
    frozen = truth_as_found(backend, {n: np.repeat(x[:, :1], T, 1) for n, x in truth.items()})
    assert parts(backend, net, frozen, arrays)["path"] > 0.1
    opposite = dict(truth)
    opposite["velocity"] = truth["velocity"].copy()
    for i, sign in enumerate((1, -1, 1, -1)):
        opposite["velocity"][i] += sign * np.linspace(0, 1, T)[:, None, None]
    rows = parts(backend, net, truth_as_found(backend, opposite), arrays)
    assert rows["conservation"] > 0.1 and rows["path"] < 1e-6


def test_an_impossible_clip_is_the_possible_one_up_to_its_fault(backend):
    z = flights(16, 7)["z"]
    broken, possible, weight = map(
        backend.engine.numpy, losses(backend).impossible(backend.engine.array(z), backend.random.key(1))
    )
    for clip, own, so, w in zip(broken, z, possible, weight, strict=True):
        cut = int(np.flatnonzero(so == 0)[0])
        assert 2 <= cut < T - 6 and np.flatnonzero(so == 0).tolist() == [cut, cut + 1]
        np.testing.assert_array_equal(clip[:cut], own[:cut])
        assert (w[cut] == 4) == (np.square(clip[cut] - own[cut]).mean() > 0.05), "what cannot be seen is no fault"
        assert not w[:2].any() and not w[-6:].any()
    assert (weight == 4).sum() > 8


def test_it_learns_where_things_are_and_what_cannot_be(backend):
    """Held-out flights after 150 steps, beside what knows nothing; and the weights of all tasks have moved."""
    net, module = ready(backend), losses(backend)
    turn = Turn(
        "physics", lambda m, b, k: module.physics_loss(m.physics, b, k), OptimConfig(lr=4e-3, ema=0.9), ("physics.",)
    )
    trainer = backend.engine.Trainer(net, (turn,))
    log_variance = backend.engine.numpy(net.physics.objective.log_variance).copy()
    others = backend.engine.numpy(net.dynamics.tokens)
    for step in range(150):
        metrics = trainer.step(flights(16, 100 + step), step)
    assert backend.engine.numpy(metrics)["finite"] == 1
    moved = np.abs(backend.engine.numpy(net.physics.objective.log_variance) - log_variance)
    assert (moved > 0.02).all(), "the weight of each task is learned"
    np.testing.assert_array_equal(backend.engine.numpy(net.dynamics.tokens), others)
    truth = flights(32, 2)
    found = readings(backend, net, truth["z"])
    error, chance = (np.abs(x - truth["position"])[:, 2:, :, :2].mean() for x in (found["position"], 0))
    assert error < 0.35 * chance, (error, chance)
    jump = truth["z"].copy()
    jump[:, 8:] = np.roll(jump, 1, 0)[:, 8:]
    score = readings(backend, net, jump)["plausibility"][:, 8], found["plausibility"][:, 8]
    assert (score[0][:, None] < score[1][None]).mean() > 0.9


def test_dropout_is_in_training_alone(backend):
    cfg = dataclasses.replace(CFG, physics=dataclasses.replace(CFG.physics, dropout=0.5))
    net, z = small.lively(backend, cfg), backend.engine.array(flights(1, 8)["z"])
    quiet = [backend.engine.numpy(net.physics(z)["position"]) for _ in range(2)]
    np.testing.assert_array_equal(*quiet)
    dropped = backend.engine.numpy(net.physics(z, backend.random.key(1))["position"])
    assert np.abs(dropped - quiet[0]).max() > 1e-3
    assert PhysicsConfig().dropout > 0
