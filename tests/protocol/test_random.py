"""The same seed is the same world: both backends draw the same bits, today's bits, and they look random."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import mlxworld

seeds = st.integers(0, 2**64 - 1)
shapes = st.lists(st.integers(1, 7), max_size=4).map(tuple)


def both(draw):
    """What draw(random) gives on each backend, as numpy."""
    return [b.engine.numpy(draw(b.random)) for b in map(mlxworld.on, ("mlx", "torch"))]


def same(draw):
    ours, theirs = both(draw)
    assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype)
    assert np.array_equal(ours, theirs)
    return ours


@given(seeds, shapes)
def test_uniform_numbers_are_the_same_bits(seed, shape):
    x = same(lambda r: r.uniform(r.key(seed), shape))
    assert x.shape == shape and x.dtype == np.float32 and (x >= 0).all() and (x < 1).all()


@given(seeds, shapes)
def test_uniform_numbers_between_bounds_are_the_same_bits(seed, shape):
    x = same(lambda r: r.uniform(r.key(seed), shape, -3.0, 0.5))
    assert (x >= -3).all() and (x <= 0.5).all()


@given(seeds, shapes, st.integers(-50, 50), st.integers(1, 1000))
def test_integers_are_the_same(seed, shape, low, span):
    x = same(lambda r: r.randint(r.key(seed), low, low + span, shape))
    assert x.dtype == np.int32 and (x >= low).all() and (x < low + span).all()


@given(seeds, shapes, st.floats(0, 1))
def test_coins_are_the_same(seed, shape, p):
    x = same(lambda r: r.bernoulli(r.key(seed), p, shape))
    assert x.dtype == bool and (p not in (0, 1) or (x == bool(p)).all())


@given(seeds, shapes)
def test_normal_numbers_are_the_same_but_for_erfinv(seed, shape):
    ours, theirs = both(lambda r: r.normal(r.key(seed), shape))
    assert ours.shape == theirs.shape == shape and ours.dtype == theirs.dtype == np.float32
    np.testing.assert_allclose(ours, theirs, rtol=5e-7, atol=1e-7)


@given(seeds, st.integers(1, 5))
def test_split_keys_draw_the_same_bits(seed, num):
    x = [same(lambda r, i=i: r.uniform(r.split(r.key(seed), num)[i], (2,))) for i in range(num)]
    assert len(np.unique(x)) == 2 * num


def test_the_bits_of_today(backend):
    """A seed shown to somebody must give the same world for ever."""
    r, numpy = backend.random, backend.engine.numpy
    np.testing.assert_array_equal(
        numpy(r.uniform(r.key(7), (3,))), np.array([0.22498463, 0.42616042, 0.45360935], np.float32)
    )


@pytest.mark.parametrize("seed", [0, 1, 2**40])
def test_normal_numbers_look_normal(backend, seed):
    n = 1 << 14
    x = np.sort(backend.engine.numpy(backend.random.normal(backend.random.key(seed), (n,))))
    cumulative = np.vectorize(lambda v: (1 + math.erf(v / math.sqrt(2))) / 2)(x)
    assert np.abs(cumulative - (np.arange(n) + 0.5) / n).max() < 1.63 / math.sqrt(n)  # Kolmogorov-Smirnov at 1 %


def test_other_seeds_other_numbers(backend):
    r, numpy = backend.random, backend.engine.numpy
    first = [float(numpy(r.uniform(r.key(seed), ()))) for seed in (0, 1, 2**32, 2**63, 2**64 - 1)]
    assert len(set(first)) == len(first)


def test_a_draw_is_one_operation_to_pytorch_s_compiler():
    """Written out it would be some 200, recomputed wherever they are used. Values and gradients stay the same."""
    from torch._dynamo.backends.common import aot_autograd

    backend, called = mlxworld.on("torch"), []

    def watched(graph, inputs):
        called.extend(str(node.target) for node in graph.graph.nodes if node.op == "call_function")
        return graph.forward

    def fn(key, weight):
        return (backend.random.normal(backend.random.split(key)[1], (3, 5)) * weight).sum()

    compiled = torch.compile(fn, backend=aot_autograd(fw_compiler=watched), fullgraph=True)
    key, weight = backend.random.key(3), torch.ones(5, requires_grad=True)
    ours, theirs = compiled(key, weight), fn(key, weight)
    assert torch.equal(ours, theirs)
    assert all(map(torch.equal, *(torch.autograd.grad(y, weight) for y in (ours, theirs))))
    assert called.count("mlxworld.random_bits.default") == 2 and not any("bitwise" in name for name in called)
