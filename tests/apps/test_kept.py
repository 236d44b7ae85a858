"""What outlives the process: moments with the true World, recordings of a process that is killed."""

import os
import queue
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import pytest

from apps.play.game import Choice, Game
from mlxworld import World
from tests.play.small_world import small_world

from .test_game import Told


class Kept(Told):
    """A game that keeps what it is told to in a folder."""

    def __init__(self, world: str, folder, backend: str, **settings):
        self.out = queue.Queue()
        self.game = Game(World.load, [], ["mlx", "torch"], Choice(world, backend, **settings), folder)
        self.game.start()
        self.game.emit = lambda target, message: self.out.put(message)

    def steps(self, *actions):
        frame = b""
        for action in actions:
            self.game.keys.press(action, 0.0)
            self.game.keys.press(0, 0.0)
            self.do("step")
            frame = self.frame()
        return frame[48:]


def test_moments_outlive_the_app_and_give_the_same_future(backend, tmp_path):
    name = {"mlxworld": "mlx", "torch_backend": "torch"}[backend.__name__]
    world = str(small_world(tmp_path / "small"))
    told = Kept(world, tmp_path / "kept", name)
    told.steps(1, 0, 1)
    told.do("save")
    ident = told.message("state", moments=1)["moments"][0]["ident"]
    future = told.steps(1, 1, 0)
    told.game.stop()

    later = Kept(world, tmp_path / "kept", name)
    later.do("run", on=False)
    state = later.message("state", moments=1)
    assert state["moments"] == [{"ident": ident, "index": 3}]
    later.do("restore", ident=ident)
    assert later.log()["actions"] == [[1, 1], [0, 1], [1, 1]]
    assert later.steps(1, 1, 0) == future
    later.do("save")
    assert len(later.message("state", moments=2)["moments"]) == 2
    later.do("forget", ident=ident)
    later.message("state", moments=1)
    later.game.stop()
    assert len(list((tmp_path / "kept" / "moments").rglob("*.safetensors"))) == 1


def test_moments_of_another_world_and_broken_ones_are_left_out(tmp_path):
    world = str(small_world(tmp_path / "small"))
    told = Kept(world, tmp_path / "kept", "torch")
    told.do("save")
    ident = told.message("state", moments=1)["moments"][0]["ident"]
    told.game.stop()
    (path,) = (tmp_path / "kept" / "moments").rglob("*.safetensors")
    (path.parent / "77.safetensors").write_bytes(b"no moment at all")
    (path.parent / "78.safetensors").write_bytes(path.read_bytes()[:-100])
    later = Kept(world, tmp_path / "kept", "torch")
    later.do("run", on=False)
    assert [moment["ident"] for moment in later.message("state")["moments"]] == [ident]
    later.game.stop()


RECORDING = """
import sys, time
from pathlib import Path
from apps.play.film import Recording, Shape
from tests.apps.toy import ToyWorld
world = ToyWorld.load("pong")
world.reset()
recording = Recording(Path(sys.argv[1]), Shape(world.size, world.fps, world.sample_rate))
for _ in range(150):
    recording.add(world.step(1))
    time.sleep(1 / 60)
while not recording._waiting.empty():
    time.sleep(0.1)
time.sleep(0.4)
print("shown", flush=True)
time.sleep(60)
"""


def test_a_recording_survives_a_kill_up_to_its_last_second(tmp_path):
    path = tmp_path / "film.mp4"
    process = subprocess.Popen([sys.executable, "-c", RECORDING, str(path)], stdout=subprocess.PIPE, cwd=os.getcwd())
    assert process.stdout is not None and process.stdout.readline() == b"shown\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    with av.open(str(path)) as film:
        assert sum(1 for _ in film.decode(video=0)) >= 150 - 30
    with av.open(str(path)) as film:
        assert sum(frame.samples for frame in film.decode(audio=0)) / 48000 >= 4


def test_a_recording_is_a_plain_film_in_its_folder(tmp_path):
    world = str(small_world(tmp_path / "small"))
    told = Kept(world, tmp_path / "kept", "torch")
    told.do("record", on=True)
    told.steps(*[0] * 12)
    told.do("record", on=False)
    message = told.message("film")
    assert message["recorded"] and message["place"] == str(tmp_path / "kept" / "films" / message["name"])
    with av.open(str(message["place"]), "r") as film:
        assert sum(1 for _ in film.decode(video=0)) == 12
    assert b"moof" not in Path(message["place"]).read_bytes()
    told.game.stop()


def test_a_recording_that_cannot_be_written_is_told(tmp_path):
    world = str(small_world(tmp_path / "small"))
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "films").write_text("no folder")
    told = Kept(world, tmp_path / "kept", "torch")
    told.do("record", on=True)
    assert "cannot record" in told.message("error")["text"]
    told.steps(0)
    told.game.stop()


def test_a_recording_that_fails_on_its_way_is_told_and_is_over(tmp_path):
    told = Kept(str(small_world(tmp_path / "small")), tmp_path / "kept", "torch")
    told.do("record", on=True)
    told.steps(0, 0)
    while not told.message("state")["recording"]:
        pass
    recording = told.game.films.recording
    assert recording
    recording.failure = "No space left on device"  # what the thread that writes says of a full disk
    told.do("run", on=True)
    time.sleep(0.5)
    states = [m for m in list(told.out.queue) if isinstance(m, dict) and m["type"] == "state"]
    assert states[-1]["running"] and not states[-1]["recording"]
    told.do("run", on=False)
    assert "the recording ended: No space left on device" in told.message("error")["text"]
    told.game.stop()


def test_a_moment_that_cannot_be_written_is_told_and_kept_as_long_as_the_app(tmp_path):
    world = str(small_world(tmp_path / "small"))
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "moments").write_text("no folder")
    told = Kept(world, tmp_path / "kept", "torch")
    told.do("save")
    assert "this moment goes with the app" in told.message("error")["text"]
    told.do("run", on=False)
    assert len(told.message("state")["moments"]) == 1
    told.game.stop()


@pytest.mark.platform
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_stays_over_a_hundred_changes_of_worlds(tmp_path):
    def used() -> int:
        with open("/proc/self/statm") as pages:
            return int(pages.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    told = Told()

    def change(times: int) -> None:
        for i in range(times):
            told.do("load", world=("pong", "doom")[i % 2], backend=None, steps=None, precision=None)
            told.steps(*[1] * 3)
            while told.out.qsize():
                told.out.get()

    change(40)
    before = used()
    change(100)
    time.sleep(0.2)
    assert used() < 1.02 * before
    told.game.stop()
