"""Counts against hand formulas, and one backend against the other: FLOPs are those of the arithmetic, not a guess."""

import numpy as np

from mlxworld.speed import counts
from mlxworld.speed.parts import parts
from tests.models.small import SMALL, changed, lively

F = 4  # bytes of a float32


def made(backend, *shapes):
    return backend.engine.array([np.ones(shape, np.float32) for shape in shapes])


def total(ops) -> int:
    return counts.summary(ops)["flops"]


def test_a_linear_layer(backend):
    layer, (x,) = backend.engine.place(backend.nn.Linear(24, 40)), made(backend, (5, 24))
    ops = counts.operations(backend, layer, x)
    assert total(ops) == 2 * 5 * 24 * 40
    assert [op[1] for op in ops] == ["product"] and counts.traffic(ops[0]) == F * (5 * 24 + 24 * 40 + 40 + 5 * 40)


def test_a_convolution(backend):
    layer, (x,) = backend.engine.place(backend.nn.Conv2d(6, 10, 3, padding=1)), made(backend, (2, 8, 9, 6))
    assert total(counts.operations(backend, layer, x)) == 2 * (2 * 8 * 9 * 10) * (9 * 6)


def test_attention_is_one_kernel_once_fused(backend):
    q, k, v = made(backend, (2, 3, 5, 16), (2, 3, 11, 16), (2, 3, 11, 16))
    mask = backend.ops.array(np.ones((2, 1, 1, 11), bool).tolist())
    ops = counts.operations(backend, backend.ops.attention, q, k, v, mask)
    assert total(ops) == 2 * (2 * 3 * 5 * 11) * (16 + 16)
    kernels = [op for op in counts.fused(ops) if op[1] == "product"]
    assert len(kernels) == 1 and total(kernels) == total(ops)


def test_views_are_free_and_only_rows_that_are_taken_are_read(backend):
    (x,) = made(backend, (64, 6))
    assert counts.operations(backend, lambda x: x.reshape(8, 48)[:, None], x) == []
    index = backend.ops.array([3, 5])
    (op,) = counts.operations(backend, lambda x, i: backend.ops.take(x, i, axis=0), x, index)
    assert counts.traffic(op) <= 2 * (2 * 6 * F) + 2 * 8  # rows read and written, and the index


def test_what_is_broadcast_is_read_once_and_what_is_out_of_order_is_copied(backend):
    x, row = made(backend, (100, 64), (1, 64))
    (op,) = counts.operations(backend, lambda x, r: x * backend.ops.broadcast_to(r, (100, 64)), x, row)
    assert counts.traffic(op) == F * (2 * 6400 + 64)
    (op,) = counts.operations(backend, lambda x: x.swapaxes(0, 1).reshape(-1), x)
    assert counts.traffic(op) == F * 2 * 6400


def test_a_norm_and_a_chain_are_one_kernel_each_and_what_lies_between_is_not_moved(backend):
    norm, (x,) = backend.engine.place(backend.nn.RMSNorm(16)), made(backend, (100, 16))
    one = counts.fused(counts.operations(backend, norm, x))
    assert len(one) == 1 and abs(counts.traffic(one[0]) - F * (2 * 1600 + 16)) <= 4 * F  # and constants
    one = counts.fused(counts.operations(backend, lambda x: backend.ops.exp(backend.ops.sin(x)) + x, x))
    assert len(one) == 1 and counts.traffic(one[0]) == F * 2 * 1600


def test_what_two_read_is_not_fused(backend):
    (x,) = made(backend, (4, 4))

    def fn(x):
        y = backend.ops.sin(x)
        return backend.ops.exp(y), y.sum(axis=0)

    assert len(counts.fused(counts.operations(backend, fn, x))) == 3


def dynamics_flops(cfg) -> int:
    """Of one pass over a frame: projections, attention over each ring (a window and one frame), feed-forward."""
    d, (K, D) = cfg.dynamics, (cfg.latent.tokens, cfg.latent.dim)
    hidden = 64 * -(-d.dim * 8 // 3 // 64)
    rings = [1 + (d.global_window if (i + 1) % d.global_every == 0 else d.local_window) for i in range(d.depth)]
    block = 2 * K * d.dim * (4 * d.dim + 3 * hidden)
    return 2 * K * 2 * D * d.dim + sum(block + 4 * K * d.dim * K * n for n in rings)


def test_the_dynamics_of_a_small_world_by_hand(backend):
    model = backend.engine.place(lively(backend))
    part = parts(backend, model)["dynamics"]
    found = total(counts.operations(backend, part.fn, part.state, *part.inputs))
    assert found == (SMALL.dynamics.steps + 1) * dynamics_flops(SMALL)  # each frame once more, as context


def test_both_backends_count_the_same_flops():
    import mlxworld

    found = []
    for name in mlxworld.BACKENDS:
        package = mlxworld.on(name)
        pieces = parts(package, package.engine.place(lively(package)), batch=2)
        found.append({n: total(counts.operations(package, p.fn, p.state, *p.inputs)) for n, p in pieces.items()})
    assert found[0] == found[1] and min(found[0].values()) > 0
    assert found[0]["dynamics"] + found[0]["decoder"] == found[0]["step"]
    assert pieces["encoder"].frames == SMALL.receptive_field + 8


def test_histogram_holds_all_work(backend):
    model = backend.engine.place(lively(backend))
    part = parts(backend, model)["step"]
    ops = counts.operations(backend, part.fn, part.state, *part.inputs)
    rows = counts.histogram(ops)
    assert len(ops) == sum(n for _, _, n in rows) and total(ops) == sum(f * n for f, _, n in rows)
    assert counts.summary(ops)["bytes"] == sum(b * n for _, b, n in rows)


def test_quantised_weights_are_the_same_work_over_fewer_bytes(backend):
    model = backend.engine.place(lively(backend))
    found = []
    for quantise in (False, True):
        if quantise:
            backend.engine.quantize(model, "int8")
        part = parts(backend, model)["dynamics"]
        found.append(counts.operations(backend, part.fn, part.state, *part.inputs))
    plain, packed = map(counts.summary, found)
    assert packed["flops"] == plain["flops"] and packed["bytes"] < 0.9 * plain["bytes"]


def test_gains_and_turning_of_queries_and_keys_are_one_kernel_on_mlx():
    import mlxworld

    package, found = mlxworld.on("mlx"), []
    for depth in (2, 4):
        part = parts(package, package.engine.place(lively(package, changed(dynamics={"depth": depth}))))["dynamics"]
        ops = counts.operations(package, part.fn, part.state, *part.inputs)
        found.append(sum(op[0] == "Gather" for op in ops))
    assert found[0] == found[1], "a layer gathers nothing: a head's halves change places as a view"
