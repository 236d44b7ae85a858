"""The decoded cache: made once, whole or not at all; broken files are named, skipped and counted, the rest is kept."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from mlxworld.data import DatasetInfo, Episode, open_frames, read_episode, write_clip, write_episode, write_info
from mlxworld.data.episodes.decode import Decoders
from mlxworld.errors import MlxworldError
from tests.data.episodes.films import beeps, camera_film, moving

INFO = DatasetInfo(30, 1024, (32, 48), ("noop", "up", "down"), "a game")


@pytest.fixture
def dataset(tmp_path) -> Path:
    """Three good episodes of 12, 20 and 7 frames."""
    write_info(tmp_path, INFO)
    for name, T in (("a", 12), ("b", 20), ("c", 7)):
        actions = np.random.default_rng(T).integers(0, 3, T).astype(np.int32)
        write_episode(tmp_path, name, Episode(moving(T, seed=T), beeps(T, 1024, T), actions), INFO)
    return tmp_path


def caches(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / ".cache").iterdir())


@pytest.mark.parametrize("workers", [1, 3])
def test_the_cache_holds_what_the_episodes_hold(dataset, workers):
    cache = open_frames(dataset, workers=workers)
    assert cache.names == ("a.mp4", "b.mp4", "c.mp4") and cache.spans() == [(0, 12), (12, 32), (32, 39)]
    assert cache.longest == 20 and cache.skipped == cache.silent == () and cache.info == INFO
    for e, name in enumerate("abc"):
        want, got = read_episode(dataset, name), cache.episode(e)
        assert (got.video == want.video).all() and (got.actions == want.actions).all()
        assert (got.audio == want.audio).all() and got.audio.dtype == np.float32
    rows = np.array([[3, 30], [0, 38]])
    assert (cache.sound(rows) == cache.audio[rows] / 32768).all() and cache.video[rows].shape == (2, 2, 32, 48, 3)
    assert isinstance(cache.video, np.memmap) and not cache.video.flags.writeable


def test_it_is_made_once_for_each_setting_and_content(dataset):
    open_frames(dataset, workers=1)
    (first,) = caches(dataset)
    made = (dataset / ".cache" / first / "video.npy").stat().st_mtime_ns
    open_frames(dataset, workers=1)
    assert caches(dataset) == [first] and (dataset / ".cache" / first / "video.npy").stat().st_mtime_ns == made
    small = open_frames(dataset, size=16, fps=15, workers=1)
    assert small.video.shape[1:] == (16, 16, 3) and small.info.samples == 2048 and len(caches(dataset)) == 2
    write_episode(dataset, "d", Episode(moving(9), beeps(9, 1024), np.zeros(9, np.int32)), INFO)
    assert len(open_frames(dataset, workers=1).names) == 4
    assert len(caches(dataset)) == 2 and first not in caches(dataset)  # the stale one is gone
    write_episode(dataset, "a", Episode(moving(12, seed=5), beeps(12, 1024), np.full(12, 2, np.int32)), INFO)
    assert (open_frames(dataset, workers=1).actions[:12] == 2).all() and len(caches(dataset)) == 2


def test_broken_files_are_named_skipped_and_counted(dataset, capfd):
    good = (dataset / "b.mp4").read_bytes()
    for name, data in {"empty": b"", "cut": good[: len(good) // 2], "text": b"hello" * 99}.items():
        (dataset / f"{name}.mp4").write_bytes(data)
        (dataset / f"{name}.actions.csv").write_text("action\n" + "up\n" * 20)
    write_clip(dataset / "noactions.mp4", moving(5), beeps(5, 1024), 30, 30720)
    camera_film(dataset / "silent.mp4", moving(30, (34, 52)), 30)
    (dataset / "silent.actions.csv").write_text("action\n" + "up\n" * 30)
    cache = open_frames(dataset, workers=2)
    assert cache.names == ("a.mp4", "b.mp4", "c.mp4", "silent.mp4") and cache.silent == ("silent.mp4",)
    assert len(cache.video) == 69 and not cache.episode(3).audio.any()
    for name in ("empty.mp4", "cut.mp4", "text.mp4", "noactions.mp4"):
        assert sum(name in line for line in cache.skipped) == 1
    said = capfd.readouterr().err
    assert all(line in said for line in cache.skipped) and "4 of 8 skipped, 1 without sound" in said
    assert open_frames(dataset).skipped == cache.skipped


def test_a_folder_with_nothing_to_use(tmp_path):
    with pytest.raises(MlxworldError, match="no such folder"):
        open_frames(tmp_path / "absent")
    with pytest.raises(MlxworldError, match="holds no video"):
        open_frames(tmp_path)
    (tmp_path / "a.mp4").touch()
    with pytest.raises(MlxworldError, match="none of its 1 videos can be used"):
        open_frames(tmp_path)
    assert caches(tmp_path) == []


def test_the_actions_must_be_a_checkpoints(dataset):
    cache = open_frames(dataset, workers=1)
    cache.info.require_actions(["noop", "up", "down"])
    for names in (["noop"], ["noop", "down", "up"], ["noop", "up", "down", "fire"]):
        with pytest.raises(MlxworldError, match="noop, up, down") as caught:
            cache.info.require_actions(names)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("fps", "first"), [(30, 6), (15, 3), (10, 2), (60, 12)])
def test_a_rare_moment_is_rare_at_every_rate(dataset, fps, first):
    """Frame 6 of 12: the step that shows it, or where it is left out, the next one."""
    np.savez(dataset / "a.state.npz", rare=np.arange(12) == 6)
    assert open_frames(dataset, fps=fps, workers=1).rare.tolist() == [first]


def test_a_state_of_other_frames_has_no_rare_moments(dataset, capfd):
    for rare in (np.ones(14, bool), np.ones(11, bool), np.ones(12, int), np.ones((12, 1), bool), np.ones((), bool)):
        np.savez(dataset / "a.state.npz", rare=rare)
        assert open_frames(dataset, workers=1).rare.tolist() == []
        assert "a.state.npz: rare is" in capfd.readouterr().err


def test_a_decoder_that_dies_takes_one_file_with_it(dataset, tmp_path):
    os.mkfifo(tmp_path / "trap")
    common = {"size": (32, 48), "fps": 30, "samples": 1024, "space": (INFO.actions, (), ())}
    with Decoders(1) as decoders:
        trapped = decoders.submit({"path": str(tmp_path / "trap"), "to": str(tmp_path / "0"), **common})
        after = decoders.submit({"path": str(dataset / "a.mp4"), "to": str(tmp_path / "1"), **common})
        until = time.monotonic() + 20
        while not (tmp_path / "0.video").exists() and time.monotonic() < until:
            time.sleep(0.02)
        decoders._all[0].kill()
        assert "trap: its decoder ended unexpectedly" in trapped.result(20)["error"]
        assert after.result(20) == {"frames": [12], "sound": True, "rare": [], "notes": []}


BUILD = """
import resource, sys
from mlxworld.cli import entry
from mlxworld.data import open_frames
LIMIT
entry(lambda: open_frames(sys.argv[1], workers=1))
"""


def test_a_full_disk_leaves_no_cache_and_no_debris(dataset):
    limit = "resource.setrlimit(resource.RLIMIT_FSIZE, (60000, 60000))"
    words = [sys.executable, "-c", BUILD.replace("LIMIT", limit), str(dataset)]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 2 and "cannot be written" in done.stderr.splitlines()[-1]
    assert caches(dataset) == []
    assert len(open_frames(dataset, workers=1).names) == 3


def test_killed_while_decoding_it_is_made_anew(dataset):
    waits = "import mlxworld.files.atomic as c; c.write = lambda *a: print(1, flush=True) or sys.stdin.read()"
    words = [sys.executable, "-c", BUILD.replace("LIMIT", waits), str(dataset)]
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout and process.stdout.readline() == b"1\n"  # all is decoded, cache.json is not written
    process.kill()
    process.communicate()
    (left,) = caches(dataset)
    assert left.startswith(".")
    assert len(open_frames(dataset, workers=1).names) == 3
    assert len(caches(dataset)) == 1 and left not in caches(dataset)
