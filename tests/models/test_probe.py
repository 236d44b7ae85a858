"""Attention mass on hooks, beside the softmax computed plainly, and in the models that hooks join."""

import numpy as np
import pytest

from tests.models.omnilatent import tiny
from tests.models.small import latents, lively, module
from tests.models.test_world_hooks import DEEP, hook

SIZES = [2, 3]


def plain(q, k, mask, first, size):
    """The share of softmax(q k^T / sqrt(E) + mask) on keys first .. first + size, for grouped heads."""
    k = np.repeat(k, q.shape[1] // k.shape[1], axis=1)
    logits = q @ k.swapaxes(-1, -2) / np.sqrt(q.shape[-1]) + mask
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    return (weights / weights.sum(-1, keepdims=True))[..., first : first + size].sum(-1)


def drawn(*shapes):
    rng = np.random.default_rng(3)
    return [rng.normal(size=shape).astype(np.float32) for shape in shapes]


@pytest.mark.parametrize("apart", [False, True], ids=["in the keys", "as further keys"])
def test_masses_are_the_softmax_computed_plainly(backend, apart):
    """Hooks whose keys are the last of all keys, as OmniLatent has them, and further keys, as a world has them."""
    blocks, probe, engine = (module(backend, "blocks"), module(backend, "blocks.probe"), backend.engine)
    B, H, G, N, M, E = 2, 4, 2, 6, sum(SIZES), 8
    q, k, v, hk, hv = drawn((B, H, N, 1, E), (B, G, N, 1, E), (B, G, N, 1, E), (1, G, M, E), (1, G, M, E))
    gate = np.array([-1.0, -1.0, 0.5, 0.5, 0.5], np.float32)
    causal = np.where(np.tril(np.ones((N, N))), 0, -3e4).astype(np.float32)[None, None]
    keys, values = (np.concatenate([x[:, :, :, 0], np.repeat(h, B, axis=0)], axis=2) for x, h in ((k, hk), (v, hv)))
    mask = np.concatenate([causal, np.broadcast_to(gate, (1, 1, N, M))], axis=-1)
    if apart:
        given, more = (q, k, v, causal), tuple(engine.array([hk, hv, gate]))
    else:
        given, more = (q, keys[:, :, :, None], values[:, :, :, None], mask), None
    found = engine.numpy(probe.masses(blocks.attend, *engine.array(list(given)), SIZES, more=more))
    for mass, first, size in zip(found, (N, N + SIZES[0]), SIZES, strict=True):
        np.testing.assert_allclose(mass, plain(q[:, :, :, 0], keys, mask, first, size), atol=1e-6)


def test_a_hooks_own_queries_are_not_counted(backend):
    blocks, probe, engine = (module(backend, "blocks"), module(backend, "blocks.probe").Probe(), backend.engine)
    N, M, E = 5, 3, 8
    q, k, v = drawn(*[(2, 2, N + M, 1, E)] * 3)
    watched = probe.watching(blocks.attend, 4, [hook(backend)], N)
    y = watched(*engine.array([q, k, v, np.zeros((1, 1, 1, N + M), np.float32)]))
    found = engine.numpy(probe.mean())["night"][4]
    assert y.shape[2] == N + M
    np.testing.assert_allclose(found, plain(q[..., 0, :], k[..., 0, :], 0, N, M)[:, :, :N].mean((0, 2)), atol=1e-6)


def test_masses_of_chunks_are_those_of_the_whole(backend):
    blocks, probe, engine = (module(backend, "blocks"), module(backend, "blocks.probe"), backend.engine)
    B, H, T, K, M, E, n = 2, 2, 8, 3, 2, 8, 2
    q, k, v, hk, hv = drawn((B, H, T, K, E), (B, H, T, K, E), (B, H, T, K, E), (1, H, M, E), (1, H, M, E))
    w = T * K // n
    mask = np.zeros((n, w, w + w // 2), np.float32)
    mask[0, :, : w // 2] = -3e4  # nothing is before the first chunk
    whole = np.full((T * K, T * K), -3e4, np.float32)
    for i in range(n):
        whole[i * w : (i + 1) * w, max(0, i * w - w) : max(0, i * w - w // 2)] = 0
        whole[i * w : (i + 1) * w, i * w : (i + 1) * w] = 0
    given, more = engine.array([q, k, v]), tuple(engine.array([hk, hv, np.zeros(M, np.float32)]))
    cut = probe.masses(blocks.attend_in_chunks, *given, engine.array(mask), [M], more=more)[0]
    flat = probe.masses(blocks.attend, *given, engine.array(whole[None, None]), [M], more=more)[0]
    np.testing.assert_allclose(engine.numpy(cut), engine.numpy(flat), atol=1e-6)
    keys = np.concatenate([k.reshape(B, H, -1, E), np.repeat(hk, B, axis=0)], axis=2)
    mask = np.concatenate([whole, np.zeros((T * K, M), np.float32)], axis=-1)
    np.testing.assert_allclose(engine.numpy(flat), plain(q.reshape(B, H, -1, E), keys, mask, T * K, M), atol=1e-6)


def looked_at(backend, net, frames=6):
    """{hook: {layer: (H,)}} of a world's dynamics over clips, and what it foresees."""
    batch, engine = latents(DEEP, frames=frames), backend.engine
    level = np.full(batch["actions"].shape, 1, np.int32)
    with engine.inference(), net.probed() as probe:
        z = engine.numpy(net(*engine.array([batch["z"], batch["actions"], level, level])))
    return engine.numpy(probe.mean()), z


def test_a_worlds_hooks_are_seen_by_layer_and_a_shut_one_has_mass_0(backend):
    net = lively(backend, DEEP).dynamics
    _, before = looked_at(backend, net)
    net.register_hook(hook(backend, "loud", (0, 2), bias=0.0))
    net.register_hook(hook(backend, "shut", (0, 1), bias=-np.inf, seed=6))
    net.register_hook(hook(backend, "quiet", (1,), bias=-12.0, seed=7))
    found, hooked = looked_at(backend, net)
    assert {name: sorted(rows) for name, rows in found.items()} == {"loud": [0, 2], "quiet": [1]}
    assert all(row.shape == (2,) for rows in found.values() for row in rows.values())
    assert all(0.01 < x < 1 for row in found["loud"].values() for x in row)
    assert max(found["quiet"][1]) < 1e-3
    assert net.probe is None and not np.array_equal(before, hooked)


def test_watching_changes_nothing(backend):
    """Where content alone is counted: OmniLatent's hooks are queries, too."""
    package, model = tiny.model("mlx" if backend.__name__ == "mlxworld" else "torch")
    model.register_hook(tiny.hook(package))
    arrays = package.engine.array(tiny.data())
    with package.engine.inference():
        before = package.engine.numpy(model("image", arrays["image"], "text", text=arrays["text"])["output"])
        with model.probed() as probe:
            after = package.engine.numpy(model("image", arrays["image"], "text", text=arrays["text"])["output"])
    assert before.tobytes() == after.tobytes()
    found = package.engine.numpy(probe.mean())
    assert sorted(found["h"]) == [0, 2] and all(0 < x < 1 for row in found["h"].values() for x in row)
