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


def test_a_run_that_was_killed_between_the_moves(folder):
    """The old folder stood aside when the run died: it comes back, and is not replaced unasked."""
    folder.rename(folder.parent / ".x.old.kind")
    with pytest.raises(MlxworldError, match="exists already"):
        write(folder, "new")
    assert (folder / "mark").read_text() == "old"
    folder.rename(folder.parent / ".x.old.kind")
    write(folder, "new", force=True)
    assert (folder / "mark").read_text() == "new" and os.listdir(folder.parent) == ["x.kind"]


def test_a_folder_that_holds_more_is_not_replaced(folder):
    """A run has a config.json as a world has; its checkpoint must not go with it."""

    def replace():
        with whole(folder, True, mark="mark", files=["mark", "*.part"]) as part:
            part.mkdir()

    for name in ("a.part", ".DS_Store"):
        (folder / name).touch()
    (folder / "check\x1bpoint").touch()
    with pytest.raises(MlxworldError, match=r"holds something else too \('check\\x1bpoint'\)"):
        replace()
    assert len(os.listdir(folder)) == 4
    (folder / "check\x1bpoint").unlink()
    replace()
    assert os.listdir(folder) == []


def test_of_a_link_only_the_link_is_replaced(folder, tmp_path):
    link = tmp_path / "link"
    for target in (folder, tmp_path / "nothing", link):
        link.symlink_to(target)
        with pytest.raises(MlxworldError, match="exists already"):
            write(link, "new")
        write(link, "new", force=True)
        assert not link.is_symlink() and (link / "mark").read_text() == "new"
        (link / "mark").unlink()
        link.rmdir()
    assert (folder / "mark").read_text() == "old" and os.listdir(tmp_path) == ["x.kind"]


def test_what_cannot_be_looked_into(folder, tmp_path, monkeypatch):
    for path in (Path("/"), Path("/..")):
        with pytest.raises(MlxworldError, match="something else"):
            write(path, "new", force=True)
    with pytest.raises(MlxworldError, match=r"cannot write .*name too long"):
        write(tmp_path / ("x" * 300), "new")

    def denied(_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "listdir", denied)
    with pytest.raises(MlxworldError, match=r"cannot write .*Permission denied"):
        write(folder, "new", force=True)


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
