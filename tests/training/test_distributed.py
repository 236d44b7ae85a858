"""Two ranks train as one process does: the same losses, the same weights, one checkpoint for any number of them."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import mlxworld
from mlxworld import train
from mlxworld.errors import MlxworldError
from mlxworld.files import checkpoint
from mlxworld.training.together import agreed, once
from tests.training import ranks, tiny

ROOT, BIN = Path(__file__).parents[2], Path(sys.executable).parent
SHORT = {"tokenizer.steps": 2, "dynamics.steps": 3, "forcing.steps": 0, "dynamics.frames": 4}
SHORT |= {"tokenizer.accumulate": 2, "dynamics.accumulate": 2, "save-minutes": 0}


def launch(*command: object) -> subprocess.CompletedProcess:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run([*map(str, command)], env=environment, capture_output=True, text=True, timeout=220)


@pytest.fixture(scope="module")
def flags(tmp_path_factory):
    """Of a tiny training, whose parts two ranks may share."""
    data = tiny.dots(tmp_path_factory.mktemp("data") / "dots")
    return ["--data", str(data), "--backend", "torch", *tiny.argv(**SHORT)]


@pytest.fixture(scope="module")
def torch_ranks(tmp_path_factory, flags):
    """What two ranks of torchrun wrote, and in "run" a sharded training that was killed."""
    out = tmp_path_factory.mktemp("torch")
    torchrun = (BIN / "torchrun", "--standalone", "--nproc-per-node", ranks.PARTS)
    done = launch(*torchrun, Path(ranks.__file__), "torch", out, *flags, "--out", out / "run", "--shard")
    assert "Signal 9 (SIGKILL)" in done.stderr, done.stderr[-3000:]
    return out


@pytest.fixture(scope="module")
def mlx_ranks(tmp_path_factory):
    out = tmp_path_factory.mktemp("mlx")
    done = launch(BIN / "mlx.launch", "-n", ranks.PARTS, sys.executable, Path(ranks.__file__), "mlx", out)
    assert done.returncode == 0, done.stderr[-3000:]
    return out


CASES = [("torch", case) for case in ranks.CASES] + [("mlx", case) for case in ("adamw", "muon")]


@pytest.mark.parametrize(("backend", "case"), CASES)
def test_two_ranks_learn_what_one_process_learns_in_two_parts(backend, case, request):
    """50 steps, saved and loaded in the middle; then what the ranks saved there goes on in one process."""
    found, _ = checkpoint.load(request.getfixturevalue(f"{backend}_ranks") / f"{case}.safetensors")
    curves, state = ranks.train(mlxworld.on(backend), case)
    for name, curve in curves.items():
        np.testing.assert_allclose(found[name], curve, rtol=1e-4, err_msg=name)
    assert curves["loss"][-10:].mean() < 0.7 * curves["loss"][:10].mean()
    half = {name.removeprefix("half."): x for name, x in found.items() if name.startswith("half.")}
    _, resumed = ranks.train(mlxworld.on(backend), case, range(ranks.STEPS // 2, ranks.STEPS), half)
    for name, x in state.items():
        if not name.endswith("seen"):
            np.testing.assert_allclose(found[name], x, rtol=1e-3, atol=1e-5, err_msg=name)
            np.testing.assert_allclose(resumed[name], x, rtol=1e-3, atol=1e-5, err_msg=name)


@pytest.mark.parametrize(("backend", "case"), CASES)
def test_a_buffer_is_the_mean_of_what_the_ranks_found(backend, case, request):
    found, _ = checkpoint.load(request.getfixturevalue(f"{backend}_ranks") / f"{case}.safetensors")
    seen = np.float32(0)
    for step in range(ranks.STEPS):
        seen = 0.9 * seen + ranks.batch(step)["x"].mean()
    np.testing.assert_allclose(found["model.seen"], np.full(5, seen), rtol=1e-4)


def test_a_sharded_training_killed_on_two_ranks_goes_on_in_one_process(torch_ranks, flags, tmp_path):
    assert (torch_ranks / "run/checkpoint.safetensors").exists() and not (
        torch_ranks / "run/samples/final.png"
    ).exists()
    train.main([*flags, "--out", str(torch_ranks / "run"), "--resume"])
    train.main([*flags, "--out", str(tmp_path / "whole")])
    ours, theirs = (checkpoint.load(f / "checkpoint.safetensors")[0] for f in (torch_ranks / "run", tmp_path / "whole"))
    assert ours.keys() == theirs.keys()
    for name in ours.keys() - {"seconds"}:
        np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-3, atol=2e-4, err_msg=name)
    assert len(list((torch_ranks / "run/events").iterdir())) == 2, "rank 1 writes none"


def test_mlx_does_not_shard():
    with pytest.raises(MlxworldError, match="leave out --shard, or use --backend torch"):
        ranks.trainer(mlxworld.on("mlx"), "adamw", True)


def test_one_process_is_rank_0_and_agrees_with_itself(backend):
    engine, made = backend.engine, []
    assert (engine.rank(), engine.ranks()) == (0, 1)
    tree = {"a": [engine.array(np.ones(3, np.float32))]}
    assert engine.mean(tree) is tree
    once(engine, lambda: made.append(1))
    assert made == [1] and agreed(engine, 2**24 + 1) == 2**24 + 1
