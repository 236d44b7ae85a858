"""Moments of a world and copies of it: what fits which world, and what a refused one leaves behind."""

import copy
import pickle
from typing import Any

import pytest
import torch

import mlxworld
from mlxworld import MlxworldError, World
from tests.models.small import changed
from tests.play.played import ACTIONS, load, play, same, write


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write(tmp_path_factory.mktemp("worlds") / "small")


def begun(folder, backend, **options):
    world = load(folder, backend, **options)
    world.reset(seed=2)
    return world


OTHERS = {
    "more worlds": {"batch": 2},
    "half precision": {"precision": "float16"},
    "another cache": {"kv_cache": "int8"},
}


@pytest.fixture(params=[*OTHERS, "longer memory", "backend"])
def foreign(request, folder, tmp_path, backend):
    """A snapshot of another kind of world."""
    if request.param == "longer memory":
        return begun(write(tmp_path, changed(dynamics={"global_window": 6})), backend).snapshot()
    if request.param == "backend":
        backend = mlxworld.on("torch" if backend.__name__ == "mlxworld" else "mlx")
    return begun(folder, backend, **OTHERS.get(request.param, {})).snapshot()


def test_a_moment_of_another_kind_of_world_is_refused_and_the_world_goes_on(folder, backend, foreign):
    world, fresh = begun(folder, backend), load(folder, backend)
    moment, future = world.snapshot(), play(world)
    world.restore(moment)
    for each in (world, fresh):
        with pytest.raises(MlxworldError, match="it does not fit") as error:
            each.restore(foreign)
        assert "\n" not in str(error.value)
    assert same(play(world), future) and world.step(0).index == len(ACTIONS) + 1
    with pytest.raises(MlxworldError, match="reset the world first"):
        fresh.step(0)
    fresh.restore(moment)
    assert same(play(fresh), future)


def test_one_world_of_many_is_refused_by_them(folder, backend):
    one, many = begun(folder, backend), begun(folder, backend, batch=3)
    with pytest.raises(MlxworldError, match="another model, batch"):
        many.restore(one.snapshot())
    assert many.step([0, 1, 2]).video.shape == (3, 32, 32, 3)
    odd: Any
    for odd in (None, 3, one.snapshot().state, one):
        with pytest.raises(MlxworldError, match="what `snapshot` gave"):
            one.restore(odd)
    assert one.step(1).index == 1


@pytest.mark.parametrize("state", [{"x": torch.zeros(1, 3)}, {"x": torch.zeros(2, 3, dtype=torch.int32)}])
def test_states_at_addresses_that_stay_do_not_broadcast(state):
    """A loop whose arrays are overwritten in place, as on a GPU, would take a state that only broadcasts to them."""
    loop = mlxworld.on("torch").engine.Loop({"step": lambda state: (state["x"], state)}, compile="step")
    present = {"x": torch.ones(2, 3)}
    loop.begin(present)
    for take in (loop.begin, lambda state: loop.restore(([state["x"]], *loop.state()[1:]))):
        with pytest.raises(MlxworldError, match="another model, batch or precision"):
            take(state)
    assert torch.equal(loop.state()[0][0], present["x"])


def test_a_moment_of_a_compiled_world_goes_on_compiled_in_another(folder, monkeypatch):
    """Its future is that of the compiled step: a world that has not compiled its own yet waits for it."""
    calls = []
    monkeypatch.setattr(torch, "compile", lambda fn, **_: lambda *args: calls.append(1) or fn(*args))
    first, second = (World.load(folder, "torch", precision="float32", compile=True) for _ in range(2))
    first.reset()
    first.step(0)
    first.settle()
    first.reset()
    moment, future = first.snapshot(), play(first)
    second.restore(moment)
    calls.clear()
    assert same(play(second), future)
    assert len(calls) == 1 + len(ACTIONS)  # to compile, then each step


@pytest.mark.parametrize("twice", [copy.copy, copy.deepcopy, lambda world: copy.deepcopy({"a": [world]})["a"][0]])
def test_a_copy_is_a_fork(folder, backend, twice):
    world = begun(folder, backend)
    play(world, [1, 2])
    twin = twice(world)
    future = play(world)
    assert twin is not world and twin.model is world.model, "the weights are shared"
    assert same(play(twin), future)
    other = copy.deepcopy([twin, twin])
    assert other[0] is other[1] and other[0].step(1).index == 3 + len(ACTIONS)
    with pytest.raises(MlxworldError, match="reset the world first"):
        twice(load(folder, backend))


def test_a_world_is_no_pickle(folder, backend):
    world = begun(folder, backend)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(MlxworldError, match="cannot be pickled: use fork") as error:
            pickle.dumps([world], protocol)
        assert "\n" not in str(error.value)
    assert world.step(0).index == 1


@pytest.mark.parametrize("bias", [True, False])
def test_a_copy_of_an_int8_layer_outlives_the_original(bias):
    x, plain = torch.ones(1, 64), torch.nn.Sequential(torch.nn.Linear(64, 64, bias=bias))
    model: Any = mlxworld.on("torch").engine.quantize(plain, "int8")
    expected = model(x)
    deep, flat = copy.deepcopy(model), copy.copy(model[0])
    del model, plain
    again = copy.deepcopy(deep)
    assert torch.equal(deep(x), expected) and torch.equal(flat(x), expected)
    del deep, flat
    assert torch.equal(again(x), expected) and expected.abs().max() > 0.1
