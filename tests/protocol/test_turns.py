"""What a training step can carry on both backends: several turns, frozen weights, buffers, roles; and its limits."""

import copy

import ml_dtypes
import numpy as np
import pytest

import mlxworld
from mlxworld import MlxworldError
from mlxworld.configs.optim import OptimConfig
from mlxworld.training.turn import Turn, labelled

OPTIM = OptimConfig(lr=1e-2, clip=1e9)


def pair(backend, seed=0):
    """A generator and a discriminator, with a mean that is saved but never trained."""

    class Pair(backend.nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("mean", backend.ops.full((4,), 0.3))
            self.make = [backend.nn.Linear(4, 4), backend.nn.Linear(4, 4)]
            self.judge = backend.nn.role(backend.nn.Linear(4, 1), "head")

        def forward(self, x):
            return self.make[1](self.make[0](x)) + self.mean

    model, rng = Pair(), np.random.default_rng(seed)
    shapes = {n: p.shape for n, p in sorted((backend.nn.parameters(model) | backend.nn.buffers(model)).items())}
    arrays = {n: rng.normal(0, 0.5, shape).astype(np.float32) for n, shape in shapes.items()}
    backend.engine.load_parameters(model, arrays, "the test")
    return model


def turns(backend, lr=(1e-2, 3e-2)):
    square = backend.ops.square

    def make(model, batch, key):
        loss = square(model.judge(model(batch["x"])) - 1).mean()
        return loss, {"fooled": loss * 2}

    def judge(model, batch, key):
        real, fake = model.judge(batch["y"]), model.judge(backend.ops.stop_gradient(model(batch["x"])))
        return square(real - 1).mean() + square(fake).mean(), {}

    return (
        Turn("make", make, OptimConfig(lr=lr[0]), ("make.",)),
        Turn("judge", judge, OptimConfig(name="muon", lr=lr[1]), ("judge.",)),
    )


def batch(step=0):
    rng = np.random.default_rng(step)
    return {"x": rng.normal(size=(6, 4)).astype(np.float32), "y": rng.normal(size=(6, 4)).astype(np.float32)}


def arrays(backend, model):
    return backend.engine.numpy(backend.nn.parameters(model) | backend.nn.buffers(model))


def test_turns_move_each_its_own_and_see_what_the_one_before_has_moved(backend):
    both = backend.engine.Trainer(pair(backend), turns(backend))
    metrics = backend.engine.numpy(both.step(batch(), 0))
    assert set(metrics) == {
        *("loss", "finite", "make/loss", "make/fooled", "make/grad_norm", "judge/loss", "judge/grad_norm"),
    }
    assert metrics["loss"] == pytest.approx(metrics["make/loss"] + metrics["judge/loss"], rel=1e-6)
    model = pair(backend)
    alone = [backend.engine.Trainer(model, (turn,)) for turn in turns(backend)]
    rows = [backend.engine.numpy(t.step(batch(), 0)) for t in alone]  # the second after the first has moved
    assert rows[1]["loss"] == pytest.approx(metrics["judge/loss"], rel=1e-6)
    ours, theirs = arrays(backend, both.model), arrays(backend, model)
    for name in ours:
        np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-5, atol=1e-6, err_msg=name)


def test_several_turns_are_the_same_on_both_backends_and_go_on_where_they_were():
    ends = []
    for name in ("mlx", "torch"):
        backend = mlxworld.on(name)
        t = backend.engine.Trainer(pair(backend), turns(backend), accumulate=2)
        for s in range(3):
            t.step(batch(s), s, rate=0.5)
        again = backend.engine.Trainer(pair(backend, seed=1), turns(backend), accumulate=2)
        again.load_state(t.state())
        for s in range(3, 5):
            t.step(batch(s), s)
            again.step(batch(s), s)
        assert all(np.array_equal(x, again.state()[n]) for n, x in t.state().items())
        ends.append(t.state())
    assert ends[0].keys() == ends[1].keys()
    for name, x in ends[0].items():
        np.testing.assert_allclose(x, ends[1][name], rtol=1e-4, atol=1e-5, err_msg=name)


def test_a_turn_that_is_not_finite_moves_nothing_and_the_other_goes_on(backend):
    t, bad = backend.engine.Trainer(pair(backend), turns(backend)), batch()
    bad["y"][0, 0] = np.nan  # the generator does not see it
    before = arrays(backend, t.model)
    assert float(t.step(bad, 0)["finite"]) == 0
    after = arrays(backend, t.model)
    moved = {name for name in before if not np.array_equal(before[name], after[name])}
    assert moved == {"make.0.weight", "make.0.bias", "make.1.weight", "make.1.bias"}


def test_what_is_frozen_costs_its_weights_once_in_the_type_it_has(backend):
    model = pair(backend)
    before = arrays(backend, model)
    loss = turns(backend)[0].loss
    t = backend.engine.Trainer(model, (Turn("last", loss, OPTIM, ("make.1.weight",)),))
    t.step(batch(), 0)
    assert set(t.ema) == {"make.1.weight"}
    names = {n.partition(".")[2] for n in t.state() if n.startswith("model.")}
    assert names == {"make.1.weight", "mean"}
    assert {n for n in t.state() if n.startswith("optim.")} == {
        *("optim.scale", "optim.last.step", "optim.last.m.make.1.weight", "optim.last.v.make.1.weight"),
    }
    after = arrays(backend, model)
    assert {n for n in before if not np.array_equal(before[n], after[n])} == {"make.1.weight"}
    low = backend.engine.cast(pair(backend), "bfloat16")
    frozen = backend.nn.parameters(low)["make.0.weight"]
    backend.engine.Trainer(low, (Turn("last", loss, OPTIM, ("make.1.",)),), precision="bfloat16").step(batch(), 0)
    kept = backend.nn.parameters(low)["make.0.weight"]
    assert str(kept.dtype).endswith("bfloat16") and str(frozen.dtype).endswith("bfloat16")


def test_a_turn_that_trains_nothing_is_refused(backend):
    with pytest.raises(MlxworldError, match="turn 'x' trains nothing"):
        backend.engine.Trainer(pair(backend), (Turn("x", turns(backend)[0].loss, OPTIM, ("decoder.",)),))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_buffer_is_saved_but_never_trained_averaged_or_cast(backend, precision):
    model = pair(backend)
    mean = arrays(backend, model)["mean"]
    assert set(backend.nn.buffers(model)) == {"mean"} and "mean" not in backend.nn.parameters(model)
    t = backend.engine.Trainer(model, (turns(backend)[0],), precision=precision)
    t.step(batch(), 0)
    assert "mean" not in t.ema and not [n for n in t.state() if n.startswith("optim.") and n.endswith("mean")]
    np.testing.assert_array_equal(arrays(backend, backend.engine.cast(model, "bfloat16"))["mean"], mean)
    assert str(backend.nn.buffers(model)["mean"].dtype).endswith("float32")


def test_a_loss_may_assign_a_buffer_and_a_bad_step_takes_it_back(backend):
    def loss(model, batch, key):
        x = batch["x"]
        model.mean = 0.9 * model.mean + 0.1 * backend.ops.stop_gradient(x.mean(axis=0))  # as of a codebook
        return backend.ops.square(model(x)).mean(), {}

    model = pair(backend)
    t, expected = backend.engine.Trainer(model, (Turn("all", loss, OPTIM),)), arrays(backend, model)["mean"]
    for s in range(2):
        t.step(batch(s), s)
        expected = 0.9 * expected + 0.1 * batch(s)["x"].mean(0)
    np.testing.assert_allclose(arrays(backend, model)["mean"], expected, rtol=1e-5)
    np.testing.assert_allclose(t.state()["model.mean"], expected, rtol=1e-5)
    bad = batch(3)
    bad["x"][0, 0] = np.nan
    t.step(bad, 3)
    np.testing.assert_allclose(arrays(backend, model)["mean"], expected, rtol=1e-5)


def test_roles_are_of_layers_and_of_own_arrays_and_survive_a_copy(backend):
    nn = backend.nn

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.tokens, self.gate = backend.ops.zeros((3, 4)), backend.ops.zeros((4,))
            nn.role(self, "embedding", "tokens")
            self.layers = [nn.role(nn.Linear(4, 4), "residual"), nn.Linear(4, 4)]

    expected = {"tokens": "embedding", "layers.0.weight": "residual", "layers.0.bias": "residual"}
    model = Model()
    assert nn.roles(model) == expected == nn.roles(copy.deepcopy(model))


@pytest.mark.parametrize("children", [lambda layer: {"a": layer}, lambda layer: (layer, layer)])
def test_modules_in_a_dict_or_a_tuple_are_refused(backend, children):
    class Model(backend.nn.Module):
        def __init__(self):
            super().__init__()
            self.children_ = children(backend.nn.Linear(2, 2))

    with pytest.raises(TypeError, match="a list holds children"):
        Model()


def test_a_model_larger_than_its_weights_is_refused_before_it_is_built(backend):
    class Deep(backend.nn.Module):
        def __init__(self, depth):
            super().__init__()
            self.layers = [pair(backend) for _ in range(depth)]

    with backend.nn.limit(modules=3, numbers=1000):
        Deep(2)
    with pytest.raises(MlxworldError, match="more modules than the weights"), backend.nn.limit(3, 10**9):
        Deep(2**31)
    with pytest.raises(MlxworldError, match="more numbers than the weights"), backend.nn.limit(10**9, 100):
        Deep(2**31)
    Deep(4)  # outside, there is no limit


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused_by_name(backend, bad):
    model = pair(backend)
    weights = arrays(backend, model)
    weights["make.1.weight"][2, 1] = bad
    with pytest.raises(MlxworldError, match=r"a\.safetensors.*make\.1\.weight"):
        backend.engine.load_parameters(model, weights, "a.safetensors")


def test_bfloat16_arrays_are_read_as_they_are(backend):
    x = np.arange(6, dtype=np.float32).astype(ml_dtypes.bfloat16)
    array = backend.engine.array(x)
    assert str(array.dtype).endswith("bfloat16")
    np.testing.assert_array_equal(backend.engine.numpy(array), np.arange(6, dtype=np.float32))


def test_weights_are_taken_one_by_one(backend):
    model, asked = pair(backend), []
    weights = arrays(backend, model)

    class Lazy(dict):
        def __getitem__(self, name):
            asked.append(name)
            return super().__getitem__(name)

    backend.engine.load_parameters(model, Lazy(weights), "the test")
    assert sorted(asked) == sorted(weights), "each once"


def test_a_state_of_another_shape_is_refused_by_a_loop(backend):
    engine = backend.engine
    loop = engine.Loop({"step": lambda state, x: (state["a"] + x, {"a": state["a"] + x})})
    one, two = (engine.array({"a": np.zeros((n, 2), np.float32)}) for n in (1, 2))
    with engine.inference():
        loop.begin(one)
        kept = loop.state()
        other = engine.Loop({"step": lambda state, x: (x, state)})
        other.begin(two)
        with pytest.raises(MlxworldError, match="another model, batch or precision"):
            loop.restore(other.state())
        assert engine.numpy(loop("step", engine.array(np.ones((1, 2), np.float32)))).tolist() == [[1, 1]]
        loop.restore(kept)


def test_metrics_of_turns():
    rows = {"a": {"loss": 1.0, "finite": 1.0, "x": 5.0}, "b": {"loss": 2.0, "finite": 0.0}}
    assert labelled({"a": rows["a"]}) == rows["a"]
    assert labelled(rows) == {"loss": 3.0, "a/loss": 1.0, "a/x": 5.0, "b/loss": 2.0, "finite": 0.0}
