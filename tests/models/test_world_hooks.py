"""Latent hooks on a world's dynamics: a prefix that every frame sees, in training, in a rollout, on both backends."""

import numpy as np
import pytest

from mlxworld import on
from mlxworld.configs.hook import HookConfig
from tests.models.small import SMALL, B, changed, gap, gradients, latents, lively, module
from tests.models.test_dynamics import moves, noises, rollout, uncached

DEEP = changed(dynamics={"depth": 3, "global_every": 3})


def hook(backend, name="night", layers=(0, 2), bias=0.0, seed=5, cfg=DEEP):
    """A hook whose tokens are large and whose transforms do something, the same on both backends."""
    net = module(backend, "blocks.hooks").LatentNeuralHook(HookConfig(name, 3, cfg.dynamics.dim, layers, bias))
    shapes = {n: x.shape for n, x in backend.nn.parameters(net).items()}
    rng = np.random.default_rng(seed)
    arrays = {n: rng.normal(size=shape).astype(np.float32) for n, shape in sorted(shapes.items()) if n != "gate_bias"}
    backend.nn.assign(net, backend.engine.array(arrays))
    return net


def dreamt(backend, *hooks, cfg=DEEP):
    net = lively(backend, cfg).dynamics
    for each in hooks:
        net.register_hook(each)
    return rollout(backend, net, noises(cfg), moves(cfg))[0]


def test_a_hook_moves_a_dream_and_one_that_is_gone_or_shut_does_not(backend):
    plain = dreamt(backend)
    assert gap(dreamt(backend, hook(backend)), plain) > 0.1
    assert dreamt(backend, hook(backend, bias=-np.inf)).tobytes() == plain.tobytes()
    net = lively(backend, DEEP).dynamics
    net.register_hook(hook(backend))
    net.remove_hook("night")
    assert rollout(backend, net, noises(DEEP), moves(DEEP))[0].tobytes() == plain.tobytes()
    assert not any(name.startswith("hooks") for name in backend.nn.parameters(net))


def test_a_nearly_silent_hook_moves_little(backend):
    """A gate that stood before a norm would be undone by it: -12 would move as much as 0."""
    plain = dreamt(backend)
    assert gap(dreamt(backend, hook(backend, bias=-12.0))[0], plain[0]) < 1e-3
    assert gap(dreamt(backend, hook(backend))[0], plain[0]) > 1e-2


def test_both_backends_dream_the_same_with_several_hooks():
    dreams = [dreamt(b, hook(b), hook(b, "day", (1, 2), -1.0, 6)) for b in (on("mlx"), on("torch"))]
    assert gap(*dreams) < 1e-4


def test_hooks_see_each_other(backend):
    """A hook alone at the last layer differs from what it is behind another that the content cannot see there."""
    hooks = module(backend, "blocks.hooks")
    net = lively(backend, DEEP).dynamics
    pair = [hook(backend, "a", (0, 2)), hook(backend, "b", (0, 1), seed=6)]
    opened = {h.cfg.name: list(h.cfg.target_layers) for h in pair}
    both, alone = (hooks.prefix(net.blocks, chosen, opened)[2][0] for chosen in (pair, pair[:1]))
    assert gap(*map(backend.engine.numpy, (both, alone))) > 1e-3


@pytest.mark.parametrize("cfg", [DEEP, SMALL], ids=["deep", "small"])
def test_the_cache_is_the_whole_past_with_a_hook(backend, cfg):
    layers = (0, cfg.dynamics.depth - 1)
    net, noise, actions = lively(backend, cfg).dynamics, noises(cfg), moves(cfg)
    net.register_hook(hook(backend, layers=layers, cfg=cfg))
    found, _ = rollout(backend, net, noise, actions)
    for t in (0, 1, 5, len(noise) - 1):
        expected = uncached(backend, net, list(found[:t]), noise, actions)
        assert gap(found[t], expected) < 2e-4


def test_chunks_and_the_whole_clip_are_the_same_with_a_hook(backend):
    """Local layers in chunks, as training has them, against all to all under the same mask."""
    cfg, T = changed(dynamics={"depth": 3, "global_every": 3, "local_window": 4}), 8
    net = lively(backend, cfg).dynamics
    net.register_hook(hook(backend, cfg=cfg))
    batch, level = latents(cfg, frames=T), np.full((B, T), 1, np.int32)
    engine = backend.engine
    given = engine.array([batch["z"], batch["actions"], level, level])
    with engine.inference():
        chunked = engine.numpy(net(*given, past=given[0] * 0.5))
        odd = engine.array([x[:, : T - 1] for x in (batch["z"], batch["actions"], level, level)])
        whole = engine.numpy(net(*odd, past=odd[0] * 0.5))
    assert gap(chunked[:, : T - 1], whole) < 2e-5


def test_no_later_frame_leaks_through_a_hook(backend):
    """A hook that read content would tell a frame of what comes after it."""
    net, T = lively(backend, DEEP).dynamics, 6
    net.register_hook(hook(backend, bias=3.0))
    batch, level, engine = latents(DEEP, frames=T), np.full((B, T), 1, np.int32), backend.engine
    other = batch["z"].copy()
    other[:, 4:] = -other[:, 4:]
    with engine.inference():
        first, second = (
            engine.numpy(net(*engine.array([z, batch["actions"], level, level]), past=engine.array(z)))
            for z in (batch["z"], other)
        )
    assert gap(first[:, :4], second[:, :4]) == 0
    assert gap(first[:, 4:], second[:, 4:]) > 1e-2


@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_gradient_reaches_every_part_of_a_hook(backend, checkpointing):
    net = lively(backend, DEEP)
    net.dynamics.register_hook(hook(backend))
    losses = module(backend, "openworld.losses")

    def loss(net, batch, key):
        return losses.dynamics_loss(net.dynamics, batch, key, checkpointing)

    found = gradients(backend, net, loss, latents(DEEP, frames=6, count=4))
    own = {name: x for name, x in found.items() if name.startswith("dynamics.hooks.")}
    assert "dynamics.hooks.0.gate_bias" in own and "dynamics.hooks.0.transforms.0.mlp.up.weight" in own
    assert all(np.abs(x).max() > 0 for x in own.values())


def test_a_hook_for_another_model_is_refused(backend):
    net = lively(backend, DEEP).dynamics
    net.register_hook(hook(backend))
    for wrong in (hook(backend), hook(backend, "x", (7,))):
        with pytest.raises(ValueError, match=r"already|another model"):
            net.register_hook(wrong)
    with pytest.raises(KeyError):
        net.remove_hook("nobody")
