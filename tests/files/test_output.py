"""What a converter writes is whole or not there, and what stood there comes back when the new cannot take its place."""

import os
from pathlib import Path

import pytest

from mlxworld import MlxworldError
from mlxworld.files.output import whole


def write(path: Path, text: str, force: bool = False) -> None:
    with whole(path, force, mark="mark") as part:
        part.mkdir()
        (part / "mark").write_text(text)


@pytest.fixture
def folder(tmp_path):
    write(tmp_path / "x.kind", "old")
    return tmp_path / "x.kind"


def test_a_folder_is_replaced_whole(folder):
    (folder / "left").touch()
    write(folder, "new", force=True)
    assert os.listdir(folder) == ["mark"] and (folder / "mark").read_text() == "new"
    assert os.listdir(folder.parent) == ["x.kind"]


@pytest.mark.parametrize("failing", [1, 2])
def test_the_old_folder_is_back_when_a_move_fails(folder, monkeypatch, failing):
    """Whichever of the two moves fails: the old one's out of the way, the new one's into its place."""
    moves, replace = [], Path.replace

    def move(self, target):
        moves.append(target)
        if len(moves) == failing:
            raise OSError(5, "Input/output error")
        return replace(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", move)
        with pytest.raises(MlxworldError, match=r"cannot write .*: Input/output error"):
            write(folder, "new", force=True)
    assert (folder / "mark").read_text() == "old" and os.listdir(folder.parent) == ["x.kind"]


def test_what_a_killed_run_left_does_not_matter(folder):
    (folder.parent / ".x.part.kind").mkdir()
    (folder.parent / ".x.old.kind").mkdir()
    write(folder, "new", force=True)
    assert (folder / "mark").read_text() == "new" and os.listdir(folder.parent) == ["x.kind"]


def test_only_what_a_converter_wrote_is_replaced(folder, tmp_path):
    with pytest.raises(MlxworldError, match="exists already"):
        write(folder, "new")
    (folder / "mark").unlink()
    (folder / "photo").touch()
    with pytest.raises(MlxworldError, match="something else"):
        write(folder, "new", force=True)
    (tmp_path / "file").touch()
    with pytest.raises(MlxworldError, match="cannot write"):
        write(tmp_path / "file" / "x", "new")
    assert os.listdir(folder) == ["photo"]
