"""The block, every option of it, on both backends beside plain numpy; caches beside attention to all at once."""

import dataclasses
import itertools
import math

import numpy as np
import pytest

from mlxworld import MlxworldError
from mlxworld.configs.block import CHOICES, BlockConfig
from tests.models.small import gap, module

PLAIN = BlockConfig(dim=32, heads=4, hidden=48)
OPTIONS = {
    **{f"{field}={value}": {field: value} for field, values in CHOICES.items() for value in values},
    "grouped": {"kv_heads": 2},
    "one key head": {"kv_heads": 1, "qk_norm": "shared"},
    "wide heads": {"head_dim": 16, "kv_heads": 2},
    "biases": {"bias": True, "qkv_bias": True, "norm": "layer"},
    "not gated": {"gated": False, "act": "gelu"},
    "eps": {"eps": 0.3},
    "eps of a layer norm": {"eps": 0.3, "norm": "layer"},
    "a language model": {
        "norm": "rms_plus_one",
        "order": "sandwich",
        "act": "gelu_tanh",
        "qk_norm": "shared",
        "kv_heads": 2,
    },
    "a tower": {
        "norm": "layer",
        "bias": True,
        "qkv_bias": True,
        "gated": False,
        "act": "gelu",
        "gate": "scale",
        "qk_norm": "none",
    },
    "parallel": {"order": "parallel", "norm": "layer", "qk_norm": "none", "kv_heads": 1, "gate": "tanh"},
}
B, T, K = 2, 5, 3


def erf(x):
    return np.vectorize(math.erf)(x)


ACTS = {
    "silu": lambda x: x / (1 + np.exp(-x)),
    "relu": lambda x: np.maximum(x, 0),
    "gelu": lambda x: 0.5 * x * (1 + erf(x / math.sqrt(2))),
    "gelu_tanh": lambda x: 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
}


def plain(cfg, w, x, turn=None, seen=None):
    """The block as it is defined, in float64. x (B, N, C); turn(x (B, N, E)) -> the same; seen (N, N)."""
    H, G, E = cfg.heads, cfg.groups, cfg.width

    def rms(x):
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + cfg.eps)

    def linear(name, x):
        return x @ w[f"{name}.weight"].T + w.get(f"{name}.bias", 0)

    def norm(name, x):
        if cfg.norm == "layer":
            centred = x - x.mean(-1, keepdims=True)
            y = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + cfg.eps)
            return y * w[f"{name}.weight"] + w.get(f"{name}.bias", 0)
        return rms(x) * (w[f"{name}.weight"] + (cfg.norm == "rms_plus_one"))

    def attention(x):
        heads = linear("attn.qkv", x).reshape(*x.shape[:2], H + 2 * G, E)
        gains = None
        if cfg.qk_norm == "each":
            gains = w["attn.qk_gain"].reshape(H + G, E)
        elif cfg.qk_norm == "shared":
            gains = np.repeat(w["attn.qk_gain"].reshape(2, E), [H, G], axis=0)
        out = np.zeros((*x.shape[:2], H, E))
        for b, h in itertools.product(range(len(x)), range(H)):
            q, k, v = (heads[b, :, i] for i in (h, H + h * G // H, H + G + h * G // H))
            if gains is not None:
                q, k = rms(q) * gains[h], rms(k) * gains[H + h * G // H]
            if turn is not None:
                q, k = turn(q), turn(k)
            scores = q @ k.T / math.sqrt(E)
            scores = scores if seen is None else np.where(seen, scores, -np.inf)
            p = np.exp(scores - scores.max(-1, keepdims=True))
            out[b, :, h] = p / p.sum(-1, keepdims=True) @ v
        return linear("attn.out", out.reshape(*x.shape[:2], -1))

    def mlp(x):
        y, act = linear("mlp.up", x), ACTS[cfg.act]
        y = act(y[..., : cfg.ffn]) * y[..., cfg.ffn :] if cfg.gated else act(y)
        return linear("mlp.down", y)

    def gated(n, y):
        gate = w.get(f"gate{n}", 1.0)
        return y * (np.tanh(gate) if cfg.gate == "tanh" else gate)

    if cfg.order == "pre":
        x = x + gated(1, attention(norm("norm1", x)))
        return x + gated(2, mlp(norm("norm2", x)))
    if cfg.order == "post":
        x = norm("norm1", x + gated(1, attention(x)))
        return norm("norm2", x + gated(2, mlp(x)))
    if cfg.order == "parallel":
        y = norm("norm1", x)
        return x + gated(1, attention(y)) + gated(2, mlp(y))
    x = x + gated(1, norm("norm1_after", attention(norm("norm1", x))))
    return x + gated(2, norm("norm2_after", mlp(norm("norm2", x))))


def lively(backend, cfg, seed=0):
    """A block none of whose parts is near zero or one, and its weights as float64."""
    block, rng = module(backend, "blocks").Block(cfg), np.random.default_rng(seed)
    shapes = {n: p.shape for n, p in sorted(backend.nn.parameters(block).items())}
    weights = {}
    for name, shape in shapes.items():
        matrix = len(shape) > 1
        weights[name] = (rng.normal(0, shape[-1] ** -0.5, shape) if matrix else rng.normal(0.7, 0.2, shape)).astype(
            "f4"
        )
    backend.engine.load_parameters(block, weights, "the test")
    return block, {name: x.astype(np.float64) for name, x in weights.items()}


@pytest.mark.parametrize("name", OPTIONS)
def test_every_option_is_what_it_says(backend, name):
    cfg = dataclasses.replace(PLAIN, **OPTIONS[name])
    (block, w), engine, rope = lively(backend, cfg), backend.engine, module(backend, "blocks.rope")
    x = np.random.default_rng(1).normal(size=(B, T, K, cfg.dim)).astype(np.float32)
    seen = np.tril(np.ones((T, T), bool)).repeat(K, 0).repeat(K, 1)
    table = np.array(rope.whole_turns(64, cfg.width))[:, :T]
    where = table.repeat(K, 1)  # of each token
    half = cfg.width // 2

    def turn(x):
        cos, sin = where[0][:, :half], where[1][:, half:]
        a, b = x[:, :half], x[:, half:]
        return np.concatenate([a * cos - b * sin, b * cos + a * sin], -1)

    with engine.inference():
        angles = engine.array(table[:, :, None, None].astype(np.float32))
        mask = module(backend, "blocks").mask(engine.array(seen), like=engine.array(x))
        ours = engine.numpy(block(engine.array(x), rope.turning(angles), mask)[0])
    theirs = plain(cfg, w, x.reshape(B, T * K, -1).astype(np.float64), turn, seen).reshape(x.shape)
    assert gap(ours, theirs) < 2e-5 * max(1, np.abs(theirs).max())
    if OPTIONS[name] and dataclasses.replace(PLAIN, **OPTIONS[name]) != PLAIN:
        other, _ = lively(backend, PLAIN)
        with engine.inference():
            assert (
                gap(
                    engine.numpy(other(engine.array(x), None, mask)[0]),
                    engine.numpy(block(engine.array(x), None, mask)[0]),
                )
                > 1e-3
            )


@pytest.mark.parametrize("name", OPTIONS)
def test_a_gradient_reaches_every_parameter(backend, name):
    from tests.models.small import gradients

    cfg = dataclasses.replace(PLAIN, **OPTIONS[name])
    block, _ = lively(backend, cfg)
    x = np.random.default_rng(1).normal(size=(B, T, K, cfg.dim)).astype(np.float32)

    def loss(block, batch, key):
        y = block(batch["x"])[0]
        return backend.ops.square(y + batch["x"] * 0.3 + 0.1).mean(), {}

    slopes = gradients(backend, block, loss, {"x": x})
    assert [n for n, g in slopes.items() if not np.abs(g).max() > 1e-7] == []


@pytest.mark.parametrize("name", ["grouped", "a language model", "parallel", "qk_norm=each"])
@pytest.mark.parametrize("kind", ["ring", "growing"])
def test_one_by_one_through_a_cache_is_all_at_once(backend, name, kind):
    cfg, N = dataclasses.replace(PLAIN, **OPTIONS[name]), 12
    (block, _), engine, blocks = lively(backend, cfg), backend.engine, module(backend, "blocks")
    rope = module(backend, "blocks.rope")
    x = np.random.default_rng(1).normal(size=(B, N, 1, cfg.dim)).astype(np.float32)
    window = 4 if kind == "ring" else N
    time = np.arange(N)
    seen = (time[:, None] >= time) & (time[:, None] - time < window)
    table = np.array(rope.whole_turns(64, cfg.width))[:, :N, None, None].astype(np.float32)
    with engine.inference():
        angles = engine.array(table)
        whole = block(engine.array(x), rope.turning(angles), blocks.mask(engine.array(seen), like=engine.array(x)))[0]
        shape = (B, cfg.groups, window, 1, cfg.width)
        stores = (blocks.empty(shape, engine.array(x)), blocks.empty(shape, engine.array(x)))
        outputs = []
        for t in range(N):
            if kind == "ring":
                cache = blocks.Ring(stores, engine.array(np.array([t % window], np.int32)))
                known = engine.array((np.arange(window) <= t)[None])
            else:
                cache = blocks.Growing(stores, engine.array(np.array([t], np.int32)))
                known = cache.seen(1, N)
            mask = blocks.mask(known, like=engine.array(x))
            y, after = block(engine.array(x[:, t : t + 1]), rope.turning(angles[:, t : t + 1]), mask, cache)
            stores = after.stores
            outputs.append(engine.numpy(y))
    assert gap(np.concatenate(outputs, 1), engine.numpy(whole)) < 1e-5
    if kind == "growing":
        assert engine.numpy(after.length).tolist() == [N]


def test_angles_of_positions_frequencies_and_sections(backend):
    """Standard, long and multimodal rotary positions beside their definitions."""
    rope, engine = module(backend, "blocks.rope"), backend.engine
    plain = rope.frequencies(8, 10000.0)
    np.testing.assert_allclose(plain, [10000 ** (-2 * i / 8) for i in range(4)])
    np.testing.assert_allclose(rope.frequencies(8, 10000.0, [1, 2, 4, 8]), np.array(plain) / [1, 2, 4, 8])
    positions = np.array([[0, 3, 7], [1, 1, 2], [5, 0, 9]], np.int32)  # time, height, width of three tokens
    angles = engine.numpy(rope.angles(engine.array(positions), engine.array(np.array(plain, np.float32)), 1.5))
    turned = positions[..., None] * np.array(plain)
    np.testing.assert_allclose(angles[0], 1.5 * np.cos(np.concatenate([turned, turned], -1)), atol=1e-5)
    np.testing.assert_allclose(angles[1], 1.5 * np.sin(np.concatenate([-turned, turned], -1)), atol=1e-5)
    joined = engine.numpy(rope.by_section(engine.array(angles), (1, 2, 1)))
    for i, kind in enumerate([0, 1, 1, 2, 0, 1, 1, 2]):
        np.testing.assert_array_equal(joined[..., i], angles[:, kind, :, i])


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"norm": "batch"}, "norm is one of rms, layer, rms_plus_one, not 'batch'"),
        ({"dim": 30}, "dim must be a multiple of heads"),
        ({"kv_heads": 3}, "heads must be a multiple of kv_heads"),
        ({"eps": 0.0}, "eps must be positive"),
        ({"heads": 0}, "dim and heads must be at least 1"),
    ],
)
def test_a_block_that_cannot_be_is_refused(options, line):
    with pytest.raises(MlxworldError, match=line):
        dataclasses.replace(PLAIN, **options)
