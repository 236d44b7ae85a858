"""A training that begins from a trained model: what is taken, what is refused, and that it resumes."""

import dataclasses
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

import mlxworld
from mlxworld import train
from mlxworld.errors import MlxworldError
from mlxworld.files import checkpoint, quantized
from mlxworld.training import finetune
from mlxworld.training.finetune import Parent, fitting, reordered
from tests.models.small import SMALL, changed, fresh, lively
from tests.play.played import write
from tests.training import processes, tiny

TABLE = "dynamics.embed_action.weight"


def shapes(backend, cfg):
    net = fresh(backend, cfg)
    return {n: tuple(x.shape) for n, x in (backend.nn.parameters(net) | backend.nn.buffers(net)).items()}


def parent(cfg=SMALL, **other) -> Parent:
    torch = mlxworld.on("torch")
    net = lively(torch, cfg)
    weights = torch.engine.numpy(torch.nn.parameters(net) | torch.nn.buffers(net))
    return Parent("small", {}, cfg, weights | other)


def test_a_table_follows_the_names_of_its_actions():
    table = np.arange(8, dtype=np.float32).reshape(4, 2)  # noop, up, down, hidden
    assert reordered(table, ("noop", "up", "down"), ("noop", "up", "down")).tolist() == table.tolist()
    found = reordered(table, ("noop", "up", "down"), ("fire", "down", "noop", "left"))
    assert found.tolist() == [[6, 7], [4, 5], [0, 1], [6, 7], [6, 7]]
    assert reordered(table[:3], ("noop", "up", "down"), ("up", "fire")).tolist() == [[2, 3], [2, 3]]


def test_what_fits_is_taken(backend):
    actions = ("noop", "down", "jump", "fire")
    cfg = dataclasses.replace(SMALL, actions=actions)
    p = parent()
    found = fitting(p, cfg, shapes(backend, cfg))
    assert found.keys() == shapes(backend, cfg).keys()
    assert all(np.array_equal(found[n], p.weights[n]) for n in found if n != TABLE)
    rows = p.weights[TABLE]
    assert np.array_equal(found[TABLE], rows[[0, 2, 3, 3, 3]])


def test_what_has_another_shape_is_left_out(backend):
    """Half the size: other patches, another end of the decoder; the dynamics is all there."""
    half = changed(size=16, patch=4, decoder={"channels": (32, 16)})
    found, mine = fitting(parent(), half, shapes(backend, half)), shapes(backend, half)
    left = {n for n in mine if n not in found}
    assert 0 < len(left) < 10 and not any(n.startswith("dynamics.") for n in left)
    assert all(found[n].shape == mine[n] for n in found)


def test_what_does_not_fit_is_refused_in_one_line(backend):
    wide = changed(vision={"dim": 128}, decoder={"dim": 128}, dynamics={"dim": 128})
    with pytest.raises(MlxworldError, match=r"--from small does not fit: \d+% of this model's numbers") as raised:
        fitting(parent(), wide, shapes(backend, wide))
    assert "\n" not in str(raised.value) and "here, (" in str(raised.value)
    other = cast(Any, SimpleNamespace(family="other"))
    with pytest.raises(MlxworldError, match="--from small is of the family openworld, not other"):
        fitting(parent(), other, {})


def test_quantised_weights_are_a_beginning_too(tmp_path, backend):
    """They are taken as the numbers that they stand for."""
    torch = mlxworld.on("mlx")
    net = lively(torch, SMALL)
    torch.engine.quantize(net, "int8")
    write(tmp_path, net=None)
    arrays = torch.engine.numpy(torch.nn.parameters(net) | torch.nn.buffers(net))
    assert quantized.layers(arrays)
    checkpoint.save(tmp_path / "model.safetensors", arrays, {"format": "2", "family": "openworld"})
    cfg = cast(Any, SimpleNamespace(from_=str(tmp_path), out=tmp_path / "run", resume=False))
    found = fitting(finetune.read_parent(backend, cfg), SMALL, shapes(backend, SMALL))
    exact = fitting(parent(), SMALL, shapes(backend, SMALL))
    assert found.keys() == exact.keys()
    assert max(np.abs(found[n] - exact[n]).max() / np.abs(exact[n]).max() for n in exact) < 0.02


def test_the_model_is_the_parents_unless_a_preset_is_named(tmp_path):
    folder = str(write(tmp_path))
    argv = ["--data", "x", "--out", str(tmp_path / "run"), "--from", folder]
    cfg = train.parse(argv)
    assert finetune.configuration(folder)[2] == SMALL
    assert dataclasses.replace(cfg.config, actions=SMALL.actions) == cfg.config
    assert (cfg.config.latent, cfg.config.dynamics, cfg.from_) == (SMALL.latent, SMALL.dynamics, folder)
    assert train.parse([*argv, "--config.dynamics.steps", "1"]).config.dynamics.steps == 1
    assert train.parse([*argv, "--preset", "nano"]).config.dynamics.dim == 256
    for more, message in (
        (["--model", "elsewhere"], "is of the family openworld, not elsewhere"),
        (["--from", "nowhere"], "unknown world 'nowhere'"),
    ):
        with pytest.raises(MlxworldError, match=message):
            train.parse([*argv[:4], *(argv[4:] if more[0] == "--model" else []), *more])


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """A trained world to begin from, and another game's dataset."""
    folder = tmp_path_factory.mktemp("first")
    data, other = tiny.dots(folder / "dots"), tiny.dots(folder / "other", (30, 24), ("noop", "down", "jump"))
    train.main(["--data", str(data), "--out", str(folder / "run"), "--backend", "torch", *tiny.argv()])
    return folder / "run", other


def test_a_training_that_does_not_fit_leaves_no_run(first, tmp_path):
    run, data = first
    argv = ["--data", str(data), "--out", str(tmp_path / "out"), "--from", str(run), "--preset", "play"]
    with pytest.raises(MlxworldError, match="does not fit"):
        train.main(argv)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["mlx", "torch"])
def test_a_run_begins_with_its_parents_weights_and_its_own_data(first, tmp_path, name, capfd):
    run, data = first
    short = {"tokenizer.steps": 1, "dynamics.steps": 1, "forcing.steps": 0, "tokenizer.lr": 0, "dynamics.lr": 0}
    argv = ["--data", str(data), "--out", str(tmp_path / "out"), "--backend", name, "--from", str(run)]
    train.main([*argv, *tiny.argv(**short)])
    said = capfd.readouterr().err
    assert "begins from run: " in said and "actions that it does not know: jump" in said
    before, after = (checkpoint.load(f / "model.safetensors")[0] for f in (run, tmp_path / "out"))
    mean = "tokenizer.mean_frame"
    assert not np.array_equal(before[mean], after[mean])
    same = [n for n in before if n not in (mean, TABLE)]
    assert all(np.array_equal(before[n], after[n]) for n in same)
    assert np.array_equal(after[TABLE], before[TABLE][[0, 2, 3, 3]])


def test_it_resumes_to_the_same_weights_when_its_parent_is_gone(first, tmp_path):
    run, data = tmp_path / "first", first[1]
    shutil.copytree(first[0], run)
    short = {"tokenizer.steps": 4, "dynamics.steps": 4, "forcing.steps": 0, "log-steps": 2}
    argv = ["--data", str(data), "--backend", "torch", "--from", str(run), *tiny.argv(**short), "--save-minutes", "0"]

    def start(death: str, out: str, *more: str, fresh: bool = False) -> int | None:
        return processes.train(death, [*argv, "--out", tmp_path / out, *more], fresh).returncode

    assert start("", "whole", fresh=True) == 0
    assert start("mlxworld.training.run:Run._report:2", "killed") == -9
    shutil.rmtree(run)
    assert start("", "killed", "--resume") == 0
    whole, killed = (checkpoint.load(Path(tmp_path / n / "model.safetensors"))[0] for n in ("whole", "killed"))
    assert all(x.tobytes() == killed[n].tobytes() for n, x in whole.items())
