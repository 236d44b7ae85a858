"""InfoNCE against its definition, collapse that is noticed, and an order that no constant wins."""

import importlib

import numpy as np
import pytest

from mlxworld import on


@pytest.fixture(params=["mlx", "torch"])
def made(request):
    package = on(request.param)
    return package, lambda name: importlib.import_module(f"{package.__name__}.models.objectives.{name}")


def test_info_nce_is_its_definition(made):
    package, load = made
    a, b = np.random.default_rng(0).normal(size=(2, 5, 8)).astype(np.float32)
    u, v = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (a, b))
    p = np.exp(u @ v.T / 0.07)
    wanted = -0.5 * (np.log(np.diag(p) / p.sum(1)) + np.log(np.diag(p) / p.sum(0))).mean()
    assert float(load("contrastive").info_nce(*package.engine.array([a, b]))) == pytest.approx(wanted, rel=1e-4)


def test_collapse_is_noticed(made):
    """A fault of the ancestor: nobody saw it."""
    package, load = made
    x = np.random.default_rng(0).normal(size=(64, 32)).astype(np.float32)
    spread = load("contrastive").spread
    assert float(spread(package.engine.array(x))) > 0.7
    assert float(spread(package.engine.array(1 + 0.01 * x))) < 0.01
    same = package.engine.array(np.ones((8, 4), np.float32))
    assert float(load("contrastive").info_nce(same, same)) == pytest.approx(np.log(8), rel=1e-5)


def test_order_is_antisymmetric(made):
    """A fault of the ancestor: a symmetric head cannot tell which of two clips comes first."""
    package, load = made
    order = load("temporal").Order(8)
    a, b = package.engine.array(list(np.random.default_rng(0).normal(size=(2, 6, 8)).astype(np.float32)))
    forth, back = package.engine.numpy([order(a, b), order(b, a)])
    np.testing.assert_allclose(forth, -back, atol=1e-6)
    assert np.abs(forth).max() > 1e-2  # or both would be nothing
    same = load("temporal").logistic_loss(order(a, a), package.engine.array(np.ones(6, np.float32)))
    assert package.engine.numpy(same) == pytest.approx(np.log(2), rel=1e-5)


def test_a_symmetric_head_never_beats_chance_where_both_orders_are_asked(made):
    """The control of the order task: a head that says the same of (a, b) and (b, a) has a loss of ln 2 at best."""
    package, load = made
    first = np.repeat(np.array([1, 0], np.float32), 16)
    a, b = np.random.default_rng(0).normal(size=(2, 16, 8)).astype(np.float32)
    order, loss = load("temporal").Order(8), load("temporal").logistic_loss
    for scale in (0.0, 0.1, 1.0, 10.0):
        told = np.tile(scale * (a + b).sum(axis=1), 2).astype(np.float32)
        assert float(loss(*package.engine.array([told, first]))) >= np.log(2) - 1e-6
    package.nn.assign(order, {"weigh.weight": package.engine.array(np.ones((1, 8), np.float32))})
    b = a - np.abs(b)  # the first one is larger in each of its numbers
    pair = package.engine.array([np.concatenate([a, b]), np.concatenate([b, a])])
    assert float(package.engine.numpy(loss(order(*pair), package.engine.array(first)))) < 0.1
