"""What a Core ML package cannot be made of, or played as: one line, exit code 2, and nothing half-written."""

import importlib.metadata
import shutil

import pytest

from convert import mil, to_coreml
from convert.mil_evaluator import Evaluated
from mlxworld import MlxworldError, World
from mlxworld.cli import entry
from mlxworld.play.coreml import CoreMLPlayer, read_package
from mlxworld.play.player import Options
from tests.convert.packages import evaluated
from tests.play.small_world import SMALL, small_world


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return small_world(tmp_path_factory.mktemp("refuses") / "small")


@pytest.fixture(scope="module")
def decoder(folder):
    """A package of the decoders alone, int4."""
    out = folder.with_name("decoder.mlpackage")
    to_coreml.main(["--world", str(folder), "--out", str(out), "--part", "decoder", "--precision", "int4"])
    return out


def refused(capsys, *argv: str) -> str:
    """The one line on stderr."""
    with pytest.raises(SystemExit) as ended:
        entry(lambda: to_coreml.main(list(argv)))
    said = capsys.readouterr().err
    assert ended.value.code == 2 and said.count("\n") == 1 and said.startswith("mlxworld: ")
    return said


def test_worlds_that_are_none(capsys, folder, tmp_path):
    out = str(tmp_path / "x.mlpackage")
    assert "unknown world 'nowhere'" in refused(capsys, "--world", "nowhere", "--out", out)
    shutil.copytree(folder, broken := tmp_path / "broken")
    path = broken / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    assert "damaged" in refused(capsys, "--world", str(broken), "--out", out)
    assert [p.name for p in tmp_path.iterdir()] == ["broken"]


def test_places_that_are_taken(capsys, folder, tmp_path):
    said = refused(capsys, "--world", str(folder), "--out", str(tmp_path / "x"))
    assert "must end in .mlpackage" in said
    for name in ("x.mlpackage", "x.verify"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "mine").write_text("keep")
        out = ["--world", str(folder), "--out", str(tmp_path / "x.mlpackage")]
        assert "give --force" in refused(capsys, *out)
        assert "something else" in refused(capsys, *out, "--force")
        assert [p.name for p in tmp_path.rglob("*")] == [name, "mine"]
        shutil.rmtree(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "version"), [("coremltools", "8.3.0"), ("coremltools", "10.0"), ("torch", "2.7.1+cpu")]
)
def test_versions_that_were_not_tested(capsys, folder, tmp_path, monkeypatch, name, version):
    real = importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", lambda asked: version if asked == name else real(asked))
    said = refused(capsys, "--world", str(folder), "--out", str(tmp_path / "x.mlpackage"))
    assert f"{name} {version}" in said and "pip install" in said and not list(tmp_path.iterdir())


def test_a_conversion_that_fails_leaves_what_was_there(folder, decoder, monkeypatch):
    before = {p: p.read_bytes() for p in folder.parent.rglob("*") if p.is_file()}

    def fail(part, precision):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(mil, "program", fail)
    with pytest.raises(MlxworldError, match="No space left"):
        to_coreml.main(["--world", str(folder), "--out", str(decoder), "--force"])
    assert {p: p.read_bytes() for p in folder.parent.rglob("*") if p.is_file()} == before


def test_a_part_alone_is_a_package_that_is_not_played(decoder, monkeypatch):
    with pytest.raises(MlxworldError, match="only audio, video"):
        Evaluated(decoder, "step")
    evaluated(monkeypatch)
    with pytest.raises(MlxworldError, match="lacks encode, observe, step: convert the world with --part all"):
        World.load(decoder)


def test_what_is_no_package(folder, tmp_path):
    with pytest.raises(MlxworldError, match=r"plays a \.mlpackage"):
        World.load(folder, backend="coreml")
    (tmp_path / "x.mlpackage").mkdir()
    for name in ("x.mlpackage", "absent.mlpackage"):
        with pytest.raises(MlxworldError, match="cannot read"):
            read_package(tmp_path / name)


@pytest.mark.parametrize("options", [{"batch": 2}, {"precision": "float32"}, {"steps": 4}, {"kv_cache": "int8"}])
def test_options_that_conversion_has_settled(decoder, options):
    with pytest.raises(MlxworldError, match="settled when a world is converted"):
        CoreMLPlayer(decoder, SMALL, Options(**options))
