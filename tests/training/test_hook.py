"""A hook is taught to a world that stays as it is."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import mlxworld
from mlxworld import MlxworldError, train
from mlxworld.files import checkpoint, hook_file
from mlxworld.recipes.openworld import Recipe, Settings
from mlxworld.training import additions
from tests.training import tiny

ONLY = {"dynamics.steps": 4, "dynamics.frames": (6,), "dynamics.lr": 0.05, "save-minutes": 0}


def teach(data, out, parent, backend, *more: str):
    flags = [
        w
        for n, v in (ONLY | {"backend": backend, "log-steps": 1}).items()
        for w in (f"--{n}", *map(str, np.atleast_1d(v)))
    ]
    train.main(["--data", str(data), "--out", str(out), "--from", str(parent), "--hook", "night", *flags, *more])
    return hook_file.load(out / "night.safetensors")


@pytest.mark.parametrize("backend", mlxworld.BACKENDS)
def test_the_hook_alone_learns_and_its_world_plays_with_it(dots, parent, tmp_path, backend):
    cfg, arrays = teach(dots, tmp_path / "night", parent, backend)
    assert (cfg.name, cfg.family, cfg.depth) == ("night", "openworld", 2)
    before, after = (
        dict(checkpoint.open(folder / "model.safetensors").items()) for folder in (parent, tmp_path / "night")
    )
    assert all(np.array_equal(before[n], after[n]) for n in before) and before.keys() == after.keys()
    state = checkpoint.open(tmp_path / "night" / "checkpoint.safetensors")
    done = [n for n in state if n.startswith("done.")]
    assert done and all(n.startswith("done.dynamics.hooks.") for n in done)
    fresh = np.full(len(cfg.target_layers), -4.0, np.float32)
    assert np.abs(arrays["gate_bias"] - fresh).min() > 1e-3 and np.abs(arrays["transforms.0.mlp.down.weight"]).max() > 0

    plain = mlxworld.World.load(str(parent), backend, precision="float32")
    hooked = mlxworld.World.load(
        str(parent), backend, precision="float32", hooks=[tmp_path / "night/night.safetensors"]
    )
    frames = [[w.reset(seed=1), w.step("up"), w.step("down")][-1].audio for w in (plain, hooked)]
    assert not np.array_equal(frames[0], frames[1])


def test_what_is_done_with_it_is_told(dots):
    argv = ["--data", str(dots), "--out", "y", *tiny.argv(), "--from", "pong", "--hook", "night"]
    cfg = train.parse(argv)
    assert isinstance(cfg, Settings)
    assert Recipe(cfg).use.format(out="y") == "mlxworld play --world pong --hook y/night.safetensors"


def test_a_hook_goes_on_after_a_stop(dots, parent, tmp_path, monkeypatch):
    _, whole = teach(dots, tmp_path / "whole", parent, "torch")
    with tiny.interrupted(monkeypatch, after=2):
        teach(dots, tmp_path / "cut", parent, "torch")
    state = checkpoint.open(tmp_path / "cut" / "checkpoint.safetensors")  # no moment of anything but the hook
    moments = [n for n in state if n.startswith(("ema.", "optim.dynamics.")) and state.shapes[n] != ()]
    assert moments and all(".hooks." in n for n in moments)
    _, resumed = teach(dots, tmp_path / "cut", parent, "torch", "--resume")
    assert whole.keys() == resumed.keys() and all(np.array_equal(whole[n], resumed[n]) for n in whole)


def test_what_cannot_be_taught_is_one_line(dots, parent, tmp_path):
    with pytest.raises(MlxworldError, match="letters"):
        teach(dots, tmp_path / "a", parent, "torch", "--hook", "../x")
    with pytest.raises(MlxworldError, match="needs --from"):
        train.main(["--data", str(dots), "--out", str(tmp_path / "b"), "--hook", "night"])
    more = tiny.dots(tmp_path / "more", actions=("noop", "up", "down", "jump"))
    with pytest.raises(MlxworldError, match="no 'jump'"):
        teach(more, tmp_path / "c", parent, "torch")
    assert not (tmp_path / "c" / "train.json").exists()


def test_a_model_that_names_no_stack_is_one_line():
    package = mlxworld.on("torch")
    for model in (package.nn.Linear(2, 2), package.nn.Module()):
        run: Any = SimpleNamespace(package=package, model=model, cfg=Settings("x", Path("y"), hook="night", from_="z"))
        with pytest.raises(MlxworldError, match="the family openworld has no stack that a hook joins"):
            additions.begin(run)


def test_a_run_that_was_begun_before_these_flags_goes_on(dots, tmp_path):
    cfg = train.parse(["--data", str(dots), "--out", str(tmp_path), *tiny.argv(), "--resume"])
    older = train.settings(cfg)
    for name in ("hook", "hook_tokens", "lora"):
        del older[name]
    (tmp_path / "train.json").write_text(json.dumps(older))
    train.require_run(cfg)
    with pytest.raises(MlxworldError, match="--lora was 0, not 2"):
        train.require_run(replace(cfg, lora=2))
