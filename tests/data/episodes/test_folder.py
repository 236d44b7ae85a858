"""Folders of films: links, trainings within, other files, and where the decoded frames go."""

import json
import os

import numpy as np
import pytest

from mlxworld.data import (
    DatasetInfo,
    dataset_info,
    episodes,
    open_frames,
    read_clip,
    read_info,
    write_clip,
    write_info,
)
from mlxworld.data.episodes.folder import listing
from mlxworld.errors import MlxworldError
from tests.data.episodes.films import camera_film, numbered


def film(path, frames=6):
    path.parent.mkdir(parents=True, exist_ok=True)
    return camera_film(path, numbered(frames), 30)


def names(folder):
    return [str(path.relative_to(folder)) for path in episodes(folder)]


def test_links_to_folders_are_followed_once(tmp_path):
    film(tmp_path / "films/a.mp4")
    film(tmp_path / "films/deep/b.mp4")
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "films").symlink_to(tmp_path / "films")
    (tmp_path / "films/deep/up").symlink_to(tmp_path / "films")  # a loop
    (mine / "itself").symlink_to(mine)
    (mine / "again").symlink_to(tmp_path / "films/deep")
    (mine / "nowhere.mp4").symlink_to(tmp_path / "absent.mp4")
    assert sorted(os.path.basename(name) for name in names(mine)) == ["a.mp4", "b.mp4"]
    store = open_frames(mine, size=32, workers=1)
    assert len(store.names) == 2 and len(store.video) == 12


def test_what_cannot_be_followed_is_named(tmp_path, monkeypatch):
    """Links that lead nowhere or to themselves, pipes, and folders that are another user's."""
    film(tmp_path / "a.mp4")
    (tmp_path / "gone.mp4").symlink_to(tmp_path / "absent.mp4")
    (tmp_path / "gone").symlink_to(tmp_path / "absent")
    (tmp_path / "round").symlink_to(tmp_path / "round")
    os.mkfifo(tmp_path / "pipe.mp4")
    film(tmp_path / "closed/b.mp4")
    scan = os.scandir

    def scandir(path):
        if os.path.basename(path) == "closed":
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", scandir)
    found = listing(tmp_path)
    assert [path.name for path in found.films] == ["a.mp4"] and found.others == ()
    assert [path.name for path in found.dead] == ["closed", "gone", "gone.mp4", "pipe.mp4", "round"]
    assert found.unused == ["5 links or folders cannot be followed: 'closed', 'gone', 'gone.mp4' and 2 more"]


def test_names_of_any_bytes_are_told_in_one_line(tmp_path, capsys):
    """Films and folders whose names are no text, or would colour a terminal."""
    for name in (b"\xff.mp4", b"red\x1b[31m.mp4", b"two\nlines.mp4"):
        (tmp_path / os.fsdecode(name)).write_bytes(b"no film")
    film(tmp_path / os.fsdecode(b"good\xff\x1b[0m\n.mp4"))
    assert len(open_frames(tmp_path, size=32, workers=1).video) == 6
    told = capsys.readouterr().err
    assert "\x1b[31m" not in told and "\x1b[0m\\n" not in told
    assert [line[:7] for line in told.splitlines()].count("skipped") == 3
    assert all("not a readable video" in line for line in told.splitlines() if line.startswith("skipped"))


def test_a_relative_name_with_a_colon_is_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    film(tmp_path / "plain.mp4")
    (tmp_path / "plain.mp4").rename(tmp_path / "12:30 take.mp4")
    video, audio = read_clip("12:30 take.mp4", (32, 32), 30, 1024)
    assert len(video) == 6
    write_clip("b:c.mp4", video, audio, 30, 30720)
    assert len(read_clip("b:c.mp4", (32, 32), 30, 1024)[0]) == 6


def test_the_pictures_of_a_training_are_no_data(tmp_path, capsys):
    film(tmp_path / "a.mp4")
    for run in ("run", "deep/other"):
        film(tmp_path / run / "samples/final.mp4")
        (tmp_path / run / "train.json").write_text("{}")
    assert names(tmp_path) == ["a.mp4"]
    assert len(open_frames(tmp_path, size=32, workers=1).video) == 6
    told = capsys.readouterr().err
    assert told.count("a training's folder is not read as data") == 2
    assert names(tmp_path / "run") == ["samples/final.mp4"], "who asks for it gets it"


def test_what_is_not_used_is_counted(tmp_path, capsys):
    for name in ("a.mp4", "b.ts", "c.GIF"):
        (tmp_path / name).touch()
    film(tmp_path / "d.mkv")
    (tmp_path / "d.actions.csv").write_text("action\n" + "noop\n" * 6)
    (tmp_path / "stray.actions.csv").write_text("action\n")
    for name in ("one.txt", "two.TXT", "LICENSE", ".hidden", "photo.jpg"):
        (tmp_path / name).touch()
    found = listing(tmp_path)
    assert [path.name for path in found.films] == ["a.mp4", "b.ts", "c.GIF", "d.mkv"]
    line = "5 files are no films and not used (2 .txt, 1 without suffix, 1 .jpg, 1 .csv)"
    assert sorted(found.unused[0]) == sorted(line) and found.unused[0].startswith("5 files are no films")
    open_frames(tmp_path, size=32, workers=1)
    assert "5 files are no films and not used" in capsys.readouterr().err


def test_a_folder_without_films_says_what_it_knows_and_what_it_holds(tmp_path):
    (tmp_path / "a.rar").touch()
    with pytest.raises(MlxworldError, match=r"holds no video \(\.mp4 .*\.ts.*\); 1 files are no films .*1 \.rar"):
        open_frames(tmp_path)


INFO = DatasetInfo(30, 1024, (32, 48), ("noop", "up"))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("fps", 29.97),
        ("fps", True),
        ("fps", "30"),
        ("fps", 0),
        ("fps", 10**9),
        ("samples", 10**9),
        ("samples", 1024.5),
        ("size", [32]),
        ("size", [32.5, 48]),
        ("size", [32, 10**6]),
        ("size", 32),
        ("actions", "noop"),
        ("actions", ["up", "up"]),
        ("actions", ["up", ""]),
        ("actions", ["up", 3]),
        ("actions", ["a\nb"]),
        ("actions", []),
        ("source", 3),
        ("recording", []),
        ("version", 2),
        ("version", "1"),
        ("sample_rate", 48000),
        ("sample_rate", "30720"),
    ],
)
def test_a_dataset_json_with_an_odd_value_is_one_line(tmp_path, field, value):
    write_info(tmp_path, INFO)
    assert read_info(tmp_path) == INFO
    entries = json.loads((tmp_path / "dataset.json").read_text()) | {field: value}
    (tmp_path / "dataset.json").write_text(json.dumps(entries))
    with pytest.raises(MlxworldError, match=field if field != "actions" else "action") as caught:
        read_info(tmp_path)
    assert "dataset.json" in str(caught.value) and str(caught.value).isprintable()


@pytest.mark.parametrize("fps", [-1, 0, 29.97, True, "30", 10**9, float("nan")])
def test_frames_a_second_that_cannot_be(tmp_path, fps):
    film(tmp_path / "a.mp4")
    for call in (dataset_info, open_frames):
        with pytest.raises(
            MlxworldError, match=r"number from 1 to 500|fps must be from 1 to 500|equal steps|a whole number"
        ):
            call(tmp_path, fps=fps)
    assert not (tmp_path / ".cache").exists()


def test_data_that_cannot_be_written_beside_is_kept_for_the_user(tmp_path, monkeypatch):
    film(tmp_path / "films/a.mp4")
    (tmp_path / "films/.cache").write_text("no folder can be made here, as on a read-only disk")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    first = open_frames(tmp_path / "films", size=32, workers=1)
    assert len(first.video) == 6 and list((tmp_path / "user/mlxworld/frames").glob("films-*/*/video.npy"))
    own = open_frames(tmp_path / "films", size=32, workers=1, cache=tmp_path / "own")
    assert np.array_equal(own.video, first.video) and list((tmp_path / "own").glob("films-*/*/video.npy"))


def test_datasets_in_one_cache_keep_apart(tmp_path):
    """A second dataset of the same settings replaces its own decoded frames only."""
    for name, frames in (("a", 6), ("b", 9)):
        film(tmp_path / name / "1.mp4", frames)
    cache = tmp_path / "cache"
    first, _ = (open_frames(tmp_path / name, size=32, workers=1, cache=cache) for name in "ab")
    assert len(list(cache.glob("*/*/video.npy"))) == 2
    film(tmp_path / "b/2.mp4", 3)
    assert len(open_frames(tmp_path / "b", size=32, workers=1, cache=cache).video) == 12
    assert len(list(cache.glob("*/*/video.npy"))) == 2 and len(first.video) == 6


def test_a_cache_whose_arrays_are_empty_is_one_line(tmp_path):
    film(tmp_path / "a.mp4")
    open_frames(tmp_path, size=32, workers=1)
    next(tmp_path.glob(".cache/*/audio.npy")).write_bytes(b"")
    with pytest.raises(MlxworldError, match=r"broken cache .*remove it"):
        open_frames(tmp_path, size=32)


def test_hidden_files_of_others_in_the_cache_stay(tmp_path):
    film(tmp_path / "a.mp4")
    for name in (".sync.tmp", ".DS_Store", ".a.b.99999999999999999999"):
        (tmp_path / ".cache").mkdir(exist_ok=True)
        (tmp_path / ".cache" / name).write_text("theirs")
    assert len(open_frames(tmp_path, size=32, workers=1).video) == 6
    assert len(list((tmp_path / ".cache").glob(".*"))) == 3
