"""Actions files: rows go by their steps, names are names, and what was written comes back."""

import os

import numpy as np
import pytest

from mlxworld.configs.actions import ActionSpace
from mlxworld.data.episodes.actions import actions_file, read_actions, read_names, write_actions
from mlxworld.errors import MlxworldError


@pytest.fixture
def film(tmp_path):
    return tmp_path / "a.mp4"


def names(film, text):
    actions_file(film).write_text(text)
    return read_names(actions_file(film))


def refused(film, text, says):
    with pytest.raises(MlxworldError, match=says) as caught:
        names(film, text)
    line = str(caught.value)
    assert "a.actions.csv" in line and line.isprintable()


def test_rows_go_by_their_steps(film):
    rows = [f"{step},{name}" for step, name in enumerate(("noop", "up", "down"))]
    assert names(film, "\n".join(["step,action", *reversed(rows)])) == ["noop", "up", "down"]
    assert names(film, "action,step\nup,1\nnoop,0\n") == ["noop", "up"]
    assert names(film, "\ufeff step , action \n0, up\n") == ["up"]
    assert names(film, "action\nup\nnoop\n") == ["up", "noop"]


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ("0,up\n0,up\n1,up", "step 0 is there twice"),
        ("0,up\n1,up\n1,down", "step 1 is there twice"),
        ("1,up\n2,up", "step 0 is missing, the next is 1"),
        ("0,up\n2,up", "step 1 is missing, the next is 2"),
        ("-1,up\n0,up", "'-1' is no number of a step"),
        ("0.5,up", "'0.5' is no number"),
        (",up", "'' is no number"),
        ("99999999999999999999999,up", "is no number"),
    ],
)
def test_steps_that_do_not_count(film, rows, says):
    refused(film, f"step,action\n{rows}\n", says)


@pytest.mark.parametrize("cell", ["", "  ", "a\x00b", '"a\nb"', "\x1b[31mred", '""'])
def test_a_cell_that_is_no_name(film, cell):
    refused(film, f"step,action\n0,up\n1,{cell}\n", r"row 2: .* is no name of an action|not a readable csv")


def test_empty_lines(film):
    """Where steps count the rows an empty line is none, as at the end; in a single column it is an empty cell."""
    assert names(film, "step,action\r\r\n0,up\r\r\n\n1,noop\n\n\n") == ["up", "noop"]
    assert names(film, "action\nup\nnoop\n\n\n") == ["up", "noop"]
    refused(film, "action\nup\n\nnoop\n", "row 2: '' is no name")


def test_a_row_that_is_too_long(film):
    """A name with a comma that is not in quotes would be another action."""
    refused(film, "step,action\n0,up\n1,left,fire\n", "row 2 has more cells than the head")
    assert names(film, "step,action\n0,up,,\n") == ["up"]


def test_what_is_no_csv_file(film, monkeypatch):
    """A pipe would be waited for, and a file without end be read."""
    path = actions_file(film)
    for make in (lambda: os.mkfifo(path), lambda: path.symlink_to("/dev/zero"), path.mkdir):
        make()
        with pytest.raises(MlxworldError, match=r"a\.actions\.csv"):
            read_names(path)
        path.rmdir() if path.is_dir() else path.unlink()
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(MlxworldError, match=r"a\.actions\.csv is too large"):
        read_names(path)


def test_a_row_that_is_too_short(film):
    refused(film, "step,action\n0,up\n1\n", "row 2: '' is no name")


@pytest.mark.parametrize("head", ["", "step,key", "action,action", "step,step,action"])
def test_columns_that_are_not_there_or_twice(film, head):
    refused(film, f"{head}\n0,up,1\n", 'needs one column "action"')


def test_what_is_written_comes_back(film):
    said = ["up", "left,fire", 'say "hi"', "FIRE", "fire", "42"]
    write_actions(film, ActionSpace(tuple(said)), [np.array(i) for i in range(len(said))])
    assert read_names(actions_file(film)) == said
    assert read_actions(film, ActionSpace(tuple(said)), np.array([1, 1, 3, 5])).tolist() == [1, 1, 3, 5]
