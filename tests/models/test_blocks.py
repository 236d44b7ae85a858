"""Every option of the block against a plain reference in numpy, on both backends, forward and backward."""

import dataclasses
import itertools
from typing import Any

import numpy as np
import pytest

from mlxworld.configs.block import CHOICES, BlockConfig
from tests.models.small import gradients, module
from tests.models.test_parity import relative

T, K, B = 3, 2, 2  # frames, tokens of a frame, batch


def block(**settings: Any) -> BlockConfig:
    return dataclasses.replace(BlockConfig(dim=24, heads=4), **settings)


def variants():
    """{name: settings}: each option alone, every pair of kinds that meet in one line of code, and random mixtures."""
    options = {
        **CHOICES,
        "kv_heads": (0, 1, 2),
        "head_dim": (0, 10),
        "hidden": (0, 20),
        "qkv_bias": (False, True),
        "bias": (False, True),
        "out_bias": (None, False, True),
        "gated": (True, False),
        "eps": (1e-5, 1e-2),
    }
    names = sorted(options)
    singles = [{name: value} for name in names for value in options[name]]
    pairs = [
        dict(zip(("order", other), values, strict=True))
        for other in ("norm", "gate", "gated", "bias", "out_bias")
        for values in itertools.product(options["order"], options[other])
    ]
    pairs += [{"qk_norm": a, "kv_heads": b, "head_dim": 10} for a in options["qk_norm"] for b in options["kv_heads"]]
    rng = np.random.default_rng(0)
    mixed = [{name: options[name][rng.integers(len(options[name]))] for name in names} for _ in range(40)]
    return {" ".join(f"{k}={v}" for k, v in chosen.items()): chosen for chosen in (*singles, *pairs, *mixed)}


VARIANTS = variants()
EACH = pytest.mark.parametrize("settings", VARIANTS.values(), ids=VARIANTS)


def erf(x):
    """By Simpson's rule: no function of numpy, nor of either framework."""
    t = np.linspace(0, 1, 401)
    weights = np.array([1] + [4, 2] * 199 + [4, 1]) / 1200
    return 2 / np.sqrt(np.pi) * x * (np.exp(-np.square(x[..., None] * t)) * weights).sum(-1)


ACTS = {
    "silu": lambda x: x / (1 + np.exp(-x)),
    "gelu": lambda x: x * 0.5 * (1 + erf(x / np.sqrt(2))),
    "gelu_tanh": lambda x: 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))),
    "quick_gelu": lambda x: x / (1 + np.exp(-1.702 * x)),
    "relu": lambda x: np.maximum(x, 0),
}


def softmax(x):
    x = np.exp(x - x.max(-1, keepdims=True))
    return x / x.sum(-1, keepdims=True)


def reference(cfg, weights, x, turn=lambda x, tokens: x, mask=None):
    """The block of a BlockConfig, token by token and head by head: x (B, T, K, C) -> the same shape, float64."""
    w = {name: value.astype(np.float64) for name, value in weights.items()}
    shape, x = x.shape, x.reshape(x.shape[0], -1, cfg.dim).astype(np.float64)
    E, H = cfg.head_dim or cfg.dim // cfg.heads, cfg.heads
    G = cfg.kv_heads or H

    def linear(name, y):
        return y @ w[f"{name}.weight"].T + w.get(f"{name}.bias", 0)

    def rms(y):
        return y / np.sqrt(np.square(y).mean(-1, keepdims=True) + cfg.eps)

    def norm(name, y):
        gain = w[f"{name}.weight"]
        if cfg.norm == "layer":
            y = y - y.mean(-1, keepdims=True)
            return rms(y) * gain + w.get(f"{name}.bias", 0)
        return rms(y) * (1 + gain if cfg.norm == "rms_plus_one" else gain)

    def gain(head):
        """Of head number `head` of queries, then keys."""
        gains = w["attn.qk_gain"] + (cfg.norm == "rms_plus_one")
        if cfg.qk_norm in ("each", "whole"):
            return gains[head * E : (head + 1) * E]
        return gains[:E] if head < H else gains[E:]

    def attention(y):
        projected = linear("attn.qkv", y)
        heads = [projected[..., i * E : (i + 1) * E] for i in range(H + 2 * G)]
        if cfg.qk_norm == "whole":
            for first, last in ((0, H), (H, H + G)):
                whole = rms(np.concatenate(heads[first:last], axis=-1))
                heads[first:last] = [whole[..., i * E : (i + 1) * E] * gain(first + i) for i in range(last - first)]
        elif cfg.qk_norm == "layer":
            shifts = w["attn.qk_shift"][:E], w["attn.qk_shift"][E:]
            for i, a in enumerate(heads[: H + G]):
                heads[i] = rms(a - a.mean(-1, keepdims=True)) * gain(i) + shifts[i >= H]
        elif cfg.qk_norm != "none":
            heads[: H + G] = [rms(a) * gain(i) for i, a in enumerate(heads[: H + G])]
        heads[: H + G] = [turn(a, np.arange(a.shape[1])) for a in heads[: H + G]]
        out = []
        for i in range(H):
            q, k, v = heads[i], heads[H + i // (H // G)], heads[H + G + i // (H // G)]
            scores = q @ k.swapaxes(-1, -2) / np.sqrt(E)
            out.append(softmax(scores if mask is None else np.where(mask, scores, -np.inf)) @ v)
        return linear("attn.out", np.concatenate(out, axis=-1))

    def ffn(y):
        y = linear("mlp.up", y)
        if cfg.gated:
            gate, y = np.split(y, 2, axis=-1)
            return linear("mlp.down", ACTS[cfg.act](gate) * y)
        return linear("mlp.down", ACTS[cfg.act](y))

    def gated(y, number):
        if cfg.gate == "none":
            return y
        return y * (w[f"gate{number}"] if cfg.gate == "scale" else np.tanh(w[f"gate{number}"]))

    if cfg.order == "pre":
        x = x + gated(attention(norm("norm1", x)), 1)
        x = x + gated(ffn(norm("norm2", x)), 2)
    elif cfg.order == "post":
        x = norm("norm1", x + gated(attention(x), 1))
        x = norm("norm2", x + gated(ffn(x), 2))
    elif cfg.order == "sandwich":
        x = x + gated(norm("norm1_after", attention(norm("norm1", x))), 1)
        x = x + gated(norm("norm2_after", ffn(norm("norm2", x))), 2)
    else:
        y = norm("norm1", x)
        x = x + gated(attention(y), 1) + gated(ffn(y), 2)
    return x.reshape(shape)


def filled(backend, net, seed=0):
    """The module with weights of which none is near zero, placed; and those weights, by name."""
    engine, rng = backend.engine, np.random.default_rng(seed)
    shapes = {name: tuple(x.shape) for name, x in engine.parameters(net).items()}
    weights = {}
    for name, shape in sorted(shapes.items()):
        draw = rng.normal(size=shape)
        weights[name] = (draw / np.sqrt(shape[-1]) if len(shape) > 1 else 0.7 + 0.3 * draw).astype(np.float32)
    engine.place(net)
    engine.load_parameters(net, weights, "the test")
    return net, weights


def build(backend, cfg, seed=0):
    return filled(backend, module(backend, "blocks").Block(cfg), seed)


def stream(cfg, seed=1, frames=T):
    return np.random.default_rng(seed).normal(size=(B, frames, K, cfg.dim)).astype(np.float32)


def causal(frames, tokens):
    """Booleans (T*K, T*K): a token sees its own frame and those before."""
    frame = np.arange(frames * tokens) // tokens
    return frame[:, None] >= frame[None]


def added(backend, seen):
    """What `Attention` takes as a mask, of booleans."""
    return module(backend, "blocks").mask(backend.engine.array(seen), like=backend.engine.array(np.float32(0)))


@EACH
def test_the_block_is_its_reference(backend, settings):
    cfg = block(**settings)
    net, weights = build(backend, cfg)
    x, seen = stream(cfg), causal(T, K)
    for mask in (None, seen):
        given = None if mask is None else added(backend, mask)
        y = backend.engine.numpy(net(backend.engine.array(x), mask=given)[0])
        assert relative(y, reference(cfg, weights, x, mask=mask)) < 1e-5


@EACH
def test_a_gradient_reaches_every_parameter_and_is_that_of_the_reference(backend, settings):
    """Against a difference of the reference in a random direction of all weights at once."""
    cfg = block(**settings)
    net, weights = build(backend, cfg)
    x, target = stream(cfg), stream(cfg, seed=2)

    def loss(net, batch, key):
        return (net(batch["x"])[0] * batch["target"]).mean(), {}

    slopes = gradients(backend, net, loss, {"x": x, "target": target})
    assert set(slopes) == set(weights)
    if cfg.act != "relu" or cfg.order != "post":
        assert all(np.abs(g).max() > 1e-7 for g in slopes.values()), [n for n, g in slopes.items() if not g.any()]
    rng, step = np.random.default_rng(3), 1e-5
    ahead = {name: rng.normal(size=value.shape) for name, value in weights.items()}
    ends = [
        (reference(cfg, {n: w.astype(np.float64) + s * step * ahead[n] for n, w in weights.items()}, x) * target).mean()
        for s in (-1, 1)
    ]
    slope = sum((slopes[name].astype(np.float64) * ahead[name]).sum() for name in weights)
    size = np.sqrt(sum(np.square(g.astype(np.float64)).sum() for g in slopes.values()))
    assert abs(slope - (ends[1] - ends[0]) / (2 * step)) < 2e-3 * size


def test_a_block_of_options_has_the_parameters_of_its_options(backend):
    def names(**settings):
        return set(backend.engine.parameters(module(backend, "blocks").Block(block(**settings))))

    plain = names()
    assert plain == {
        *("norm1.weight", "norm2.weight", "attn.qkv.weight", "attn.qk_gain", "attn.out.weight"),
        *("mlp.up.weight", "mlp.down.weight"),
    }
    assert names(qkv_bias=True) - plain == {"attn.qkv.bias"}
    assert names(bias=True) - plain == {"attn.out.bias", "mlp.up.bias", "mlp.down.bias"}
    assert plain - names(order="parallel") == {"norm2.weight"} and plain - names(qk_norm="none") == {"attn.qk_gain"}
    assert names(order="sandwich") - plain == {"norm1_after.weight", "norm2_after.weight"}
    assert names(gate="tanh") - plain == {"gate1", "gate2"} == names(gate="scale") - plain


def test_a_fresh_tanh_gate_is_shut_and_a_scale_is_one(backend):
    x = stream(block())
    for gate in ("tanh", "scale"):
        net = module(backend, "blocks").Block(block(gate=gate))
        module(backend, "blocks").init_weights(net, backend.random.key(0), depth=1)
        y = backend.engine.numpy(net(backend.engine.array(x))[0])
        assert np.array_equal(y, x) == (gate == "tanh")


def test_dropout_is_of_attention_in_training_alone(backend):
    cfg = block(dropout=0.5)
    net, weights = build(backend, cfg)
    x = backend.engine.array(stream(cfg))
    plain, one, same, two = (
        backend.engine.numpy(net(x, key=key)[0]) for key in (None, *(backend.random.key(seed) for seed in (1, 1, 2)))
    )
    assert relative(plain, reference(cfg, weights, stream(cfg))) < 1e-5
    assert np.array_equal(one, same) and not np.array_equal(one, two) and not np.array_equal(one, plain)


CROSS = [{"qk_norm": "none", "qkv_bias": True}, {"kv_heads": 2, "qk_norm": "shared"}]


@pytest.mark.parametrize("settings", [{}, *CROSS, {"qk_norm": "whole"}, {"kv_heads": 1, "qk_norm": "layer"}])
def test_cross_attention_reads_its_source(backend, settings):
    """Queries of x, keys and values of a source of another length: as self-attention over both."""
    cfg = block(**settings)
    cross, weights = filled(backend, module(backend, "blocks").Attention(cfg, cross=True))
    E, H = cfg.width, cfg.heads
    joined = {name: value for name, value in weights.items() if name in ("qk_gain", "qk_shift", "out.weight")}
    for kind in ("weight", "bias") if cfg.qkv_bias else ("weight",):
        joined[f"qkv.{kind}"] = np.concatenate([weights[f"q.{kind}"], weights[f"kv.{kind}"]])
    assert len(joined["qkv.weight"]) == (H + 2 * cfg.groups) * E
    whole = module(backend, "blocks").Attention(cfg)
    backend.engine.place(whole)
    backend.engine.load_parameters(whole, joined, "the test")
    x, source = stream(cfg), stream(cfg, seed=2, frames=4)
    both, n = np.concatenate([x, source], axis=1), (T + 4) * K
    seen = np.tile(np.arange(n) >= T * K, (n, 1))
    engine = backend.engine
    y = engine.numpy(cross(engine.array(x), source=engine.array(source))[0])
    assert relative(y, engine.numpy(whole(engine.array(both), mask=added(backend, seen))[0])[:, :T]) < 1e-5
    onto = engine.numpy(cross(engine.array(x), source=engine.array(source), onto=engine.array(x))[0])
    assert relative(onto, x + y) < 1e-5


@pytest.mark.parametrize("kv_heads", [0, 1, 2])
def test_attention_in_chunks_is_attention_under_its_mask(backend, kv_heads):
    """Chunks of 4 frames that see themselves and the first 2 frames of the chunk before."""
    cfg = block(kv_heads=kv_heads)
    net, _ = build(backend, cfg)
    blocks, engine, frames, w = module(backend, "blocks"), backend.engine, 12, 4
    x, t = engine.array(stream(cfg, frames=frames)), np.arange(frames * K) // K
    own, before = t[:, None] // w == t[None] // w, t[:, None] // w == t[None] // w + 1
    seen = (own & (t[:, None] >= t[None])) | (before & (t[None] % w < w // 2) & ((t[:, None] + t[None]) % 3 > 0))
    n, chunks = w * K, []
    for first in range(0, frames * K, n):
        keys = np.concatenate([np.arange(first - n, first - n // 2), np.arange(first, first + n)])
        chunks.append(seen[first : first + n][:, np.maximum(keys, 0)] & (keys >= 0))
    whole = engine.numpy(net(x, mask=added(backend, seen))[0])
    chunked = engine.numpy(net(x, mask=added(backend, np.stack(chunks)), attend=blocks.attend_in_chunks)[0])
    assert relative(chunked, whole) < 1e-5


@pytest.mark.parametrize("settings", [{}, {"order": "sandwich", "gate": "scale"}, {"kv_heads": 2}])
def test_checkpointing_changes_no_gradient_of_a_block(backend, settings):
    cfg = block(**settings)
    (net, _), blocks, rope = build(backend, cfg), module(backend, "blocks"), module(backend, "blocks.rope")
    mask, engine = added(backend, causal(T, K)), backend.engine
    table = engine.array(np.asarray(rope.whole_turns(32, cfg.width), np.float32))
    turn = rope.turning(rope.first_rows(table, T)[:, :, None, None])

    def loss(checkpointing):
        return lambda net, batch, key: (
            backend.ops.square(blocks.apply(net, batch["x"], turn, mask, checkpointing)).mean(),
            {},
        )

    plain, saving = (gradients(backend, net, loss(on), {"x": stream(cfg)}) for on in (False, True))
    for name, slope in plain.items():
        assert relative(saving[name], slope) < 1e-5, name


@pytest.mark.parametrize(
    ("message", "settings"),
    [
        *((f"{name} is one of", {name: "other"}) for name in CHOICES),
        ("dim and heads must be at least 1", {"heads": 0}),
        ("dim and heads must be at least 1", {"dim": 0}),
        ("must not be negative", {"kv_heads": -1}),
        ("must not be negative", {"hidden": -1}),
        ("dim must be a multiple of heads", {"dim": 25}),
        ("heads must be a multiple of kv_heads", {"kv_heads": 3}),
        ("eps must be positive", {"eps": 0.0}),
        (r"dropout lies in \[0, 1\)", {"dropout": 1.0}),
    ],
)
def test_a_block_that_cannot_be_is_refused(message, settings):
    from mlxworld.errors import MlxworldError

    with pytest.raises(MlxworldError, match=message):
        block(**settings)
