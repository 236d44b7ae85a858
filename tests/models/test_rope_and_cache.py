"""Rotary positions against complex numbers; caches of both kinds against no cache at all."""

import numpy as np
import pytest

from mlxworld.configs.block import BlockConfig
from tests.models.small import gap, module
from tests.models.test_blocks import B, K, added, build, causal, stream
from tests.models.test_parity import relative

E, H = 12, 3


def turned(x, angle):
    """x (..., E), number i with number i + E / 2 as one complex number, turned by angle (..., E / 2)."""
    half = x.shape[-1] // 2
    z = (x[..., :half] + 1j * x[..., half:]) * np.exp(1j * angle)
    return np.concatenate([z.real, z.imag], axis=-1)


def queries(frames, tokens=1, seed=0):
    return np.random.default_rng(seed).normal(size=(B, frames, tokens, H, E)).astype(np.float32)


def run(backend, angles, x):
    """x (B, T, K, H, E) turned by angles (2, T, E) or (2, B, T, E), the same for all tokens and heads."""
    rope = module(backend, "blocks.rope")
    return backend.engine.numpy(rope.turning(angles[..., None, None, :])(backend.engine.array(x)))


@pytest.mark.parametrize("base", [10000.0, 500000.0, 1000000.0])
def test_rope_of_a_base(backend, base):
    """Su et al. 2021: number pair i turns by position * base^(-2 i / E); two bases are two tables."""
    rope, engine, x = module(backend, "blocks.rope"), backend.engine, queries(50)
    frequencies = engine.array(np.array(rope.frequencies(E, base), np.float32))
    y = run(backend, rope.angles(engine.array(np.arange(50, dtype=np.int32)), frequencies), x)
    angle = np.arange(50)[:, None] * base ** (-2 * np.arange(E // 2) / E)
    assert relative(y, turned(x, angle[:, None, None])) < 1e-5


def test_positions_may_differ_from_clip_to_clip(backend):
    rope, engine, x = module(backend, "blocks.rope"), backend.engine, queries(4)
    positions = np.array([[0, 1, 2, 3], [7, 7, 9, 30]], np.int32)
    frequencies = engine.array(np.array(rope.frequencies(E), np.float32))
    y = run(backend, rope.angles(engine.array(positions), frequencies), x)
    angle = positions[..., None] * 10000.0 ** (-2 * np.arange(E // 2) / E)
    assert relative(y, turned(x, angle[:, :, None, None])) < 1e-5


def test_long_rope_divides_each_frequency_and_scales_both(backend):
    """Ding et al. 2024: theta_i / lambda_i, and queries and keys times an attention factor."""
    rope, engine, x = module(backend, "blocks.rope"), backend.engine, queries(20)
    factors = list(np.linspace(1, 9, E // 2))
    frequencies = engine.array(np.array(rope.frequencies(E, 10000.0, factors), np.float32))
    y = run(backend, rope.angles(engine.array(np.arange(20, dtype=np.int32)), frequencies, scale=1.19), x)
    angle = np.arange(20)[:, None] * 10000.0 ** (-2 * np.arange(E // 2) / E) / factors
    assert relative(y, 1.19 * turned(x, angle[:, None, None])) < 1e-5
    with pytest.raises(ValueError, match="zip"):
        rope.frequencies(E, 10000.0, factors[1:])


def test_m_rope_turns_sections_by_time_height_and_width(backend):
    """Wang et al. 2024: the first 1 frequency by time, the next 2 by row, the last 3 by column."""
    rope, engine, x = module(backend, "blocks.rope"), backend.engine, queries(10)
    positions = np.random.default_rng(1).integers(0, 40, (3, B, 10)).astype(np.int32)
    frequencies = engine.array(np.array(rope.frequencies(E), np.float32))
    angles = rope.by_section(rope.angles(engine.array(positions), frequencies), [1, 2, 3])
    kind = np.array([0, 1, 1, 2, 2, 2])
    angle = np.moveaxis(positions[kind], 0, -1) * 10000.0 ** (-2 * np.arange(6) / E)
    assert relative(run(backend, angles, x), turned(x, angle[:, :, None, None])) < 1e-5


@pytest.mark.parametrize("frames", [5, 16, 40])
def test_a_table_of_whole_turns_begins_anew_after_its_period(backend, frames):
    rope, engine, period = module(backend, "blocks.rope"), backend.engine, 16
    table = np.array(rope.whole_turns(period, E))
    rows = engine.numpy(rope.first_rows(engine.array(table.astype(np.float32)), frames))
    assert rows.shape == (2, frames, E) and gap(rows, table[:, np.arange(frames) % period]) < 1e-6


TEXTS = {
    "plain": {},
    "grouped": {"kv_heads": 2, "qk_norm": "none", "qkv_bias": True},
    "shared norm, sandwich": {"qk_norm": "shared", "order": "sandwich", "norm": "rms_plus_one"},
    "parallel": {"order": "parallel", "norm": "layer", "bias": True, "kv_heads": 1},
}
PRECISIONS = {False: 1e-5, True: 2e-2}  # how far a cache may be from none: floats, bytes


def angles_of(backend, cfg, positions):
    rope, engine = module(backend, "blocks.rope"), backend.engine
    frequencies = engine.array(np.array(rope.frequencies(cfg.width), np.float32))
    angles = rope.angles(engine.array(np.asarray(positions, np.int32)), frequencies)
    return rope.turning(angles[:, :, None, None])


@pytest.mark.parametrize("int8", [False, True])
@pytest.mark.parametrize("settings", TEXTS.values(), ids=TEXTS)
def test_a_growing_cache_is_the_whole_past(backend, settings, int8):
    """A prompt of 4 frames at once, then pieces of 1, 2 and 1: the same as all 8 without a cache."""
    cfg = BlockConfig(24, 4, **settings)
    (net, _), blocks, engine, N = build(backend, cfg), module(backend, "blocks"), backend.engine, 10
    x = stream(cfg, frames=8)
    whole = net(engine.array(x), angles_of(backend, cfg, range(8)), added(backend, causal(8, K)))[0]
    like = engine.array(np.zeros(1, np.float32))
    stores = tuple(blocks.empty((B, cfg.groups, N, K, cfg.width), like, int8) for _ in range(2))
    cache, begin, pieces = blocks.Growing(stores, engine.array(np.zeros(1, np.int32))), 0, []
    for frames in (4, 1, 2, 1):
        seen = np.repeat(np.repeat(engine.numpy(cache.seen(frames, N)), K, axis=0), K, axis=1)
        turn = angles_of(backend, cfg, range(begin, begin + frames))
        before = engine.numpy(cache.stores)
        y, after = net(engine.array(x[:, begin : begin + frames]), turn, added(backend, seen), cache)
        same = engine.numpy(cache.stores)
        assert gap(_flat(before), _flat(same)) == 0, "update is pure"
        cache, begin = after, begin + frames
        pieces.append(engine.numpy(y))
    assert int(engine.numpy(cache.length)[0]) == 8
    assert relative(np.concatenate(pieces, axis=1), engine.numpy(whole)) < PRECISIONS[int8]


@pytest.mark.parametrize("int8", [False, True])
@pytest.mark.parametrize("settings", TEXTS.values(), ids=TEXTS)
def test_a_ring_is_the_past_that_a_window_sees(backend, settings, int8):
    """Two frames at a time in a ring of 6, twice round: the same as all 14 under a band of 5."""
    cfg, N, frames, window = BlockConfig(24, 4, **settings), 6, 14, 5
    (net, _), blocks, engine = build(backend, cfg), module(backend, "blocks"), backend.engine
    x, t = stream(cfg, frames=frames), np.arange(frames)
    age = np.repeat(np.repeat(t[:, None] - t[None], K, axis=0), K, axis=1)
    band = np.repeat(np.repeat(engine.numpy(blocks.band(frames, window, like=engine.array(t))), K, 0), K, 1)
    assert np.array_equal(band, (age >= 0) & (age < window))
    whole = net(engine.array(x), angles_of(backend, cfg, t), added(backend, band))[0]
    like = engine.array(np.zeros(1, np.float32))
    stores = tuple(blocks.empty((B, cfg.groups, N, K, cfg.width), like, int8) for _ in range(2))
    pieces, frame_of = [], np.full(N, -(10**6))
    for first in range(0, frames, 2):
        new = np.arange(first, first + 2)
        frame_of[new % N] = new
        age = np.repeat(np.repeat(new[:, None] - frame_of[None], K, axis=0), K, axis=1)
        seen = added(backend, (age >= 0) & (age < window))
        ring = blocks.Ring(stores, engine.array((new % N).astype(np.int32)))
        y, ring = net(engine.array(x[:, new]), angles_of(backend, cfg, new), seen, ring)
        stores = ring.stores
        pieces.append(engine.numpy(y))
    assert relative(np.concatenate(pieces, axis=1), engine.numpy(whole)) < PRECISIONS[int8]


def _flat(stores):
    leaves = [leaf for store in stores for leaf in (store.values() if isinstance(store, dict) else [store])]
    return np.concatenate([np.asarray(leaf, np.float64).reshape(-1) for leaf in leaves])


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_what_a_ring_of_bytes_gives_back_is_off_by_half_a_step_at_most(backend, precision):
    """On average by nothing: in bfloat16 odd bytes and a half would round up, a quarter of a step on average."""
    cache, engine, shape = module(backend, "blocks.cache"), backend.engine, (1, 2, 3, 50, 64)
    new = engine.array(np.random.default_rng(0).normal(size=shape).astype(np.float32), precision)
    store = cache.write(cache.empty(shape, new, int8=True), new, engine.array(np.arange(3, dtype=np.int32)))
    exact, kept = engine.numpy(new), engine.numpy(cache.read(store, like=engine.array(np.float32(0))))
    steps = (kept - exact) / (np.abs(exact).max(-1, keepdims=True) / 127)
    assert abs(steps.mean()) < 0.01 and np.abs(steps).max() < 0.501 and 0.28 < steps.std() < 0.3
    low = cache.read(store, like=new)
    assert str(low.dtype).endswith(precision) and relative(engine.numpy(low), exact) < 0.01
