"""Every layer on both backends: the same parameters, numpy's values, gradients alike; and what a Module holds."""

import numpy as np
import pytest

import mlxworld
from mlxworld import nn as mlx_nn
from tests.protocol.both import close, gradients, values

RNG = np.random.default_rng(0)
X = RNG.normal(0, 1, (2, 7, 6)).astype(np.float32)
PICTURE = RNG.normal(0, 1, (2, 7, 6, 4)).astype(np.float32)
WHOLE = np.array([[0, 4], [2, 2]], np.int32)
PAIR = mlxworld.on("mlx"), mlxworld.on("torch")


def norm(x, mean, eps):
    x = x - mean
    return x / np.sqrt(np.mean(np.square(x), -1, keepdims=True) + eps)


def convolve(x, weight, stride: int | tuple = 1, padding: int | tuple = 0, dilation: int | tuple = 1):
    """Cross-correlation of (B, H, W, C) with (out, h, w, C), one place at a time."""
    (s, t), (p, q), (d, e) = (np.broadcast_to(n, 2) for n in (stride, padding, dilation))
    x = np.pad(x, [(0, 0), (p, p), (q, q), (0, 0)])
    B, H, W, _ = x.shape
    out, h, w, _ = weight.shape
    y = np.zeros((B, (H - d * (h - 1) - 1) // s + 1, (W - e * (w - 1) - 1) // t + 1, out))
    for i, j in np.ndindex(y.shape[1:3]):
        patch = x[:, i * s : i * s + d * (h - 1) + 1 : d, j * t : j * t + e * (w - 1) + 1 : e]
        y[:, i, j] = np.einsum("bhwc,ohwc->bo", patch, weight)
    return y


def convolve1(x, weight, **options):
    options = {k: (v if k != "padding" else (v, 0)) for k, v in options.items()}
    return convolve(x[:, :, None], weight[:, :, None], **options)[:, :, 0]


# (layer, arguments, named arguments, numpy's answer of (x, parameters), x)
CASES = [
    ("Linear", (6, 3), {}, lambda x, p: x @ p["weight"].T + p["bias"], X),
    ("Linear", (6, 3), {"bias": False}, lambda x, p: x @ p["weight"].T, X),
    ("Embedding", (5, 3), {}, lambda x, p: p["weight"][x], WHOLE),
    ("RMSNorm", (6,), {}, lambda x, p: norm(x, 0, 1e-5) * p["weight"], X * 1e-2),
    ("RMSNorm", (6,), {"eps": 0.5}, lambda x, p: norm(x, 0, 0.5) * p["weight"], X),
    ("LayerNorm", (6,), {}, lambda x, p: norm(x, x.mean(-1, keepdims=True), 1e-5) * p["weight"] + p["bias"], X * 1e-2),
    ("LayerNorm", (6,), {"bias": False}, lambda x, p: norm(x, x.mean(-1, keepdims=True), 1e-5) * p["weight"], X),
    ("LayerNorm", (6,), {"affine": False}, lambda x, p: norm(x, x.mean(-1, keepdims=True), 1e-5), X),
    ("Conv1d", (6, 3, 3), {}, lambda x, p: convolve1(x, p["weight"]) + p["bias"], X),
    (
        "Conv1d",
        (6, 3, 3),
        {"stride": 2, "padding": 4, "dilation": 2, "bias": False},
        lambda x, p: convolve1(x, p["weight"], stride=2, padding=4, dilation=2),
        X,
    ),
    ("Conv2d", (4, 3, 3), {"padding": 1}, lambda x, p: convolve(x, p["weight"], padding=1) + p["bias"], PICTURE),
    (
        "Conv2d",
        (4, 3, (2, 3)),
        {"stride": (2, 1), "padding": (0, 2), "dilation": (1, 2), "bias": False},
        lambda x, p: convolve(x, p["weight"], (2, 1), (0, 2), (1, 2)),
        PICTURE,
    ),
]


def drawn(backend, model) -> dict[str, np.ndarray]:
    """Values for every parameter, drawn by name and shape."""
    shapes = {name: tuple(p.shape) for name, p in backend.nn.parameters(model).items()}
    return {
        n: np.random.default_rng(i).normal(0, 0.5, shapes[n]).astype(np.float32) for i, n in enumerate(sorted(shapes))
    }


def with_parameters(backend, model, names):
    """A function of (x, *parameters): the model's output with its parameters so set."""

    def fn(x, *parameters):
        given = dict(zip(names, parameters, strict=True))
        if backend.__name__ == "mlxworld":
            backend.nn.assign(model, given)
        else:
            for name, value in given.items():  # in place of the Parameter: gradients flow to `value` itself
                owner, _, leaf = name.rpartition(".")
                model.get_submodule(owner)._parameters[leaf] = value
        return model(x)

    return fn


@pytest.mark.parametrize(("name", "args", "named", "answer", "x"), CASES, ids=[case[0] for case in CASES])
def test_a_layer_is_numpys_and_its_gradients_agree(name, args, named, answer, x):
    slopes = []
    for backend in PAIR:
        layer = getattr(backend.nn, name)(*args, **named)
        p = drawn(backend, layer)
        arrays, fn = [x, *p.values()], with_parameters(backend, layer, list(p))
        close(values(backend, fn, arrays), [answer(x, p).astype(np.float32)])
        found = gradients(backend, fn, arrays)
        slopes.append(dict(zip([*(["x"] if x.dtype == np.float32 else []), *p], found, strict=True)))
    assert set(slopes[0]) == set(slopes[1])
    ours, theirs = ([s[n] for n in sorted(s)] for s in slopes)
    close(ours, theirs)


def test_every_layer_has_a_case():
    apart = {"Module", "residual", "role", "roles", "parameters", "buffers", "assign", "checkpoint", "limit", "unembed"}
    assert {case[0] for case in CASES} | apart == set(mlx_nn.__all__)


@pytest.mark.parametrize("bias", [False, True])
def test_residual_is_the_sum(backend, bias):
    layer, given = backend.nn.Linear(6, 3, bias=bias), RNG.normal(0, 1, (2, 7, 3)).astype(np.float32)
    x, y = backend.engine.array((given, X))
    found, wanted = backend.nn.residual(x, layer, y), x + layer(y)
    assert np.abs(backend.engine.numpy(found) - backend.engine.numpy(wanted)).max() < 1e-6


def tree(backend):
    """A model with everything that a Module may hold."""
    nn, ops = backend.nn, backend.ops

    class Leaf(nn.Module):
        def __init__(self, scale):
            super().__init__()
            self.linear = nn.Linear(6, 6)
            self.gain = ops.ones((6,))
            self._scale = ops.full((6,), scale)

        def forward(self, x, shift=None):
            y = ops.tanh(self.linear(x) * self.gain) * self._scale
            return y if shift is None else y + shift

    class Tree(nn.Module):
        def __init__(self):
            super().__init__()
            self.leaves = [Leaf(0.5), Leaf(2.0)]
            self.none = []
            self.twins = [nn.Linear(6, 6, bias=False) for _ in range(2)]
            self.checkpointing = False

        def forward(self, x):
            for leaf in self.leaves:
                x = (
                    nn.checkpoint(leaf, x, None) + nn.checkpoint(leaf, x, x)
                    if self.checkpointing
                    else leaf(x) + leaf(x, x)
                )
            for twin in self.twins:
                x = x + twin(x)
            return x

    return Tree()


NAMES = ["gain", "linear.bias", "linear.weight"]


def test_what_a_module_holds(backend):
    model = tree(backend)
    expected = [f"leaves.{i}.{name}" for i in (0, 1) for name in NAMES] + ["twins.0.weight", "twins.1.weight"]
    assert sorted(backend.nn.parameters(model)) == expected
    before = drawn(backend, model)
    backend.nn.assign(model, backend.engine.array(before))
    after = backend.engine.numpy(backend.nn.parameters(model))
    assert all(np.array_equal(after[name], before[name]) for name in expected)
    assert np.array_equal(backend.engine.numpy(model.leaves[1]._scale), np.full(6, 2, np.float32))
    if backend.__name__ == "torch_backend":
        assert sorted(model.state_dict()) == expected
    with pytest.raises((KeyError, ValueError)):
        backend.nn.assign(model, {"leaves.0.gian": backend.ops.ones((6,))})
    with pytest.raises((TypeError, NotImplementedError)):
        backend.nn.Module()(1)


def test_checkpointing_changes_no_number(backend):
    found = []
    for checkpointing in (False, True):
        model = tree(backend)
        model.checkpointing = checkpointing
        p = drawn(backend, model)
        fn = with_parameters(backend, model, list(p))
        found.append(values(backend, fn, [X, *p.values()]) + gradients(backend, fn, [X, *p.values()]))
    close(found[0], found[1], 1e-6)
    assert all(np.any(g) for g in found[1])


def test_a_model_of_everything_is_the_same_on_both():
    found = []
    for backend in PAIR:
        model = tree(backend)
        p = dict(sorted(drawn(backend, model).items()))
        fn = with_parameters(backend, model, list(p))
        found.append(values(backend, fn, [X, *p.values()]) + gradients(backend, fn, [X, *p.values()]))
    close(found[0], found[1])
