"""Worlds on CUDA: graphs that are replayed, their state, a compiled step that takes over, half precision.

MLXWORLD_TEST_DEVICE=gpu pytest tests/models/test_cuda.py
"""

import logging

import numpy as np
import pytest
import torch

import mlxworld
from mlxworld import World
from mlxworld.configs.optim import OptimConfig
from mlxworld.training.turn import Turn
from tests.models import on_gpu
from tests.play.played import ACTIONS, load, play, same, write
from tests.protocol import test_decoding

TORCH = mlxworld.on("torch")
pytestmark = [
    pytest.mark.platform,
    pytest.mark.skipif(TORCH.engine.device() != "cuda", reason="needs CUDA, and MLXWORLD_TEST_DEVICE=gpu"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write(tmp_path_factory.mktemp("worlds") / "small")


def test_a_loop_is_recorded_without_a_trace_and_replayed():
    on_gpu.a_loop_counts(TORCH)


def test_a_replay_overwrites_what_was_not_fetched():
    """Why everything is fetched or copied: the outputs of a graph are one place in memory."""
    engine = TORCH.engine
    loop, fixed = engine.Loop({"step": on_gpu.counting(TORCH.ops)}), engine.fixed(lambda x: x + 1)
    with engine.inference():
        loop.begin(engine.array({"count": np.zeros(1, np.float32), "walk": np.zeros(8, np.float32)}))
        one, two = (engine.array(np.full(8, value, np.float32)) for value in (1, 2))
        first = loop("step", one)[0]
        copied, fetched = engine.copy(first), engine.fetch(first)
        second = loop("step", two)[0]
        assert first.data_ptr() == second.data_ptr() and engine.numpy(first)[0] == 4
        assert engine.numpy(copied)[0] == fetched()[0] == 2
        first = fixed(one)
        copied = engine.copy(first)
        assert fixed(two).data_ptr() == first.data_ptr()
        assert engine.numpy(copied)[0] == 2 and engine.numpy(first)[0] == 3


def test_a_fixed_function_reads_weights_where_they_are():
    on_gpu.fixed_functions_read_new_weights(TORCH)


def test_random_bits_are_those_of_the_cpu():
    """Same bits; a normal number as near as two erfinv are; a key made on the device, or brought there."""
    random, device = TORCH.random, TORCH.engine.array(np.zeros(1, np.float32))
    for seed in (0, 7, 2**40 + 1):
        here, there = random.key(seed), random.key(seed, like=device)
        assert there.is_cuda and torch.equal(here, there.cpu())
        for a, b in zip(random.split(here, 3), random.split(there, 3), strict=True):
            assert torch.equal(a, b.cpu())
            assert torch.equal(random.uniform(a, (33, 7)), random.uniform(b, (33, 7)).cpu())
            for n in (1, 2, 1023, 1024, 1025, 4097):  # an odd number; more than a block; its edges
                assert torch.equal(random.uniform(a, (n,)), random.uniform(b, (n,)).cpu())
            assert (random.normal(a, (33, 7)) - random.normal(b, (33, 7)).cpu()).abs().max() < 1e-5


def compiled(fn, *args):
    """Its result, compiled and without gradients, and the operations that ran."""
    with torch.no_grad(), torch.profiler.profile() as profile:
        y = torch.compile(fn, fullgraph=True)(*args)
    return y, {event.key for event in profile.key_averages()}


def test_the_kernels_for_one_query_give_attention():
    """And a compiled function calls them."""
    test_decoding.kernels_give_attention("cuda")
    q, k = (torch.randn(2, heads, n, 64, device="cuda").half() for heads, n in ((6, 1), (2, 300)))
    mask = torch.zeros(2, 1, 1, 300, device="cuda").half()
    y, ran = compiled(TORCH.ops.attention, q, k, k, mask)
    assert "mlxworld::one_query" in ran and (y - TORCH.ops.attention(q, k, k, mask)).abs().max() < 2e-3


def test_the_kernel_for_one_row_gives_a_product():
    """And a compiled layer calls it."""
    test_decoding.the_kernel_gives_a_product("cuda")
    layer, x = TORCH.nn.Linear(5000, 48).cuda().half(), torch.randn(1, 1, 5000, device="cuda").half()
    y, ran = compiled(layer, x)
    assert "mlxworld::one_row" in ran and (y - layer(x)).abs().max() < 2e-3


@pytest.mark.parametrize("options", [{}, {"kv_cache": "int8"}], ids=["plain", "int8"])
@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_one_future_of_a_moment(folder, precision, options):
    on_gpu.one_future(lambda: load(folder, TORCH, precision=precision, compile=False, **options))


def test_one_future_of_a_batch_of_worlds(folder):
    world = load(folder, TORCH, batch=3, compile=False)
    world.reset(seed=4)
    moment, todo = world.snapshot(), [(a, b, 2) for a, b in zip([0, 1, 2] * 3, [1] * 9, strict=True)]
    future = play(world, todo)
    world.restore(moment)
    assert same(play(world, todo), future) and not np.array_equal(future[0][:, 0], future[0][:, 2])


def test_frames_known_ahead_are_the_frames_of_steps(folder):
    world = load(folder, TORCH, compile=False)
    assert world.device == "cuda"
    on_gpu.steps_and_stream_agree(world)


def test_a_long_rollout_takes_no_more_memory(folder):
    world = load(folder, TORCH, compile=False)
    world.reset()
    play(world)
    before = world.memory()["active"]
    for _ in range(3):
        play(world, ACTIONS * 8)
        world.snapshot()
        world.reset()
    assert world.memory()["active"] <= before + 2**16


def loud(fn):
    """Stands for a compiled function: the same, but its sound is 1/2 louder at every sample."""

    def run(*args):
        video, audio = fn(*args)
        return video, audio + 0.5

    return run


def test_a_compiled_step_takes_over_at_a_reset_and_never_before(monkeypatch, folder):
    """Seen by its sound. Every moment goes on with the step that made it, and its graph stays recorded."""
    monkeypatch.setattr(torch, "compile", lambda fn, **_: loud(fn))
    world = load(folder, TORCH, compile=True)
    world.reset()
    world.step(0)
    world.settle()
    assert np.abs(play(world)[1]).max() < 0.5
    moment, twin, future = world.snapshot(), world.fork(), play(world)
    first = world.reset()
    assert np.abs(first.audio).max() < 0.5  # what is observed is not compiled
    assert play(world)[1].mean() > 0.4
    later, louder = world.snapshot(), play(world)
    world.restore(moment)
    assert same(play(world), future) and same(play(twin), future)
    for other in (world, twin):
        other.restore(later)
        assert same(play(other), louder) and louder[1].mean() > 0.4
    twin.reset()
    assert twin.step(0).audio.mean() > 0.4


@pytest.mark.timeout(600)
def test_the_compiled_step_shows_the_same(folder, caplog, monkeypatch):
    """With the true compiler. While it works nothing is recorded, and a fork runs without a graph: the same frames. A
    moment from then has the same future once the compiler is done."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    plain, world = (load(folder, TORCH, compile=compiled) for compiled in (False, True))
    plain.reset(seed=5)
    expected = play(plain)
    with caplog.at_level(logging.WARNING):
        world.reset(seed=5)
        world.step(0)  # the compiler begins
        moment, twin, future = world.snapshot(), world.fork(), play(world)
        assert same(play(twin), future)
        world.settle()
        for other in (world, twin):
            other.restore(moment)
            assert same(play(other), future)
    assert "uncompiled" not in caplog.text
    world.reset(seed=5)
    video, audio = play(world)
    moment, future = world.snapshot(), play(world)
    world.restore(moment)
    assert same(play(world), future)
    apart = np.abs(video.astype(int) - expected[0])
    assert (apart <= 1).mean() > 0.999 and np.abs(audio - expected[1]).max() < 2e-2
    assert not np.array_equal(audio, expected[1])  # another program: last bits differ


@pytest.mark.parametrize("precision", ["float32", "float16", "bfloat16"])
def test_pong_in_any_precision_is_near_the_golden_rollout(precision):
    """Float32 rounds its convolutions to TF32 here."""
    on_gpu.near_the_golden_rollout(World.load("pong", "torch", precision=precision, compile=False))


def test_pong_is_played_in_float16():
    assert World.load("pong", "torch").precision == "float16"


class Loss:
    """Of a model with a counter that it assigns; with `reads` it looks at the host, which no graph can hold."""

    def __init__(self, reads=False):
        self.reads = reads

    def __call__(self, model, batch, key):
        model.seen = model.seen + 1
        noise = TORCH.random.normal(key, batch["x"].shape)
        loss = TORCH.ops.square(model.layer(batch["x"] + 0.1 * noise) - batch["y"]).mean()
        return loss, {"half": loss.item() * loss / 2 if self.reads else loss / 2}


def trained(compiled, reads=False, optim="muon", steps=8):
    """Weights, averages, moments and metrics after some steps whose rate and batches differ, of two sets of shapes."""

    class Small(TORCH.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = TORCH.nn.Linear(16, 16)
            self.register_buffer("seen", TORCH.ops.zeros((1,)))

    model, rng = Small(), np.random.default_rng(0)
    TORCH.nn.assign(model, {"layer.weight": TORCH.engine.array(rng.normal(0, 0.3, (16, 16)).astype(np.float32))})
    TORCH.nn.assign(model, {"layer.bias": TORCH.engine.array(np.zeros(16, np.float32))})
    turn = Turn("only", Loss(reads), OptimConfig(name=optim, lr=1e-2, clip=0.1))
    trainer, metrics = TORCH.engine.Trainer(model, (turn,), compile=compiled, accumulate=2), []
    for step in range(2 * steps):
        shape = (8, 16) if step % 2 else (4, 16)
        batch = {name: rng.normal(size=shape).astype(np.float32) for name in ("x", "y")}
        if step == 11:
            batch["x"][0, 0] = np.nan  # changes nothing
        metrics.append(trainer.step(batch, step, rate=1 / (1 + step)))
    return trainer.state(), TORCH.engine.numpy(metrics)


@pytest.mark.parametrize("optim", ["muon", "adamw"])
def test_a_recorded_training_step_is_the_step(optim):
    """Rates, keys, batches and the loss's scale go into the graph anew; results outlive the next replay."""
    (state, metrics), (expected, before) = trained(True, optim=optim), trained(False, optim=optim)
    for name, value in expected.items():
        np.testing.assert_allclose(state[name], value, atol=2e-5, err_msg=name)
    for row, other in zip(metrics, before, strict=True):
        np.testing.assert_allclose([row[n] for n in row], [other[n] for n in row], atol=1e-4, err_msg=str(row.keys()))


def test_a_step_that_reads_the_host_is_not_recorded(caplog):
    with caplog.at_level(logging.WARNING):
        state, _ = trained(True, reads=True)
    assert "not recorded" in caplog.text
    expected, _ = trained(False, reads=True)
    np.testing.assert_allclose(state["model.layer.weight"], expected["model.layer.weight"], atol=2e-5)
