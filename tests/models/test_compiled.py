"""A world whose step is compiled in the background: when it takes over, what stays, what happens if it fails."""

import logging
import subprocess
import sys

import numpy as np
import pytest
import torch

import mlxworld
from mlxworld import MlxworldError, World
from mlxworld.configs.block import BlockConfig
from tests.compiler import needs_compiler
from tests.models.small import module
from tests.play.played import ACTIONS, load, play, same, write


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write(tmp_path_factory.mktemp("worlds") / "small")


def test_the_compiled_step_takes_over_at_a_reset_and_never_before(monkeypatch, folder):
    calls = []
    monkeypatch.setattr(torch, "compile", lambda fn, **_: lambda *args: calls.append(1) or fn(*args))
    world = World.load(folder, "torch", precision="float32", compile=True)
    world.reset()
    world.step(0)
    world.settle()
    assert len(calls) == 1  # on copies, in the background
    moment, future = world.snapshot(), play(world)
    fork = world.fork()
    assert len(calls) == 1
    world.reset()
    world.step(0)
    assert len(calls) == 2
    later = world.snapshot()
    world.restore(moment)
    assert same(play(world), future) and len(calls) == 2
    fork.step(0)
    assert len(calls) == 2
    world.restore(later)
    world.step(1)
    assert len(calls) == 3


def test_a_compiler_that_fails_is_told_of_and_play_goes_on(monkeypatch, folder, caplog):
    def broken(fn, **_):
        def compiled(*args):
            raise RuntimeError("no compiler here\nmore")

        return compiled

    monkeypatch.setattr(torch, "compile", broken)
    plain = World.load(folder, "torch", precision="float32", compile=False)
    world = World.load(folder, "torch", precision="float32", compile=True)
    with caplog.at_level(logging.WARNING):
        for w in (plain, world):
            w.reset()
            w.step(0)
            w.settle()
            w.reset()
    assert "uncompiled: no compiler here" in caplog.text
    assert same(play(world), play(plain))


@needs_compiler
def test_compiled_for_real_it_is_the_same_function():
    """With the C++ compiler: attention to a ring that is written in place."""
    backend = mlxworld.on("torch")
    Ring = module(backend, "blocks").Ring
    attention = module(backend, "blocks").Attention(BlockConfig(64, 1))

    def step(state, x):
        y, ring = attention(x, cache=Ring(state["ring"], state["slot"]))
        return y, {"ring": ring.stores, "slot": state["slot"] + 1}

    loops = [backend.engine.Loop({"step": step}, compile=name) for name in (None, "step")]
    draw, found = np.random.default_rng(0), []
    x = [backend.engine.array(draw.normal(size=(1, 1, 3, 64)).astype(np.float32)) for _ in range(4)]
    state = {"ring": [torch.zeros(1, 1, 4, 3, 64)] * 2, "slot": torch.zeros(1, dtype=torch.int32)}
    for loop in loops:
        with backend.engine.inference():
            loop.begin(state)
            loop("step", x[0])
            loop.settle()
            loop.begin(state)
            found.append(np.stack([backend.engine.numpy(loop("step", now)) for now in x]))
    assert np.abs(found[0] - found[1]).max() < 1e-5 and not np.array_equal(*found)  # another program: last bits differ


@pytest.mark.parametrize("seconds", [0, 2])
def test_a_program_may_end_while_something_compiles(folder, seconds, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))  # or it would be done in no time
    code = f"""
import time, mlxworld
world = mlxworld.World.load({str(folder)!r}, "torch", compile=True)
world.reset(), world.step(0)
time.sleep({seconds})
assert any(thread.name == "compile" for thread in __import__("threading").enumerate())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_frames_known_ahead_are_the_frames_of_steps(folder, backend):
    world = load(folder, backend)
    world.reset()
    moment, (video, audio) = world.snapshot(), play(world)
    world.restore(moment)
    frames = list(world.stream(ACTIONS))
    assert same((np.stack([f.video for f in frames]), np.stack([f.audio for f in frames])), (video, audio))
    assert [f.index for f in frames] == list(range(1, len(ACTIONS) + 1)) and all(f.model_ms > 0 for f in frames)
    with pytest.raises(MlxworldError, match="unknown action"):
        list(world.stream([0, "jump"]))
    assert not list(world.stream([]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kv_cache": "int4"}, "kv_cache is float or int8"),
        ({"cache": "int8"}, "unknown option 'cache' of a world: there are batch, "),
        ({"steps": 3}, "steps must divide 4"),
        ({"batch": 0}, "batch must be at least 1"),
        ({"precision": "half"}, "unknown precision 'half'"),
    ],
)
def test_options_that_cannot_be_are_refused(folder, options, message):
    with pytest.raises(MlxworldError, match=message):
        World.load(folder, "torch", **options)


@pytest.mark.parametrize("options", [{"steps": 4}, {"kv_cache": "int8"}])
def test_options_reach_the_model(folder, backend, options):
    plain, other = load(folder, backend), load(folder, backend, **options)
    for world in (plain, other):
        world.reset()
    found, true = play(other)[0], play(plain)[0]
    assert not np.array_equal(found, true) and found.std() > 20
