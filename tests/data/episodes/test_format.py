"""Datasets as folders: recordings, and what people have lying about."""

import io
import json
from dataclasses import replace

import numpy as np
import pytest

from mlxworld.data import (
    DatasetInfo,
    Episode,
    dataset_info,
    episodes,
    open_frames,
    read_episode,
    read_info,
    write_episode,
    write_info,
)
from mlxworld.data.episodes.media import to_float32
from mlxworld.errors import MlxworldError
from tests.data.episodes.films import beeps, camera_film, moving

INFO = DatasetInfo(30, 1024, (32, 48), ("noop", "up", "down"), "a game", "CC0-1.0", {"seed": 3})


def an_episode(T=20, seed=0):
    actions = np.random.default_rng(seed).integers(0, 3, T).astype(np.int32)
    return Episode(moving(T, seed=seed), beeps(T, 1024, seed), actions, {"position": np.arange(2.0 * T).reshape(T, 2)})


def test_an_episode_comes_back_with_actions_and_state(tmp_path):
    write_info(tmp_path, INFO)
    write_episode(tmp_path, "one", an_episode(), INFO)
    assert read_info(tmp_path) == INFO == dataset_info(tmp_path)
    assert json.loads((tmp_path / "dataset.json").read_text())["sample_rate"] == 30720
    found = read_episode(tmp_path, "one")
    assert (found.actions == an_episode().actions).all() and found.actions.dtype == np.int32
    assert (found.state["position"] == an_episode().state["position"]).all()
    assert np.abs(found.video.astype(int) - an_episode().video).max() <= 8
    lines = (tmp_path / "one.actions.csv").read_text().splitlines()
    assert lines[0] == "step,action" and lines[1] == f"0,{INFO.actions[found.actions[0]]}" and len(lines) == 21


def test_at_half_the_rate_each_step_has_the_action_of_the_frame_it_shows(tmp_path):
    write_info(tmp_path, INFO)
    write_episode(tmp_path, "one", an_episode(), INFO)
    info = dataset_info(tmp_path, fps=15)
    assert (info.fps, info.samples, info.sample_rate) == (15, 2048, 30720)
    found = read_episode(tmp_path, "one", info)
    assert (found.actions == an_episode().actions[1::2]).all() and found.audio.shape == (10, 2048)
    with pytest.raises(MlxworldError, match="equal steps"):
        dataset_info(tmp_path, fps=7)


def test_frames_a_second_may_be_a_fraction(tmp_path):
    info = replace(INFO, fps=17.5, samples=1260)
    assert info.sample_rate == 22050
    rng = np.random.default_rng(0)
    episode = replace(an_episode(), audio=to_float32(rng.integers(-9999, 9999, (20, 1260)).astype(np.int16)))
    write_info(tmp_path, info)
    write_episode(tmp_path, "one", episode, info)
    assert read_info(tmp_path) == info
    entries = json.loads((tmp_path / "dataset.json").read_text())
    assert entries["fps"] == 17.5 and entries["sample_rate"] == 22050
    found = open_frames(tmp_path, workers=1)
    assert found.info == info and (found.sound(slice(None)) == episode.audio).all()
    assert (found.actions == episode.actions).all()
    assert np.abs(found.video.astype(int) - episode.video).max() <= 8
    assert dataset_info(tmp_path, fps=8.75).samples == 2520
    (tmp_path / "dataset.json").write_text(json.dumps(entries | {"fps": 17.33, "sample_rate": 21836}))
    with pytest.raises(MlxworldError, match="fps times samples must be a whole number"):
        read_info(tmp_path)


def test_whole_frames_a_second_stay_whole_numbers(tmp_path):
    write_info(tmp_path, INFO)
    assert '"fps": 30,' in (tmp_path / "dataset.json").read_text()
    info = read_info(tmp_path)
    assert info and type(info.fps) is int


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ("step,action\n0,noop\n", "1 rows"),
        ("action\n" + "up\n" * 21, "21 rows"),
        ("action\n" + "jump\n" * 20, "jump"),
        ("step,key\n" + "0,up\n" * 20, 'needs one column "action"'),
        ("", 'needs one column "action"'),
        (None, "no one.actions.csv"),
    ],
)
def test_actions_that_do_not_fit_their_video(tmp_path, rows, says):
    write_info(tmp_path, INFO)
    write_episode(tmp_path, "one", an_episode(), INFO)
    path = tmp_path / "one.actions.csv"
    path.unlink() if rows is None else path.write_text(rows)
    with pytest.raises(MlxworldError, match=says) as caught:
        read_episode(tmp_path, "one")
    assert "one" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"version": 1}', '{"version": 99}', '{"version": 1, "size": 3}'])
def test_a_broken_dataset_json_is_one_line(tmp_path, text):
    (tmp_path / "dataset.json").write_text(text)
    with pytest.raises(MlxworldError, match=r"dataset\.json") as caught:
        read_info(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("change", [{"fps": 0}, {"samples": 0}, {"size": (0, 4)}, {"actions": ()}])
def test_a_dataset_json_without_sense(tmp_path, change):
    write_info(tmp_path, replace(INFO, **change))
    with pytest.raises(MlxworldError, match=r"dataset\.json"):
        read_info(tmp_path)


def test_a_folder_of_ones_own_videos(tmp_path):
    (tmp_path / "trip").mkdir()
    (tmp_path / ".hidden").mkdir()
    for name in ("b.MP4", "trip/a.mkv", ".hidden/c.mp4"):
        camera_film(tmp_path / name, moving(25, (48, 64)), 25)
    (tmp_path / "notes.txt").write_text("not a video")
    assert [str(path.relative_to(tmp_path)) for path in episodes(tmp_path)] == ["b.MP4", "trip/a.mkv"]
    info = dataset_info(tmp_path)
    assert (info.actions, info.fps, info.samples, info.size) == (("noop",), 30, 1024, (128, 128))
    found = read_episode(tmp_path, "trip/a.mkv")
    assert found.video.shape == (30, 128, 128, 3) and not found.actions.any() and not found.audio.any()


def test_ones_own_videos_with_actions(tmp_path):
    camera_film(tmp_path / "a.mp4", moving(30), 30)
    (tmp_path / "a.actions.csv").write_text("action\n" + "walk\n" * 10 + "noop\n" * 10 + "jump\n" * 10)
    assert dataset_info(tmp_path).actions == ("noop", "jump", "walk")
    assert read_episode(tmp_path, "a.mp4").actions.tolist() == [2] * 10 + [0] * 10 + [1] * 10


def test_an_episode_of_another_shape_is_not_written(tmp_path):
    with pytest.raises(MlxworldError, match="shapes"):
        write_episode(tmp_path, "one", an_episode(), replace(INFO, samples=512))
    assert not list(tmp_path.iterdir())


def test_a_state_file_that_is_none_is_one_line(tmp_path):
    write_info(tmp_path, INFO)
    write_episode(tmp_path, "one", an_episode(3), INFO)
    path = tmp_path / "one.state.npz"
    np.savez_compressed(path, ball=np.random.default_rng(0).random((3, 400)))
    whole = path.read_bytes()
    row = io.BytesIO()
    np.save(row, np.zeros(3))
    middle = len(whole) // 2
    flipped = whole[:middle] + bytes(b ^ 255 for b in whole[middle : middle + 64]) + whole[middle + 64 :]
    for blob in (b"", row.getvalue(), whole[:-30], flipped, b"PK\3\4"):
        path.write_bytes(blob)
        with pytest.raises(MlxworldError, match=r"one\.state\.npz"):
            read_episode(tmp_path, "one", INFO)
