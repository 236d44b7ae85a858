"""Quantised weights: which layers they touch, how near they stay, what cannot be had."""

import importlib.util
import subprocess
import sys

import numpy as np
import pytest
import torch

import mlxworld
from mlxworld import MlxworldError
from tests.models import small
from tests.play.small_world import small_world

BOUNDS = {"int8": (1e-4, 0.06), "int4": (0.03, 0.4), "mxfp8": (0.01, 0.1)}  # of a layer's error, its output being 1
HAVE = [(name, kind) for name in mlxworld.BACKENDS for kind in BOUNDS if (name, kind) != ("torch", "mxfp8")]


def layers(model) -> dict:
    """Every layer with a matrix or a table, by name."""
    return {n: m for n, m in model.named_modules() if hasattr(m, "weight") and len(m.weight.shape) == 2}


def spread(x) -> float:
    return float(np.sqrt(np.square(x).mean()))


@pytest.mark.parametrize(("name", "kind"), HAVE)
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_each_chosen_layer_stays_near_and_no_other_changes(name, kind, precision):
    backend = mlxworld.on(name)
    engine, model = backend.engine, small.lively(backend)
    engine.place(engine.cast(model, precision))
    before = layers(model)
    shapes = {n: tuple(m.weight.shape) for n, m in before.items()}
    rng, outputs = np.random.default_rng(0), {}
    inputs = {
        n: engine.array(rng.integers(0, s[0], (2, 3)).astype(np.int32))
        if "Embedding" in type(before[n]).__name__
        else engine.array(rng.normal(size=(2, 3, s[1])).astype(np.float32), precision)
        for n, s in shapes.items()
    }
    with engine.inference():
        for n, layer in before.items():
            outputs[n] = engine.numpy(layer(inputs[n]))
        packing = engine.packing(model, kind)
        assert engine.quantize(model, kind) is model
        after = dict(model.named_modules())
        changed = []
        for n in before:
            now = after[n](inputs[n])
            assert str(now.dtype).endswith(precision), n
            error = spread(engine.numpy(now) - outputs[n]) / spread(outputs[n])
            if error > 0:
                low, high = BOUNDS[kind]
                assert low < error < high, f"{n}: {error:.1e}"
                changed.append(n)
    peaks = {
        n for n, (out, dims) in shapes.items() if (name, kind) == ("torch", "int8") and "embed_" not in n and dims > out
    }
    assert changed == [n for n in shapes if n in packing and n not in peaks]
    kept = {n.rpartition(".")[2] for n in shapes if n not in changed}
    assert {"embed", "head"} <= kept, "first and last layers"
    assert "dynamics.blocks.0.mlp.up" in changed
    assert ("dynamics.embed_action" in changed) == (kind != "mxfp8")


@pytest.mark.parametrize("backend", mlxworld.BACKENDS, indirect=True)
def test_a_dream_with_bytes_stays_near(backend):
    dreams = []
    for kind in (None, "int8"):
        engine, model = backend.engine, small.lively(backend)
        if kind:
            engine.quantize(model, kind)
        rng = np.random.default_rng(1)
        with engine.inference():
            cache, found = model.init_state(1), []
            for _ in range(4):
                noise = rng.normal(size=(1, 1, 5, 16)).astype(np.float32)
                _, _, z, cache = model.step(cache, engine.array(noise), engine.array(np.ones((1, 1), np.int32)))
                found.append(engine.numpy(z))
        dreams.append(np.stack(found))
    assert 1e-5 < spread(dreams[1] - dreams[0]) < 0.15 * spread(dreams[0])


def test_bytes_pass_through_pytorchs_compiler_whole():
    backend = mlxworld.on("torch")
    model = backend.engine.quantize(small.lively(backend), "int8")
    x = {"embed_action": torch.ones(1, 2, dtype=torch.int32), "blocks": torch.randn(1, 1, 5, 64)}

    def fn(index, x):
        return model.dynamics.embed_action(index), model.dynamics.blocks[0].mlp(x, x)

    with torch.no_grad():
        for a, b in zip(
            torch.compile(fn, backend="aot_eager", fullgraph=True)(*x.values()), fn(*x.values()), strict=True
        ):
            torch.testing.assert_close(a, b)


def test_where_pytorch_has_no_bytes_torchao_has_them(monkeypatch):
    monkeypatch.delattr(torch, "quantize_per_channel")  # as on a GPU, and in a PyTorch to come
    backend = mlxworld.on("torch")
    model = small.lively(backend)
    layer, x = model.dynamics.blocks[0].mlp.up, torch.randn(4, 64)
    wanted = layer(x)
    backend.engine.quantize(model, "int8")
    found = model.dynamics.blocks[0].mlp.up(x)
    assert type(model.dynamics.blocks[0].mlp.up.weight.data).__module__.startswith("torchao")
    assert 1e-4 < spread((found - wanted).detach().numpy()) < 0.03 * spread(wanted.detach().numpy())


SILENT = """
import torch, mlxworld
engine = mlxworld.on("torch").engine
for kind in ("int8", "int4"):
    engine.quantize(torch.nn.Sequential(torch.nn.Linear(64, 8), torch.nn.Embedding(5, 64)), kind)
"""


def test_making_bytes_is_silent():
    done = subprocess.run([sys.executable, "-c", SILENT], capture_output=True, text=True, check=True)
    assert done.stdout + done.stderr == ""


@pytest.mark.parametrize(
    ("name", "kind", "line"),
    [
        ("torch", "mxfp8", "mxfp8 weights are MLX's alone: choose int8 or int4 with PyTorch"),
        ("torch", "int4", r'int4 weights here need torchao: pip install "mlxworld\[quant\]"'),
        ("torch", "int2", "unknown weights 'int2': choose one of int8, int4, mxfp8"),
        ("mlx", "int2", "unknown weights 'int2': choose one of int8, int4, mxfp8"),
    ],
)
def test_what_cannot_be_had_is_one_line(name, kind, line, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda n, *a: None if n == "torchao" else find(n, *a))
    backend = mlxworld.on(name)
    with pytest.raises(MlxworldError, match=line):
        backend.engine.quantize(small.fresh(backend), kind)


def test_a_world_is_asked_for_bytes(backend, tmp_path):
    folder, name = small_world(tmp_path), "mlx" if backend.__name__ == "mlxworld" else "torch"
    videos = []
    for weights in (None, "int8", "int8"):
        world = mlxworld.World.load(folder, name, weights=weights)
        world.reset(3)
        videos.append(np.stack([world.step(1).video for _ in range(3)]).astype(int))
    assert (videos[1] == videos[2]).all() and 0 < np.abs(videos[1] - videos[0]).mean() < 20
