"""The dynamics by hand is the same model, and knows nothing of the house."""

import ast
import json
from pathlib import Path

import pytest

import mlxworld
from benchmarks import protocol_cost
from mlxworld import MlxworldError

HERE = Path(protocol_cost.__file__).parent


@pytest.mark.parametrize("name", mlxworld.BACKENDS)
def test_by_hand_it_is_the_same_model(name, capsys):
    protocol_cost.main(
        ["--backend", name, "--mode", "eager", "--frames", "1", "--pairs", "2", "--batch", "2", "--json"]
    )
    told = json.loads(capsys.readouterr().out)
    cost = told["protocol"][0]
    assert (told["backend"], told["device"], cost["mode"]) == (name, "cpu", "eager")
    assert cost["difference"] < 1e-4 and 0.2 < cost["low"] <= cost["ratio"] <= cost["high"] < 5


def test_another_model_is_told_apart(monkeypatch):
    """Forty frames, so the far end of the longer ring is seen: a window one short shows."""
    plain = protocol_cost.plain_torch

    def shorter(world, *rest):
        import dataclasses

        dynamics = dataclasses.replace(world.dynamics, global_window=world.dynamics.global_window - 1, period=31 * 32)
        return plain(dataclasses.replace(world, dynamics=dynamics), *rest)

    monkeypatch.setattr(protocol_cost, "plain_torch", shorter)
    with pytest.raises(MlxworldError, match=r"the two are not the same model \(eager\): latents differ by"):
        protocol_cost.main(["--mode", "eager"])


def test_a_mode_that_is_not_there_is_one_line():
    with pytest.raises(MlxworldError, match="torch on cpu runs eager and compiled, not graph"):
        protocol_cost.main(["--mode", "graph"])


@pytest.mark.parametrize("name", ["plain_torch", "plain_mlx"])
def test_by_hand_nothing_of_the_house_is_imported(name):
    nodes = ast.walk(ast.parse((HERE / f"{name}.py").read_text()))
    found = {a.name for n in nodes if isinstance(n, ast.Import) for a in n.names}
    nodes = ast.walk(ast.parse((HERE / f"{name}.py").read_text()))
    found |= {n.module or "" for n in nodes if isinstance(n, ast.ImportFrom) and not n.level}
    assert {module.split(".")[0] for module in found} <= {"math", name.removeprefix("plain_")}
