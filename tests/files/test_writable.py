"""Where a file cannot be put is known before the work, and what is there stays as it was."""

import os

import pytest

from mlxworld.bench import main as bench
from mlxworld.errors import MlxworldError
from mlxworld.evaluate.agent import main as agent
from mlxworld.evaluate.free.__main__ import main as free
from mlxworld.evaluate.modes import main as modes
from mlxworld.evaluate.planning.__main__ import main as planning
from mlxworld.files.atomic import require_writable
from mlxworld.play.translator import Translator
from mlxworld.play.world import World


def test_a_file_that_can_be_written(tmp_path):
    (tmp_path / "there").write_text("kept")
    for name in ("there", "new", "deep/er/new", "with space/\u6f22"):
        require_writable(tmp_path / name)
    assert (tmp_path / "there").read_text() == "kept"
    assert sorted(p.name for p in tmp_path.rglob("*") if p.is_file()) == ["there"]


def test_a_file_that_cannot(tmp_path):
    (tmp_path / "file").touch()
    for path in (tmp_path, tmp_path / "file" / "x", tmp_path / ("x" * 300) / "y", "/proc/x"):
        with pytest.raises(MlxworldError, match="cannot write") as caught:
            require_writable(path)
        assert os.fspath(path) in str(caught.value)


@pytest.mark.parametrize(
    ("main", "flags"),
    [
        (agent, ["--out"]),
        (free, ["--world", "pong", "--out"]),
        (planning, ["--world", "pong", "--out"]),
        (modes, ["--world", "run", "--model-mode", "latent", "--out"]),
        (bench, ["hooks", "--hook", "x", "--picture"]),
        (bench, ["--model", "omnilatent", "--preset", "nano", "--picture"]),
    ],
)
def test_nothing_is_done_for_figures_that_cannot_be_kept(main, flags, tmp_path, monkeypatch):
    for kind in (World, Translator):
        for name in ("load", "untrained"):
            monkeypatch.setattr(kind, name, lambda *a, **b: pytest.fail("loaded"))
    (tmp_path / "file").touch()
    with pytest.raises(MlxworldError, match="cannot write"):
        main([*flags, str(tmp_path / "file" / "figures")])
