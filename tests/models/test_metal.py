"""Worlds on Metal, MLX on a Mac's GPU: compiled loops, their state, half precision.

MLXWORLD_TEST_DEVICE=gpu pytest tests/models/test_metal.py
"""

import numpy as np
import pytest

import mlxworld
from mlxworld import World
from tests.models import on_gpu
from tests.play.played import load, play, write

MLX = mlxworld.on("mlx")
pytestmark = [
    pytest.mark.platform,
    pytest.mark.skipif(MLX.engine.device() != "metal", reason="needs Metal, and MLXWORLD_TEST_DEVICE=gpu"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write(tmp_path_factory.mktemp("worlds") / "small")


def test_a_loop_is_compiled_and_counts():
    on_gpu.a_loop_counts(MLX)


def test_a_compiled_function_reads_new_weights():
    on_gpu.fixed_functions_read_new_weights(MLX)


def test_a_state_stays_as_it_was():
    """Writing a ring in place, if MLX ever does, must not reach a state that was kept."""
    engine, ops = MLX.engine, MLX.ops

    def step(state, x):
        ring = ops.ring_write(state["ring"], x, state["slot"])
        return ring.sum(), {"ring": ring, "slot": state["slot"] + 1}

    loop = engine.Loop({"step": step})
    loop.begin(engine.array({"ring": np.zeros((1, 1, 8, 3, 4), np.float32), "slot": np.zeros(1, np.int32)}))
    x = engine.array(np.ones((1, 1, 1, 3, 4), np.float32))
    sums = [float(engine.numpy(loop("step", x))) for _ in range(3)]
    moment = loop.state()
    for _ in range(2):
        sums.append(float(engine.numpy(loop("step", x))))
        loop.restore(moment)
    assert sums == [12, 24, 36, 48, 48]


@pytest.mark.parametrize("options", [{}, {"kv_cache": "int8"}], ids=["plain", "int8"])
@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_one_future_of_a_moment(folder, precision, options):
    on_gpu.one_future(lambda: load(folder, MLX, precision=precision, **options))


def test_frames_known_ahead_are_the_frames_of_steps(folder):
    world = load(folder, MLX)
    assert world.device == "metal"
    on_gpu.steps_and_stream_agree(world)


def test_the_compiled_step_shows_the_same(folder):
    """Beside the same world with compilation off."""
    import mlx.core as mx

    world = load(folder, MLX)
    world.reset(seed=5)
    video, audio = play(world)
    mx.disable_compile()
    try:
        plain = load(folder, MLX)
        plain.reset(seed=5)
        expected = play(plain)
    finally:
        mx.enable_compile()
    apart = np.abs(video.astype(int) - expected[0])
    assert (apart <= 1).mean() > 0.999 and np.abs(audio - expected[1]).max() < 2e-2


@pytest.mark.parametrize("precision", ["float32", "float16", "bfloat16"])
def test_pong_in_any_precision_is_near_the_golden_rollout(precision):
    on_gpu.near_the_golden_rollout(World.load("pong", "mlx", precision=precision))


def test_pong_is_played_in_half_precision():
    assert World.load("pong", "mlx").precision in ("float16", "bfloat16")
