"""Low-rank adapters: nothing at first, they alone learn, and what is saved is a world like any other."""

import numpy as np
import pytest

import mlxworld
from mlxworld import MlxworldError, train
from mlxworld.files import checkpoint
from mlxworld.training import lora
from tests.models.small import SMALL, gap, latents, lively
from tests.training import tiny
from tests.training.test_hook import ONLY

ADAPTED = tuple(f"dynamics.blocks.{i}.attn.{name}.weight" for i in (0, 1) for name in ("qkv", "out"))


def teach(data, out, parent, backend, *more: str):
    flags = ONLY | {"backend": backend, "log-steps": 1, "lora": 2}
    argv = [w for n, v in flags.items() for w in (f"--{n}", *map(str, np.atleast_1d(v)))]
    train.main(["--data", str(data), "--out", str(out), "--from", str(parent), *argv, *more])
    return dict(checkpoint.open(out / "model.safetensors").items())


def foreseen(backend, net):
    batch, engine = latents(SMALL), backend.engine
    level = np.full(batch["actions"].shape, 1, np.int32)
    with engine.inference():
        return engine.numpy(net.dynamics(*engine.array([batch["z"], batch["actions"], level, level])))


def stirred(backend, seed=0):
    """A small world with adapters of rank 2 that do something, and all of its parameters."""
    net = lively(backend)
    before = foreseen(backend, net)
    lora.add(backend, net.dynamics, 2, seed=5)
    fresh = foreseen(backend, net)
    own = [n for n in backend.nn.parameters(net) if n.endswith(lora.PARTS)]
    rng, shapes = np.random.default_rng(seed), {n: backend.nn.parameters(net)[n].shape for n in own}
    arrays = {n: 0.2 * rng.normal(size=shape).astype(np.float32) for n, shape in sorted(shapes.items())}
    backend.nn.assign(net, backend.engine.array(arrays))
    return net, before, fresh


def test_a_fresh_adapter_is_nothing_and_a_merged_one_is_what_it_was(backend):
    net, before, fresh = stirred(backend)
    assert gap(before, fresh) < 1e-5
    adapted, weights = foreseen(backend, net), lora.merged(backend.engine.numpy(backend.nn.parameters(net)))
    assert gap(adapted, before) > 0.05
    plain = lively(backend)
    assert weights.keys() == backend.nn.parameters(plain).keys()
    backend.nn.assign(plain, backend.engine.array(weights))
    assert gap(foreseen(backend, plain), adapted) < 1e-4


def test_both_backends_foresee_the_same_with_adapters():
    assert gap(*(foreseen(b, stirred(b)[0]) for b in map(mlxworld.on, mlxworld.BACKENDS))) < 1e-4


@pytest.mark.parametrize("backend", mlxworld.BACKENDS)
def test_the_adapter_alone_learns_and_is_merged(dots, parent, tmp_path, backend):
    after = teach(dots, tmp_path / "low", parent, backend)
    before = dict(checkpoint.open(parent / "model.safetensors").items())
    assert after.keys() == before.keys()
    assert {n for n in before if not np.array_equal(before[n], after[n])} == set(ADAPTED)
    for name in ADAPTED:
        _, first, rest = np.split(np.linalg.svd(after[name].astype(np.float32) - before[name])[1], [0, 2])
        assert first.min() > 10 * rest.max(), "its rank is 2, but for rounding to float16"
    state = checkpoint.open(tmp_path / "low" / "checkpoint.safetensors")
    done = [n for n in state if n.startswith("done.")]
    assert len(done) == 8 and all(n.endswith(lora.PARTS) for n in done)
    world = mlxworld.World.load(tmp_path / "low", backend)
    world.reset(seed=1)
    assert world.step("up").video.shape == (tiny.SIZE, tiny.SIZE, 3)


def test_an_adapter_goes_on_after_a_stop(dots, parent, tmp_path, monkeypatch):
    whole = teach(dots, tmp_path / "whole", parent, "torch")
    with tiny.interrupted(monkeypatch, after=2):
        teach(dots, tmp_path / "cut", parent, "torch")
    resumed = teach(dots, tmp_path / "cut", parent, "torch", "--resume")
    assert whole.keys() == resumed.keys() and all(np.array_equal(whole[n], resumed[n]) for n in whole)


@pytest.mark.parametrize("more", [["--hook", "night"], ["--lora", "-1"], ["--lora", "5000"]])
def test_what_cannot_be_adapted_is_one_line(dots, parent, tmp_path, more):
    with pytest.raises(MlxworldError, match=r"--lora (lies between|goes without)"):
        teach(dots, tmp_path / "a", parent, "torch", *more)
    with pytest.raises(MlxworldError, match="--lora needs --from"):
        train.main(["--data", str(dots), "--out", str(tmp_path / "b"), "--lora", "2"])
