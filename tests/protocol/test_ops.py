"""Every op of the protocol on both backends: values against numpy, gradients against each other."""

import math

import numpy as np
import pytest

import mlxworld
from mlxworld import ops as mlx_ops
from tests.protocol.both import close, gradients, values

RNG = np.random.default_rng(0)
X = RNG.normal(0, 2, (3, 4, 5)).astype(np.float32)
Y = RNG.normal(0, 2, (3, 1, 5)).astype(np.float32)
WIDE = np.array([-90, -30, -1, -1e-3, 0.5, 1, 19, 21, 80], np.float32)
HALVES = np.array([-1.0, 0.49, 0.5, 1.5, 2.5, 254.5, 254.4, 300.0], np.float32)
POSITIVE = np.abs(X) + 0.1
WHOLE = np.array([[2, 0, 1], [1, 1, 3]], np.int32)
HALF = np.ones((2,), np.float16)
Q, K, V = (RNG.normal(0, 1, (2, 3, n, 8)).astype(np.float32) for n in (4, 6, 6))
SEEN = np.arange(6) <= np.arange(4)[:, None] + 2
FOUR = np.cos(np.arange(64.0)).astype(np.float32).reshape(2, 4, 1, 8)  # heads of one query
LAST = np.arange(6) > np.array([0, 2])[:, None, None, None]
BIAS = RNG.normal(0, 1, (2, 1, 4, 6)).astype(np.float32)
RING = RNG.normal(0, 1, (2, 3, 4, 2, 8)).astype(np.float32)
FRAMES = RNG.normal(0, 1, (2, 3, 2, 2, 8)).astype(np.float32)


def erf(x):
    return np.vectorize(math.erf)(x)


def sigmoid(x):
    return 1 / (1 + np.exp(-x.astype(np.float64)))


def softmax(x, axis=-1):
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def attention(q, k, v, mask=None):
    scores = q @ k.swapaxes(-1, -2) / math.sqrt(q.shape[-1])
    if mask is not None:
        scores = np.where(mask, scores, -np.inf) if mask.dtype == bool else scores + mask
    return softmax(scores) @ v


def one_head(q, k, v):
    """Every head of q attends to the first of k and v."""
    return attention(q, *(np.repeat(x[:, :1], q.shape[1], axis=1) for x in (k, v)))


def one_query(q, k, v, mask):
    """The first half of q's heads attends to the first of k and v, the second to the second."""
    return attention(q, np.repeat(k, q.shape[1] // 2, axis=1), np.repeat(v, q.shape[1] // 2, axis=1), mask)


def loud(q, k, v):
    return attention(q * 0.7 * math.sqrt(q.shape[-1]), k, v)


def turned(x, cos, sin, gains=1.0):
    x = x * gains
    return x * cos + np.roll(x, x.shape[-1] // 2, -1) * sin


def written(ring, new, slots):
    after = ring.copy()
    after[:, :, slots] = new
    return [after, ring]


# (op, call, numpy's answer, arrays); the answer is taken in the dtype of float32, int32, bool or as it says itself.
CASES = [
    ("abs", lambda o, x: o.abs(x), np.abs, [X]),
    ("broadcast_to", lambda o, y: o.broadcast_to(y, (3, 4, 5)), lambda y: np.broadcast_to(y, (3, 4, 5)), [Y]),
    ("cos", lambda o, x: o.cos(x), np.cos, [X]),
    ("exp", lambda o, x: o.exp(x), np.exp, [X]),
    ("floor", lambda o, x: o.floor(x), np.floor, [X]),
    ("log", lambda o, x: o.log(x), np.log, [POSITIVE]),
    ("rsqrt", lambda o, x: o.rsqrt(x), lambda x: 1 / np.sqrt(x), [POSITIVE]),
    ("sigmoid", lambda o, x: o.sigmoid(x), sigmoid, [WIDE]),
    ("sin", lambda o, x: o.sin(x), np.sin, [X]),
    ("sqrt", lambda o, x: o.sqrt(x), np.sqrt, [POSITIVE]),
    ("square", lambda o, x: o.square(x), np.square, [X]),
    ("stop_gradient", lambda o, x: x * o.stop_gradient(x), np.square, [X]),
    ("tanh", lambda o, x: o.tanh(x), np.tanh, [X]),
    ("where", lambda o, x, y: o.where(x > 0, x, y), lambda x, y: np.where(x > 0, x, y), [X, Y]),
    ("where", lambda o, x: o.where(x > 0, x, -1.0), lambda x: np.where(x > 0, x, -1), [X]),
    ("gelu", lambda o, x: o.gelu(x), lambda x: x * (1 + erf(x / math.sqrt(2))) / 2, [X]),
    ("relu", lambda o, x: o.relu(x), lambda x: np.maximum(x, 0), [WIDE]),
    ("silu", lambda o, x: o.silu(x), lambda x: x * sigmoid(x), [WIDE]),
    ("array", lambda o: o.array([[1.5, 2], [3, 4]]), lambda: np.array([[1.5, 2], [3, 4]]), []),
    ("array", lambda o: o.array([1, 2]), lambda: np.array([1, 2]), []),
    ("array", lambda o: o.array(np.arange(3.0)), lambda: np.arange(3.0), []),
    ("array", lambda o: o.array(np.arange(3)), lambda: np.arange(3), []),
    ("array", lambda o: o.array([True, False]), lambda: np.array([True, False]), []),
    ("array", lambda o, h: o.array([1, 2], like=h), lambda h: np.array([1, 2], np.float16), [HALF]),
    ("arange", lambda o, x: o.arange(4, like=x), lambda x: np.arange(4), [X]),
    ("zeros", lambda o: o.zeros((2, 3)), lambda: np.zeros((2, 3)), []),
    ("zeros", lambda o, i: o.zeros((2,), like=i), lambda i: np.zeros(2, int), [WHOLE]),
    ("ones", lambda o: o.ones((2, 3)), lambda: np.ones((2, 3)), []),
    ("ones", lambda o, h: o.ones((2,), like=h), lambda h: np.ones(2, np.float16), [HALF]),
    ("full", lambda o: o.full((2, 3), 7), lambda: np.full((2, 3), 7.0), []),
    ("full", lambda o, h: o.full((2,), 0.5, like=h), lambda h: np.full(2, 0.5, np.float16), [HALF]),
    ("cast", lambda o, x, h: o.cast(x, like=h), lambda x, h: x.astype(np.float16), [WIDE[:3], HALF]),
    ("float32", lambda o, i: o.float32(i), lambda i: i.astype(float), [WHOLE]),
    ("int32", lambda o, x: o.int32(x), lambda x: x.astype(int), [X]),
    ("uint8", lambda o, x: o.uint8(x), lambda x: np.clip(np.floor(x + 0.5), 0, 255).astype(np.uint8), [HALVES]),
    ("concat", lambda o, x, y: o.concat([x, y], axis=1), lambda x, y: np.concatenate([x, y], 1), [X, Y]),
    ("stack", lambda o, x, y: o.stack([x, y, x], axis=-1), lambda x, y: np.stack([x, y, x], -1), [X, X + 1]),
    ("split", lambda o, x: o.split(x, [1, 3, 1]), lambda x: np.split(x, [1, 4], -1), [X]),
    ("split", lambda o, x: o.split(x, (2, 1), axis=0), lambda x: np.split(x, [2], 0), [X]),
    ("take", lambda o, x, i: o.take(x, i, axis=-1), lambda x, i: np.take(x, i, -1), [X, WHOLE]),
    ("take", lambda o, x, i: o.take(x, i, axis=1), lambda x, i: np.take(x, i, 1), [X, WHOLE[1]]),
    ("take", lambda o, x, i: o.take(x, i, axis=1), lambda x, i: np.take(x, i, 1), [X, WHOLE[0, 0]]),
    (
        "pad",
        lambda o, x: o.pad(x, [(1, 0), (0, 0), (2, 3)], 0.5),
        lambda x: np.pad(x, [(1, 0), (0, 0), (2, 3)], constant_values=0.5),
        [X],
    ),
    ("roll", lambda o, x: o.roll(x, 2, axis=-1), lambda x: np.roll(x, 2, -1), [X]),
    ("roll", lambda o, x: o.roll(x, -1, axis=1), lambda x: np.roll(x, -1, 1), [X]),
    ("rotary", lambda o, x, c, s: o.rotary(x, c, s), turned, [Q, Q[:1], Q[:1] + 1]),
    ("rotary", lambda o, *a: o.rotary(*a), turned, [Q, Q[0, 0], Q[0, 0] - 1, Q[0, :, :1]]),
    ("clip", lambda o, x: o.clip(x, -1, 0.5), lambda x: np.clip(x, -1, 0.5), [X]),
    ("max", lambda o, x: o.max(x, axis=-1), lambda x: x.max(-1), [X]),
    ("max", lambda o, x: o.max(x, axis=(0, 2), keepdims=True), lambda x: x.max((0, 2), keepdims=True), [X]),
    ("rfft", lambda o, x: o.rfft(x), lambda x: [np.fft.rfft(x).real, np.fft.rfft(x).imag], [X]),
    ("rfft", lambda o, x: o.rfft(x), lambda x: [np.fft.rfft(x).real, np.fft.rfft(x).imag], [X[..., :4]]),
    ("irfft", lambda o, a, b: o.irfft(a, b, 9), lambda a, b: np.fft.irfft(a + 1j * b, 9), [X, X[::-1].copy()]),
    ("irfft", lambda o, a, b: o.irfft(a, b, 8), lambda a, b: np.fft.irfft(a + 1j * b, 8), [X, X[::-1].copy()]),
    ("rms_norm", lambda o, x: o.rms_norm(x, 0.1), lambda x: x / np.sqrt((x**2).mean(-1, keepdims=True) + 0.1), [X]),
    ("attention", lambda o, q, k, v: o.attention(q, k, v), attention, [Q, K, V]),
    ("attention", lambda o, *a: o.attention(*a), attention, [Q, K, V, SEEN]),
    ("attention", lambda o, *a: o.attention(*a), attention, [Q, K, V, BIAS]),
    ("attention", lambda o, q, k, v: o.attention(q, k[:, :1], v[:, :1]), one_head, [Q, K, V]),
    ("attention", lambda o, *a: o.attention(*a), one_query, [FOUR, K[:, :2], V[:, :2], LAST]),
    ("attention", lambda o, q, k, v: o.attention(q, k, v, scale=0.7), loud, [Q, K, V]),
    (
        "value_and_gradient",
        lambda o, a: list(o.value_and_gradient(lambda x: (x * x * x).sum(), a)),
        lambda a: [(a**3).sum(), 3 * a**2],
        [X],
    ),
    ("ring_write", lambda o, r, n, s: [o.ring_write(r, n, s), r], written, [RING, FRAMES, np.array([3, 0], np.int32)]),
]


def expected(answer, arrays):
    """numpy's answer as a list, in float32, int32, or the dtype that it has chosen itself."""
    made = answer(*arrays)
    made = [np.asarray(a) for a in (made if isinstance(made, list | tuple) else [made])]
    chosen = {np.dtype(np.float64): np.float32, np.dtype(np.int64): np.int32}
    return [a.astype(chosen.get(a.dtype, a.dtype)) for a in made]


@pytest.mark.parametrize(("name", "call", "answer", "arrays"), CASES, ids=[case[0] for case in CASES])
def test_values_are_numpys_and_gradients_agree(name, call, answer, arrays):
    found = []
    for backend in map(mlxworld.on, ("mlx", "torch")):
        close(values(backend, lambda *xs, o=backend.ops: call(o, *xs), arrays), expected(answer, arrays))
        found.append(gradients(backend, lambda *xs, o=backend.ops: call(o, *xs), arrays))
    close(*found)


def test_every_op_has_a_case():
    assert {case[0] for case in CASES} == set(mlx_ops.__all__)


def test_gradients_are_the_slopes(backend):
    """Both backends against central differences, where both could be wrong in the same way."""
    w = RNG.normal(0, 1, (3, 4, 5))

    def f(x, y):
        z = x * backend.ops.silu(y) + backend.ops.where(x > y, backend.ops.square(x), y)
        return backend.ops.silu(z)

    def g(x, y):
        z = x * y * sigmoid(y) + np.where(x > y, x * x, y)
        return z * sigmoid(z)

    def total(x, y):
        return (g(x, y) * np.cos(np.arange(w.size).reshape(w.shape) + 1.0)).sum()

    step, x, y = 1e-6, X.astype(float), Y.astype(float)
    ours = gradients(backend, f, [X, Y])
    for at in np.ndindex(y.shape):
        d = np.zeros_like(y)
        d[at] = step
        assert abs((total(x, y + d) - total(x, y - d)) / (2 * step) - ours[1][at]) < 1e-4


def test_stopped_gradients_stay_stopped(backend):
    (gradient,) = gradients(backend, lambda x: backend.ops.stop_gradient(x) * 2, [X])
    assert not gradient.any()


def test_a_ring_is_written_on_a_gpu_as_on_the_cpu(monkeypatch):
    """On a GPU MLX chooses each slot instead of copying into it: another expression, the same ring."""
    from mlxworld import ops

    mx = ops.mx
    ring, new, slots = (mx.array(x) for x in (RING, FRAMES, np.array([3, 0], np.int32)))
    copied = ops.ring_write(ring, new, slots)
    monkeypatch.setattr(mx, "default_device", lambda: mx.gpu)
    chosen = ops.ring_write(ring, new, slots)
    assert np.array_equal(copied, chosen) and not np.array_equal(copied, ring)
