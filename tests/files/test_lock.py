"""One writer a folder: the second is told of the first, and the lock goes with its process, however that ends."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mlxworld import MlxworldError, record
from mlxworld.files.lock import writer

HOLDER = """
import sys
from pathlib import Path
from mlxworld.files.lock import writer
with writer(Path(sys.argv[1]), "is being trained"):
    print("locked", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that writes to tmp_path / "run" until its input ends."""
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "run")]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "locked\n"
    yield process
    process.kill()
    process.communicate()


def writes(folder: Path) -> None:
    with writer(folder, "is being trained"):
        (folder / "written").write_text("x")


@pytest.mark.parametrize("end", ["SIGKILL", "its end"])
def test_a_second_writer_is_refused_until_the_first_is_gone(tmp_path, holder, end):
    run = tmp_path / "run"
    (tmp_path / "link").symlink_to(run)
    for folder in (run, tmp_path / "link", tmp_path / "link/../run"):
        with pytest.raises(MlxworldError) as error:
            writes(folder)
        assert str(error.value) == f"{folder} is being trained by process {holder.pid}"
    assert not (run / "written").exists()
    if end == "SIGKILL":
        holder.send_signal(signal.SIGKILL)
    holder.communicate()
    writes(run)
    assert [path.name for path in run.iterdir()] == ["written"], "nothing is left of the lock"


def test_a_second_recording_is_refused_and_none_is_harmed(tmp_path, holder):
    words = ["bounce", "--steps", "20", "--size", "32", "--workers", "1", "--out"]
    record.main([*words, str(tmp_path / "other")])
    before = sorted(path.name for path in (tmp_path / "run").iterdir())
    for more in ([], ["--append"], ["--force"]):
        with pytest.raises(MlxworldError, match=rf"run is being recorded by process {holder.pid}$"):
            record.main([*words, str(tmp_path / "run"), *more])
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == before == [".lock"]
    assert not list((tmp_path / "other").glob(".lock"))


def test_a_folder_that_was_made_in_vain_goes_again(tmp_path):
    there = tmp_path / "there"
    there.mkdir()
    for folder in (tmp_path / "new", there):
        with pytest.raises(ValueError, match="x"), writer(folder, "is being trained"):
            raise ValueError("x")
    assert os.listdir(tmp_path) == ["there"] and not os.listdir(there)
    with pytest.raises(KeyboardInterrupt), writer(tmp_path / "begun", "is being trained"):
        (tmp_path / "begun/part").touch()
        raise KeyboardInterrupt
    assert os.listdir(tmp_path / "begun") == ["part"]


def test_a_lock_that_is_taken_away_while_it_is_waited_for_is_no_lock(tmp_path, monkeypatch):
    """The first writer ends between the second's opening of the file and its locking."""
    first, flock, tries = writer(tmp_path, "is being trained"), fcntl.flock, []

    def late(file, how):
        tries.append(how)
        if len(tries) == 1:
            first.__exit__(None, None, None)
        flock(file, how)

    first.__enter__()
    monkeypatch.setattr(fcntl, "flock", late)
    with writer(tmp_path, "is being trained"):
        assert len(tries) == 2 and os.listdir(tmp_path) == [".lock"]
        with pytest.raises(MlxworldError, match=rf"by process {os.getpid()}$"), writer(tmp_path, "is being trained"):
            pass


def test_where_nothing_can_be_made_or_locked(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file/run"):
        with pytest.raises(MlxworldError, match=r"cannot write .*: (File exists|Not a directory)$"):
            writes(folder)

    def unknown(*_):
        raise OSError(errno.ENOTSUP, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", unknown)  # as on some network file systems: one may write there all the same
    writes(tmp_path / "run")
