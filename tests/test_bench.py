"""The bench: numbers of a world that fits its flags, as JSON that a program can read; else one line and exit code 2."""

import json
import sys

import pytest

from mlxworld import bench
from mlxworld.cli import entry
from tests.worlds import small_world


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return str(small_world(tmp_path_factory.mktemp("world")))


def test_json_is_one_object(folder, capsys):
    argv = ["--world", folder, "--backend", "torch", "--frames", "3", "--batch", "2", "--steps", "1", "--json"]
    bench.main(argv)
    told = json.loads(capsys.readouterr().out)
    assert (told["world"], told["backend"], told["steps"], told["batch"]) == ("small", "torch", 1, 2)
    found = told["rollout"]
    assert 0 < found["p50_ms"] <= found["p99_ms"] and found["first_ms"] > 0
    assert 1 / 3 < found["fps"] * found["p50_ms"] / 2000 < 3  # both worlds count


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (["--world", "FOLDER", "--preset", "nano"], "give either --world or --preset"),
        ([], "give either --world or --preset"),
        (["--preset", "huge"], "unknown preset 'huge': choose one of nano"),
        (["--world", "nowhere"], "unknown world 'nowhere'"),
        (["--world", "FOLDER", "--frames", "0"], "--frames must be at least 1, got 0"),
        (["--world", "FOLDER", "--batch", "0"], "batch must be at least 1, got 0"),
    ],
)
def test_what_cannot_be_measured_is_one_line(folder, flags, line, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["bench", *(folder if word == "FOLDER" else word for word in flags)])
    with pytest.raises(SystemExit) as ended:
        entry(bench.main)
    told = capsys.readouterr()
    assert ended.value.code == 2 and told.out == ""
    assert told.err.startswith(f"mlxworld: {line}") and told.err.count("\n") == 1
