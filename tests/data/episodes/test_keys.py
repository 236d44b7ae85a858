"""Films with keys of their own, put into a dataset."""

import os

import numpy as np
import pytest

from mlxworld.data import open_frames
from mlxworld.data.episodes.actions import actions_file, read_names
from mlxworld.data.episodes.films import add_film, film_actions, frame_times
from mlxworld.data.episodes.media import write_clip
from mlxworld.errors import MlxworldError

FPS, T = 10, 30


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    path = tmp_path_factory.mktemp("films") / "mine.mp4"
    rng = np.random.default_rng(0)
    sound = rng.uniform(-0.1, 0.1, (T, 64)).astype(np.float32)
    write_clip(path, rng.integers(0, 255, (T, 32, 32, 3), dtype=np.uint8), sound, FPS, 640)
    return path


def keys(folder, text):
    path = folder / "keys.csv"
    path.write_text(text)
    return path


def test_the_time_of_each_picture(film):
    assert np.allclose(frame_times(film), np.arange(T) / FPS)


def test_one_row_for_each_frame(film, tmp_path):
    names = [["noop", "up"][i % 2] for i in range(T)]
    rows = "".join(f"{name}\n" for name in names)
    assert film_actions(film, keys(tmp_path, f"action\n{rows}")) == names
    stepped = "".join(f"{i},{name}\n" for i, name in enumerate(names))
    assert film_actions(film, keys(tmp_path, f"step,action\n{stepped}")) == names


def test_an_action_lasts_until_the_next(film, tmp_path):
    found = film_actions(film, keys(tmp_path, "action,time\nup,0.5\nnoop,2\n\ndown,1\n"))
    assert found == ["noop"] * 5 + ["up"] * 5 + ["down"] * 10 + ["noop"] * 10


def test_held_keys_are_one_action(film, tmp_path):
    """A key that goes down twice is held once; what is held together is named together, in the order of letters."""
    rows = "0.5,right,1\n0.7,jump,down\n0.8,jump,TRUE\n1.0,jump,0\n1.5,right,up\n1.5,left,1\n1.5,left,0\n"
    found = film_actions(film, keys(tmp_path, f"time,key,down\n{rows}"))
    held = ["noop"] * 5 + ["right"] * 2 + ["jump+right"] * 3 + ["right"] * 5 + ["noop"] * 15
    assert found == held


def test_a_film_becomes_an_episode(film, tmp_path):
    data = tmp_path / "data"
    there = add_film(film, keys(tmp_path, "time,action\n1,up\n"), data)
    assert there == data / "mine.mp4" and there.read_bytes() == film.read_bytes()
    assert read_names(actions_file(there)) == ["noop"] * 10 + ["up"] * 20
    stamp = there.stat().st_mtime_ns, there.stat().st_ino
    assert add_film(film, None, data) == there and (there.stat().st_mtime_ns, there.stat().st_ino) == stamp
    frames = open_frames(data, size=32)
    assert frames.info.actions == ("noop", "up") and set(frames.actions) == {0, 1}


def test_where_no_link_can_be_made_the_film_is_copied(film, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "link", lambda *paths: (_ for _ in ()).throw(OSError("another disk")))
    there = add_film(film, None, tmp_path / "data")
    assert there.read_bytes() == film.read_bytes() and there.stat().st_ino != film.stat().st_ino
    assert [p.name for p in (tmp_path / "data").iterdir()] == ["mine.mp4"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("action\nup\n", r"1 rows, but .*mine.mp4 has 30 frames"),
        ("time,key\n1,up\n", "needs the columns step, action, or time, action, or time, key, down"),
        ("time,action\nsoon,up\n", "'soon' is no number of seconds"),
        ("time,action\nnan,up\n", "'nan' is no number of seconds"),
        ("time,action\n1\n", "is no row of time, action"),
        ("time,action\n1,up,2\n", "is no row of time, action"),
        ("time,key,down\n1,up,2\n", "down is 1 or 0, not '2'"),
        ("", "needs one column"),
    ],
)
def test_keys_that_cannot_be_used_are_told_and_nothing_is_written(film, tmp_path, text, message):
    with pytest.raises(MlxworldError, match=message) as raised:
        add_film(film, keys(tmp_path, text), tmp_path / "data")
    assert "\n" not in str(raised.value) and not (tmp_path / "data").exists()


def test_what_is_no_film_is_told(tmp_path):
    with pytest.raises(MlxworldError, match="no such file"):
        add_film(tmp_path / "absent.mp4", None, tmp_path / "data")
