"""What a recording refuses before its first step, and what it leaves when the world or the folder lets it down."""

import json
import os
import subprocess
import sys
from pathlib import Path

import gymnasium
import numpy as np
import pytest

from mlxworld import record
from mlxworld.data import DatasetInfo, Episode, open_frames, read_info, write_episode
from mlxworld.data.envs import trial
from mlxworld.errors import MlxworldError
from mlxworld.files.lock import writer

SMALL = ["--steps", "40", "--episode", "10", "--game", "20", "--size", "16", "--workers", "1"]
ENVIRONMENT = """
import os, gymnasium, numpy as np

class Env(gymnasium.Env):
    metadata = {"render_modes": ["rgb_array"], "render_fps": 30}
    action_space = gymnasium.spaces.Discrete(3)
    observation_space = gymnasium.spaces.Discrete(2)
    def __init__(self, render_mode=None):
        self.render_mode = render_mode
    def get_action_meanings(self):
        return NAMES
    def reset(self, seed=None, options=None):
        self.count = 0
        return 0, {}
    def step(self, action):
        self.count += 1
        if self.count == FAILS:
            FAULT
        return 0, 0.0, False, False, {}
    def render(self):
        return np.zeros((16, 16, 3), np.uint8)
    def close(self):
        raise OSError("no window")

gymnasium.register("Env-v0", Env)
"""


@pytest.fixture
def environment(tmp_path, monkeypatch):
    """Writes mymodule.py with an environment into the present folder, and gives its name."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")  # or a file of the same second and length would be the old one
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def write(names=("noop", "left", "right"), fails=0, fault='raise ValueError("the joint angle\\nis out of range")'):
        text = ENVIRONMENT.replace("NAMES", repr(list(names))).replace("FAILS", str(fails)).replace("FAULT", fault)
        Path("mymodule.py").write_text(text)
        sys.modules.pop("mymodule", None)
        gymnasium.registry.pop("Env-v0", None)
        return "gym:mymodule:Env-v0"

    yield write
    sys.modules.pop("mymodule", None)
    gymnasium.registry.pop("Env-v0", None)


def run(world: str, out: Path, *more: str) -> None:
    record.main([world, "--out", str(out), *SMALL, *more])


def test_names_of_any_kind_come_back(environment, tmp_path, capsys):
    """With commas and quotes, in letters that only their case tells apart, and numbers."""
    for number, (names, actions) in enumerate(
        [
            (["noop", "left,fire", ' "right"'], ("noop", "left,fire", '"right"')),
            (["noop", "Fire", "FIRE"], ("noop", "Fire", "FIRE")),
            ([0, 1, 2], ("0", "1", "2")),
            (["noop"], ("0", "1", "2")),
        ]
    ):
        out = tmp_path / str(number)
        run(environment(names), out)
        cache = open_frames(out, workers=1)
        assert cache.info.actions == actions and not cache.skipped and len(cache.actions) == 40
        assert set(cache.actions.tolist()) == {0, 1, 2}
        assert f"3 actions: {', '.join(actions)}\n" in capsys.readouterr().err


@pytest.mark.parametrize("action", ["a,b", '"', 'a"b,', "#x", "'a", "é→", "a;b\tc"[:3]])
def test_an_action_file_is_quoted_where_it_must_be(tmp_path, action):
    info = DatasetInfo(30, 64, (16, 16), ("noop", action))
    episode = Episode(np.zeros((2, 16, 16, 3), np.uint8), np.zeros((2, 64), np.float32), np.array([0, 1], np.int32))
    write_episode(tmp_path, "a", episode, info)
    (tmp_path / "dataset.json").write_text(
        json.dumps({"fps": 30, "samples": 64, "size": [16, 16], "version": 1, "actions": info.actions})
    )
    assert open_frames(tmp_path, workers=1).actions.tolist() == [0, 1]


@pytest.mark.parametrize(
    "wrong",
    [
        {"actions": ("noop", " left")},
        {"actions": ("noop", "a\nb")},
        {"actions": ("left", "left")},
        {"actions": ()},
        {"fps": 0},
        {"fps": 10**9},
        {"samples": 0},
        {"licence": {"not": ("json",)}},
    ],
    ids=str,
)
def test_what_would_not_be_read_back_is_refused(wrong):
    good = {"fps": 30, "samples": 64, "size": (16, 16), "actions": ("noop", "left"), "source": "gym:X"}
    trial.require_readable(DatasetInfo(**good))
    with pytest.raises(MlxworldError, match=r"^gym:X: a recording of it (could|would) not be read back") as it:
        trial.require_readable(DatasetInfo(**good | wrong))
    assert "\n" not in str(it.value)


def test_the_trial_comes_before_the_first_step_and_the_folder(environment, tmp_path, monkeypatch):
    def refuse(info):
        assert info.actions == ("noop", "left", "right") and not (tmp_path / "a").exists()
        raise MlxworldError("not read back")

    monkeypatch.setattr(record, "require_readable", refuse)
    with pytest.raises(MlxworldError, match="not read back"):
        run(environment(), tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_a_world_that_fails_is_one_line_and_leaves_nothing(environment, tmp_path, monkeypatch):
    says = "gym:mymodule:Env-v0 failed in step 10: ValueError: the joint angle is out of range"
    (tmp_path / "there").mkdir()
    for out in (tmp_path / "new", tmp_path / "there"):
        with pytest.raises(MlxworldError) as it:
            run(environment(fails=10), out)
        assert str(it.value) == says
    assert sorted(os.listdir(tmp_path)) == ["here", "there"] and not os.listdir(tmp_path / "there")
    run(environment(), tmp_path / "there")
    assert len(list((tmp_path / "there").glob("*.mp4"))) == 4


@pytest.mark.parametrize(
    ("fault", "says"),
    [("os.kill(os.getpid(), 11)", "killed by SIGSEGV"), ("raise SystemExit(3)", "step 5: SystemExit: 3")],
)
def test_a_world_that_takes_its_process_down_is_one_line(environment, tmp_path, capfd, fault, says):
    with pytest.raises(MlxworldError, match=says):
        run(environment(fails=5, fault=fault), tmp_path / "a")
    assert "Traceback" not in capfd.readouterr().err and not (tmp_path / "a").exists()


def test_force_costs_no_recording_where_the_world_fails_at_once(environment, tmp_path):
    out = tmp_path / "a"
    run("bounce", out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    with pytest.raises(MlxworldError, match="step 3"):
        run(environment(fails=3), out, "--force")
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    run(environment(), out, "--force")
    info = read_info(out)
    assert info and info.source == "gym:mymodule:Env-v0" and not list(out.glob("*.npz"))


def test_what_a_killed_recording_left_without_an_episode_counts_as_none(tmp_path):
    out = tmp_path / "a"
    run("bounce", out, "--steps", "10")
    for video in out.glob("*.mp4"):
        video.unlink()
    (out / "000007-00.state.npz").write_bytes(b"of an episode that was never finished")
    (out / record.WORK).mkdir()
    run("bounce", out, "--seed", "1")
    info = read_info(out)
    assert info and info.recording["seed"] == 1 and len(open_frames(out, workers=1).actions) == 40
    assert not (out / "000007-00.state.npz").exists() and not (out / record.WORK).exists()


def test_one_process_records_to_a_folder(tmp_path):
    out = tmp_path / "a"
    run("bounce", out, "--steps", "10")
    before = sorted(os.listdir(out))
    with writer(out, "is being recorded"):
        for more in ((), ("--append",), ("--force",)):
            with pytest.raises(MlxworldError, match=rf"^{out} is being recorded by process {os.getpid()}$"):
                run("bounce", out, *more)
    assert sorted(os.listdir(out)) == before


def test_what_a_killed_recordings_player_still_writes_is_not_taken(environment, tmp_path):
    """It may finish its episode after its owner is gone, and after the next recording has begun."""
    out = tmp_path / "a"
    (out / record.WORK).mkdir(parents=True)
    late = out / record.WORK / "000000-00.actions.csv"
    fault = f"os.makedirs({str(late.parent)!r}, exist_ok=True); open({str(late)!r}, 'w').write('of another')"
    run(environment(fails=15, fault=fault), out)
    assert (out / "000000-00.actions.csv").read_text().startswith("step,action\n0,noop\n")
    assert len(open_frames(out, workers=1).actions) == 40 and not (out / record.WORK).exists()


@pytest.mark.parametrize("place", ["file", "file/sub", "x" * 300])
def test_a_place_that_can_be_no_folder_is_one_line(tmp_path, place):
    (tmp_path / "file").write_text("precious")
    with pytest.raises(MlxworldError, match=r"^cannot write"):
        run("bounce", tmp_path / place)
    assert (tmp_path / "file").read_text() == "precious" and os.listdir(tmp_path) == ["file"]


def test_no_recording_lies_inside_another(tmp_path):
    run("bounce", tmp_path / "a", "--steps", "10")
    (tmp_path / "link").symlink_to(tmp_path / "a")
    for out in (tmp_path / "a/held", tmp_path / "link/deep/held"):
        with pytest.raises(MlxworldError, match=f"lies inside the dataset {tmp_path / 'a'}"):
            run("bounce", out)
        assert not out.exists()


@pytest.mark.parametrize("words", [["--patience", "0"], ["--patience", "nan"], ["--size", "100000"], ["--seed", "-1"]])
def test_settings_that_no_recording_can_have(tmp_path, words):
    with pytest.raises(MlxworldError, match=words[0]):
        run("bounce", tmp_path / "a", *words)
    assert not (tmp_path / "a").exists()


def test_the_command_finds_an_environment_in_the_present_folder(environment, tmp_path):
    """As the installed command starts: its own folder is on the path, the present one is not."""
    words = ["record", environment(), "--out", str(tmp_path / "a"), *SMALL]
    script = "import sys; sys.path[0] = sys.argv.pop(1); from mlxworld.cli import run; run()"
    command = [sys.executable, "-c", script, str(Path(__file__).parents[3]), *words]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": ""})
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "a").glob("*.mp4"))) == 4
