"""The engine on both backends: same names, same numbers; a step that fails changes nothing; a resumed run is exact."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import mlxworld
from mlxworld import MlxworldError
from mlxworld.configs.optim import OptimConfig
from mlxworld.training.turn import Turn
from tests.compiler import needs_compiler

B = 8
OPTIMS = {name: OptimConfig(name=name, lr=1e-2, weight_decay=0.1, clip=0.5, ema=0.9) for name in ("adamw", "muon")}


def net(backend, seed=0):
    """A small model of every kind of weight, the same on both backends."""

    class Net(backend.nn.Module):
        def __init__(self):
            super().__init__()
            role = backend.nn.role
            self.embed = role(backend.nn.Embedding(5, 12), "embedding")
            self.conv = backend.nn.Conv2d(3, 12, (3, 5), padding=(1, 2))
            self.norm = backend.nn.RMSNorm(12)
            self.hidden = [backend.nn.Linear(12, 24), backend.nn.Linear(24, 12)]
            self.query = backend.ops.zeros((1, 12))
            role(self, "embedding", "query")
            self.head = role(backend.nn.Linear(12, 2), "head")
            self.unused = backend.nn.Linear(3, 3)
            self._shift = backend.ops.full((12,), 0.25)

        def forward(self, x, action):
            """x (B, 4, 4, 3), action (B,) -> (B, 2)."""
            y = self.conv(backend.ops.cast(x, like=self.query)).mean(axis=(1, 2)) + self.embed(action) + self.query
            y = self.norm(y + backend.ops.cast(self._shift, like=y))
            return self.head(y + self.hidden[1](backend.ops.silu(self.hidden[0](y))))

    model = Net()
    rng = np.random.default_rng(seed)
    shapes = {n: p.shape for n, p in sorted(backend.engine.parameters(model).items())}  # by name: orders differ
    arrays = {n: rng.normal(0, 0.3, shape).astype(np.float32) for n, shape in shapes.items()}
    backend.engine.load_parameters(model, arrays, "the test")
    return model


def loss_on(backend):
    def loss(model, batch, key):
        guess = backend.ops.float32(model(batch["x"], batch["action"]))
        error = backend.ops.square(guess - batch["y"]).mean()
        noise = backend.random.normal(key, (2,)).mean()  # keys must be the same on both backends and after a resume
        return error + 0.1 * noise * guess.mean(), {"error": error, "seen": guess.sum()}

    return loss


def batch(step=0, size=B):
    rng = np.random.default_rng(100 + step)
    return {
        "x": rng.normal(size=(size, 4, 4, 3)).astype(np.float32),
        "action": rng.integers(0, 5, size).astype(np.int32),
        "y": rng.normal(size=(size, 2)).astype(np.float32),
    }


def trainer(backend, optim: str | OptimConfig = "adamw", **kwargs):
    optim = OPTIMS[optim] if isinstance(optim, str) else optim
    return backend.engine.Trainer(net(backend), (Turn("all", loss_on(backend), optim),), **kwargs)


def run(t, steps, first=0):
    return [float(t.step(batch(s), seed=s, rate=1 / (1 + s))["loss"]) for s in range(first, first + steps)]


def close(a, b, tolerance):
    assert set(a) == set(b)
    for name in a:
        difference = np.abs(a[name] - b[name]).max(initial=0) / max(1e-3, np.abs(b[name]).max(initial=0))
        assert difference <= tolerance, f"{name} differs by {difference:.2e}"


@pytest.mark.parametrize("optim", OPTIMS)
def test_ten_steps_are_the_same_on_both_backends(optim):
    ours, theirs = (trainer(mlxworld.on(name), optim) for name in ("mlx", "torch"))
    np.testing.assert_allclose(run(ours, 10), run(theirs, 10), rtol=1e-4)
    close(ours.state(), theirs.state(), 1e-4)


@pytest.mark.parametrize("optim", OPTIMS)
def test_a_resumed_run_ends_with_the_same_bits(backend, optim, tmp_path):
    whole = trainer(backend, optim)
    run(whole, 3)
    backend.engine.save(tmp_path / "state.safetensors", whole.state(), {})
    losses = run(whole, 3, first=3)
    resumed = trainer(backend, optim)
    run(resumed, 1)
    resumed.load_state(backend.engine.load(tmp_path / "state.safetensors")[0])
    assert run(resumed, 3, first=3) == losses
    close(resumed.state(), whole.state(), 0)


@pytest.mark.parametrize("optim", OPTIMS)
def test_a_run_goes_on_on_the_other_backend(optim):
    ours, theirs = (trainer(mlxworld.on(name), optim) for name in ("mlx", "torch"))
    run(ours, 3)
    theirs.load_state(ours.state())
    run(ours, 3, first=3)
    run(theirs, 3, first=3)
    close(theirs.state(), ours.state(), 1e-4)


def test_a_state_of_another_optimizer_is_refused(backend):
    t = trainer(backend)
    with pytest.raises(MlxworldError, match=r"old.safetensors does not fit this model: optim\.all\.v\..* is missing"):
        t.load_state(trainer(backend, "muon").state(), "old.safetensors")


def test_accumulated_gradients_are_those_of_the_whole_batch(backend):
    def loss(model, batch, key):
        error = backend.ops.square(model(batch["x"], batch["action"]) - batch["y"]).mean()
        return error, {"error": error}

    runs = []
    for n in (1, 4):
        t = backend.engine.Trainer(net(backend), (Turn("all", loss, OPTIMS["adamw"]),), accumulate=n)
        metrics = [t.step(batch(s), s) for s in range(2)][-1]
        runs.append({name: backend.engine.numpy(x) for name, x in metrics.items()} | t.state())
    moments, rest = ([{n: x for n, x in r.items() if n.startswith("optim.") == m} for r in runs] for m in (True, False))
    close(rest[1], rest[0], 1e-6)
    close(moments[1], moments[0], 1e-5)
    with pytest.raises(MlxworldError, match="a batch of 6 cannot be cut in 4 equal parts"):
        trainer(backend, accumulate=4).step(batch(size=6), 0)


@pytest.mark.parametrize("optim", OPTIMS)
@pytest.mark.parametrize("poison", [np.nan, np.inf])
def test_a_step_that_is_not_finite_changes_nothing(backend, optim, poison):
    t = trainer(backend, optim)
    run(t, 2)
    before, bad = t.state(), batch(5)
    bad["x"][3, 0, 0, 0] = poison
    assert float(t.step(bad, 5)["finite"]) == 0
    after = t.state()
    assert after.pop("step") == before.pop("step") + 1
    kept = [{n: x for n, x in s.items() if n.startswith(("model.", "optim."))} for s in (after, before)]
    close(kept[0], kept[1], 0)
    assert all(np.isfinite(x).all() for x in after.values())
    assert float(t.step(batch(6), 6)["finite"]) == 1


def test_gradients_are_clipped_by_their_global_norm(backend):
    t = trainer(backend, OptimConfig(clip=0.01, beta1=0.9))
    norm = float(t.step(batch(), 0, rate=0.0)["grad_norm"])
    moments = [x for n, x in t.state().items() if n.startswith("optim.all.m.")]
    assert norm > 0.1
    assert np.sqrt(sum(np.square(m).sum() for m in moments)) == pytest.approx(0.1 * 0.01, rel=1e-3)


def test_only_matrices_decay_and_frozen_weights_stay(backend):
    t = trainer(backend, OptimConfig(lr=0.1, weight_decay=0.5))
    before = t.state()
    t.step(batch(), 0)
    after = t.state()  # `unused` has no gradient
    np.testing.assert_allclose(after["model.unused.weight"], before["model.unused.weight"] * 0.95, rtol=1e-6)
    np.testing.assert_array_equal(after["model.unused.bias"], before["model.unused.bias"])
    model = net(backend)
    model.conv.freeze() if hasattr(model.conv, "freeze") else model.conv.requires_grad_(False)
    t = backend.engine.Trainer(model, (Turn("all", loss_on(backend), OPTIMS["adamw"]),))
    run(t, 1)
    conv = backend.engine.numpy(backend.engine.parameters(model)["conv.weight"])
    np.testing.assert_array_equal(conv, before["model.conv.weight"])
    assert not [name for name in t.state() if "conv" in name], "what is frozen costs nothing but itself"


def test_muon_moves_hidden_matrices_by_orthogonal_steps_of_adams_size(backend):
    optim, model = OptimConfig(name="muon", lr=0.1, weight_decay=0), net(backend)
    marks = backend.nn.roles(model)
    rules = {n: optim.rule(marks.get(n), p.ndim) for n, p in backend.engine.parameters(model).items()}
    hidden = ["conv.weight", "hidden.0.weight", "hidden.1.weight", "unused.weight"]
    assert [n for n, rule in rules.items() if rule == "muon"] == [n for n in rules if n in hidden]
    assert (
        rules["embed.weight"] == rules["head.weight"] == rules["query"] == "decay" and rules["norm.weight"] == "plain"
    )
    t = trainer(backend, optim)
    before = t.state()
    t.step(batch(), 0)
    for name in hidden[:3]:
        step = (t.state()[f"model.{name}"] - before[f"model.{name}"]).reshape(len(before[f"model.{name}"]), -1) / 0.1
        values = np.linalg.svd(step, compute_uv=False) / (0.2 * np.sqrt(max(step.shape)))
        assert values[:2] == pytest.approx(1, abs=0.35), name  # two outputs: gradients of rank two


def test_the_average_follows_the_weights(backend):
    t = trainer(backend)
    average = backend.engine.numpy(t.ema)
    for s in range(4):
        t.step(batch(s), s)
        decay = min(0.9, (1 + s) / (10 + s))
        weights = backend.engine.numpy(backend.engine.parameters(t.model))
        average = {n: decay * a + (1 - decay) * weights[n] for n, a in average.items()}
    close(backend.engine.numpy(t.ema), average, 1e-6)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_mixed_precision_computes_low_and_keeps_float32_weights(backend, precision):
    seen = []

    def loss(model, batch, key):
        guess = model(batch["x"], batch["action"])
        seen.append(str(guess.dtype).rpartition(".")[2])
        error = backend.ops.square(backend.ops.float32(guess) - batch["y"]).mean()
        return error, {"error": error}

    t = backend.engine.Trainer(net(backend), (Turn("all", loss, OPTIMS["adamw"]),), precision=precision)
    exact = backend.engine.Trainer(net(backend), (Turn("all", loss, OPTIMS["adamw"]),))
    mixed, full = t.step(batch(), 0), exact.step(batch(), 0)
    assert seen == [precision, "float32"]
    assert float(mixed["loss"]) == pytest.approx(float(full["loss"]), rel=0.02)
    assert float(mixed["grad_norm"]) == pytest.approx(float(full["grad_norm"]), rel=0.05)
    assert {str(p.dtype).rpartition(".")[2] for p in backend.engine.parameters(t.model).values()} == {"float32"}


def test_float16_halves_its_scale_when_gradients_overflow(backend):
    t = trainer(backend, precision="float16")
    before, big = t.state(), batch()
    big["y"] *= 1e4
    assert float(t.step(big, 0)["finite"]) == 0
    after = t.state()
    assert after["optim.scale"] == before["optim.scale"] / 2
    np.testing.assert_array_equal(after["model.conv.weight"], before["model.conv.weight"])
    assert float(t.step(batch(), 0)["finite"]) == 1
    assert t.state()["optim.scale"] > after["optim.scale"]


def test_a_torch_step_never_waits_for_the_device():
    class NoReading(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            assert func is not torch.ops.aten._local_scalar_dense.default, "a value was read back"
            return func(*args, **(kwargs or {}))

    for optim in OPTIMS:
        t = trainer(mlxworld.on("torch"), optim)
        with NoReading():
            for s in range(2):
                t.step(batch(s), s)


COMPILED = """
import sys
import mlxworld
from tests.protocol.test_engine import *

backend = mlxworld.on(sys.argv[1])
optim, traces = OptimConfig(name="muon", lr=0.01, weight_decay=0.1), []

def model():
    made = backend.nn.Linear(3, 2)
    weights = {"weight": np.eye(2, 3, dtype=np.float32), "bias": np.zeros(2, np.float32)}
    backend.engine.load_parameters(made, weights, "the test")
    return made

def loss(model, batch, key):
    guess = model(batch["x"])
    error = backend.ops.square(guess - batch["y"]).mean()
    noise = backend.random.normal(key, (2,)).mean()
    return error + 0.1 * noise * guess.mean(), {"error": error, "seen": guess.sum()}

def counted(*args):
    traces.append(1)
    return loss(*args)

ends = []
for compiled in (False, True):
    traces.clear()
    torchs = sys.argv[1] == "torch"  # torch.compile would watch the list
    t = backend.engine.Trainer(model(), (Turn("all", loss if torchs else counted, optim),), compile=compiled)
    losses = [float(t.step({"x": batch(s)["x"][:, 0, 0], "y": batch(s)["y"]}, s, s)["loss"]) for s in range(4)]
    ends.append(t.state() | {"losses": np.array(losses)})
close(ends[1], ends[0], 1e-5)
print("traced", len(traces) or torch._dynamo.utils.counters["stats"]["unique_graphs"])
"""


@needs_compiler
def test_a_compiled_run_is_the_same_and_traced_once(backend):
    environment = {k: v for k, v in os.environ.items() if k != "MLX_DISABLE_COMPILE"}
    folders = [str(Path(__file__).parents[2])]
    environment["PYTHONPATH"] = os.pathsep.join(folders)
    name = "mlx" if backend is mlxworld.on("mlx") else "torch"
    command = [sys.executable, "-c", COMPILED, name]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["traced", "1"]


def test_arrays_and_numpy_go_there_and_back(backend):
    tree = {"a": [np.arange(3), np.float64(0.5)], "b": (np.ones((2, 2), np.uint8), 4)}
    there = backend.engine.array(tree)
    assert str(there["a"][1].dtype).endswith("float32")
    back = backend.engine.numpy(there)
    assert isinstance(back["b"], tuple) and back["b"][0].dtype == np.uint8 and back["b"][1] == 4
    np.testing.assert_array_equal(back["a"][0], [0, 1, 2])
    low = backend.engine.array(np.array([1.0, 3.14]), "bfloat16")
    assert backend.engine.numpy(low).dtype == np.float32


def test_numpy_copies(backend):
    source = np.zeros(3, np.float32)
    x = backend.engine.array(source)
    copy = backend.engine.numpy(x)
    source += 1
    copy += 2
    assert backend.engine.numpy(x).tolist() == [0, 0, 0]


def test_cast_keeps_constants_and_loading_keeps_the_precision(backend, tmp_path):
    model = net(backend)
    path, arrays = tmp_path / "m.safetensors", backend.engine.numpy(backend.engine.parameters(model))
    assert backend.engine.cast(model, "bfloat16") is model
    types = {n: str(p.dtype).rpartition(".")[2] for n, p in backend.engine.parameters(model).items()}
    assert set(types.values()) == {"bfloat16"} and str(model._shift.dtype).endswith("float32")
    backend.engine.save(path, backend.engine.parameters(model), {"kind": "test"})
    loaded, metadata = backend.engine.load(path)
    assert metadata == {"kind": "test"}
    close(loaded, arrays, 0.01)
    backend.engine.load_parameters(model, arrays, "m.safetensors")
    assert str(model.conv.weight.dtype).endswith("bfloat16")
    with pytest.raises(MlxworldError, match=r"m.safetensors does not fit this model: conv.bias is missing"):
        backend.engine.load_parameters(model, {n: x for n, x in arrays.items() if n != "conv.bias"}, "m.safetensors")


def test_loading_looks_for_the_names_of_a_model_once(backend, monkeypatch):
    model, looks, parameters = net(backend), [], backend.nn.parameters
    arrays = backend.engine.numpy(backend.engine.parameters(model))
    monkeypatch.setattr(backend.nn, "parameters", lambda module: looks.append(1) or parameters(module))
    backend.engine.load_parameters(model, arrays, "the test")
    assert len(looks) <= 1 < len(arrays)


def test_device_and_inference(backend):
    engine = backend.engine
    assert engine.device() == "cpu" and engine.rollout_precision("int8") == "float32"
    with engine.inference():
        assert not getattr(
            net(backend)(engine.array(batch()["x"]), engine.array(batch()["action"])), "requires_grad", 0
        )


def test_only_who_plays_leaves_a_core(monkeypatch, backend):
    """Not `fixed`, which training calls too."""
    asked = []
    monkeypatch.setattr(torch, "set_num_threads", asked.append)
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    backend.engine.leave_a_core()
    assert not asked, "OMP_NUM_THREADS overrules"
    monkeypatch.delenv("OMP_NUM_THREADS")
    backend.engine.fixed(lambda x: x)
    assert not asked
    backend.engine.leave_a_core()
    assert asked == ([3] if backend is mlxworld.on("torch") else [])


def test_precision_of_each_chip():
    from mlxworld import engine

    chips = {"applegpu_g13g": "float16", "applegpu_g14s": "float16", "applegpu_g15p": "bfloat16", "sm_90": "float16"}
    assert {chip: engine._gpu_precision(chip) for chip in [*chips, "applegpu_g17s"]} == chips | {
        "applegpu_g17s": "bfloat16"
    }


def test_optim_config_refuses_nonsense():
    nonsense: list[dict[str, Any]] = [{"name": "sgd"}, {"clip": 0.0}, {"beta2": 1.0}, {"ema": 1.1}, {"lr": -1.0}]
    for wrong in nonsense:
        with pytest.raises(MlxworldError, match="OptimConfig"):
            OptimConfig(**wrong)
