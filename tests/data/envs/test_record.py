"""mlxworld record: what it leaves on disk, however many processes play, whatever happens to them."""

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from mlxworld import record
from mlxworld.data import open_frames, read_episode, read_info
from mlxworld.errors import MlxworldError

SMALL = ["--steps", "60", "--episode", "15", "--game", "30", "--size", "32"]


def run(out: Path, *more: str, world="bounce", workers=2):
    record.main([world, "--out", str(out), "--workers", str(workers), *SMALL, *more])


def content(folder: Path) -> dict[str, str]:
    """Digest of each file's bytes, by name; of state, of its arrays (zip files hold the time)."""
    found = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and not {".cache", record.WORK} & set(p.parts)):
        data = path.read_bytes()
        if path.suffix == ".npz":
            with np.load(path) as arrays:
                data = b"".join(name.encode() + arrays[name].tobytes() for name in sorted(arrays))
        found[path.name] = hashlib.sha256(data).hexdigest()
    return found


@pytest.fixture(scope="module")
def recorded(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("record") / "bounce"
    run(out)
    return out


def test_a_recording_is_a_dataset(recorded):
    info = read_info(recorded)
    assert info and info.actions == ("noop", "left", "right", "up", "down") and info.size == (32, 32)
    assert info.source == "bounce" and info.recording == {"policy": "mixed", "seed": 0, "episode": 15, "game": 30}
    cache = open_frames(recorded, workers=1)
    assert cache.names == ("000000-00.mp4", "000000-01.mp4", "000001-00.mp4", "000001-01.mp4")
    assert cache.offsets.tolist() == [0, 15, 30, 45, 60] and not cache.skipped
    assert (cache.actions[cache.offsets[:-1]] == 0).all() and cache.actions.max() > 0
    episode = read_episode(recorded, "000001-01")
    assert episode.state["position"].shape == (15, 5, 2) and episode.audio.any()
    assert not (recorded / record.WORK).exists()


def test_the_number_of_processes_changes_nothing(recorded, tmp_path):
    run(tmp_path / "one", workers=1)
    assert content(tmp_path / "one") == content(recorded)


def test_another_seed_shares_no_game(recorded, tmp_path):
    run(tmp_path / "held", "--seed", "1")
    mine, theirs = content(recorded), content(tmp_path / "held")
    assert len(theirs) == len(mine)
    states = {name for name in mine if name.endswith(".npz")}
    assert not {mine[name] for name in states} & {theirs[name] for name in states}


def test_games_follow_one_another_across_an_episode(tmp_path):
    out = tmp_path / "pong"
    flags = ["--steps", "1500", "--episode", "1500", "--game", "1500", "--size", "32", "--policy", "random"]
    record.main(["pong", "--out", str(out), "--workers", "1", "--across", *flags])
    info, cache = read_info(out), open_frames(out, workers=1)
    assert info and info.recording["across"] is True and cache.offsets.tolist() == [0, 1500]
    state = read_episode(out, "000000-00").state
    ends = np.flatnonzero((state["ram"][1:, 13:15] < 21).all(1) & (state["ram"][:-1, 13:15] == 21).any(1))
    assert len(ends) >= 1  # of games that are followed by another
    assert not state["ram"][ends[0] + 1, 13:15].any()  # from 0 to 0
    still = slice(ends[0] - 14, ends[0] + 1)  # half a second
    assert (state["ram"][still] == state["ram"][ends[0]]).all() and not cache.sound(still).any()
    assert cache.rare.tolist() == np.flatnonzero(state["rare"]).tolist() and ends[0] + 1 in cache.rare


def test_a_recording_is_never_overwritten_unasked(recorded, tmp_path):
    out = tmp_path / "a"
    run(out, "--steps", "20")
    before = content(out)
    with pytest.raises(MlxworldError, match="--append goes on with it, --force replaces it"):
        run(out)
    with pytest.raises(MlxworldError, match="other settings"):
        run(out, "--append", "--seed", "5")
    assert content(out) == before
    run(out, "--append", "--steps", "60")
    assert content(out).items() >= {name: digest for name, digest in before.items() if name != "dataset.json"}.items()
    assert sum(1 for _ in out.glob("*.mp4")) > 2
    run(out, "--force")
    assert content(out) == content(recorded)


def test_a_folder_of_other_things_is_left_alone(tmp_path):
    (tmp_path / "holiday.mp4").write_text("precious")
    for flag in ("--append", "--force"):
        with pytest.raises(MlxworldError, match="no recording"):
            run(tmp_path, flag)
    assert [path.name for path in tmp_path.iterdir()] == ["holiday.mp4"]


def command(*words: str, **more) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "mlxworld.record", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **more,
    )


def test_killed_it_leaves_a_dataset_that_goes_on(tmp_path):
    out = tmp_path / "a"
    words = ["bounce", "--out", str(out), "--steps", "100000", "--episode", "20", "--game", "40", "--size", "32"]
    process = command(*words)
    try:
        until = time.monotonic() + 60
        while len(list(out.glob("*.mp4"))) < 4 and time.monotonic() < until:
            time.sleep(0.02)
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    before = content(out)
    kept = len(list(out.glob("*.mp4")))
    cache = open_frames(out, workers=1)
    assert kept >= 4 and len(cache.names) == kept and not cache.skipped and len(cache.actions) == 20 * kept
    steps = str(20 * kept + 40)
    record.main([*words[:4], steps, *words[5:], "--append", "--workers", "1"])
    assert len(list(out.glob("*.mp4"))) >= kept + 2 and not (out / record.WORK).exists()
    after = content(out)
    assert all(after[name] == digest for name, digest in before.items() if (out / name).suffix in (".mp4", ".npz"))


HANGS = """
import time, gymnasium, numpy as np

class Hangs(gymnasium.Env):
    metadata = {"render_modes": ["rgb_array"], "render_fps": 30}
    action_space = gymnasium.spaces.Discrete(2)
    observation_space = gymnasium.spaces.Discrete(2)
    count = 0
    def __init__(self, render_mode=None):
        self.render_mode = render_mode
    def reset(self, **options):
        return 0, {}
    def step(self, action):
        self.count += 1
        if self.count == 20:
            FAULT
        return 0, 0.0, False, False, {}
    def render(self):
        return np.zeros((16, 16, 3), np.uint8)

gymnasium.register("Hangs-v0", Hangs)
"""


@pytest.mark.parametrize(
    ("fault", "says"),
    [("time.sleep(600)", "has not answered for 3 s"), ("import os; os._exit(7)", "exit code 7")],
)
def test_a_world_that_hangs_or_dies_is_ended_with_one_line(tmp_path, fault, says):
    (tmp_path / "hangs.py").write_text(HANGS.replace("FAULT", fault))
    out = tmp_path / "a"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(Path(__file__).parents[3])])}
    begun = time.monotonic()
    process = command(
        "gym:hangs:Hangs-v0", "--out", str(out), "--patience", "3", "--workers", "1", "--size", "16", env=environment
    )
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 2 and time.monotonic() - begun < 40
    assert says in errors.splitlines()[-1] and errors.splitlines()[-1].startswith("mlxworld: gym:hangs:Hangs-v0")
    assert not list(out.glob("*.mp4")) and not (out / record.WORK).exists()


@pytest.mark.parametrize("words", [["tetris"], ["bounce", "--steps", "1"], ["atari:Breakout", "--policy", "scripted"]])
def test_bad_input_is_one_line_and_writes_nothing(tmp_path, words):
    with pytest.raises(MlxworldError) as caught:
        record.main([*words, "--out", str(tmp_path / "a")])
    assert "\n" not in str(caught.value) and not (tmp_path / "a").exists()
