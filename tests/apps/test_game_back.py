"""The game without a network: going back in the last minute, undo, agents, what plays beside, films, slow models."""

import base64
import io
import queue
import time

import av
import numpy as np
import pytest

import mlxworld
from apps.play import wire
from apps.play.action_log import Origin, digest
from apps.play.branch import Branch
from apps.play.game import Choice, Game
from apps.play.pace import Pace, fewer

from .test_game import Told
from .toy import ToyReal, ToyWorld


@pytest.fixture
def told(monkeypatch):
    monkeypatch.setattr(mlxworld, "Real", ToyReal)
    told = Watched()
    yield told
    told.game.stop()


class Watched(Told):
    """A game of which the pictures that stood beside are kept."""

    def __init__(self):
        super().__init__()
        self.beside: list[bytes] = []
        emit = self.game.emit

        def watch(target, message):
            if isinstance(message, bytes) and message[0] == wire.BESIDE:
                self.beside.append(message[wire.HEADER.size + 4 * 1024 :])
            emit(target, message)

        self.game.emit = watch


def until(game: Told, /, **fields) -> dict:
    """The next state with these values."""
    while True:
        state = game.message("state")
        if all(state[name] == value for name, value in fields.items()):
            return state


@pytest.mark.parametrize("back", [0, 1, 17, 250, 1790])
def test_every_frame_of_the_last_minute_can_be_gone_back_to_bit_for_bit(back):
    branch, seen = Branch.begin(ToyWorld.load("pong"), Origin(7, None)), []
    for i in range(2400):
        branch.step(i // 5 % 3)
        seen.append(digest(branch.frame))
    first, last = branch.span
    assert last == 2400 and 2400 - 1800 <= first <= 2400 - 1790
    branch.seek(2400 - back)
    assert digest(branch.frame) == seen[2400 - back - 1]
    again = [digest(branch.step(i // 5 % 3)) for i in range(2400 - back, 2400)]
    assert again == seen[2400 - back :]
    assert branch.actions == [i // 5 % 3 for i in range(2400)]


def test_going_back_twice_follows_the_line_that_was_played_last():
    branch = Branch.begin(ToyWorld.load("pong"), Origin(7, None))
    for _ in range(100):
        branch.step(1)
    branch.seek(20)
    seen = [digest(branch.step(2)) for _ in range(30)]
    branch.seek(40)
    assert digest(branch.step(2)) == seen[20]


def test_a_minute_is_remembered_in_few_marks():
    branch = Branch.begin(ToyWorld.load("pong"), Origin(7, None))
    for _ in range(4000):
        branch.step(0)
    assert len(branch._history._marks) <= 45  # a state of a world may take megabytes


def test_looking_back_forgets_nothing_until_the_world_goes_on_and_undo_brings_it_back(told):
    last = told.steps(1, 1, 2, 2, 2)
    told.do("seek", index=2)
    until(told, position=2, span=[0, 5])
    told.do("seek", index=5)
    until(told, position=5, span=[0, 5])
    told.do("seek", index=2)
    other = told.steps(1, 1, 1)
    state = until(told, position=5)
    assert other != last and state["span"] == [0, 5] and state["undo"] == 1
    told.do("undo")
    until(told, undo=0)
    assert told.log()["actions"] == [[1, 2], [2, 3]]


def test_a_restart_can_be_undone(told):
    told.steps(1, 2)
    told.do("reset", seed=9, start=None)
    assert until(told, seed=9)["undo"] == 1
    assert told.message("note")["undo"] is True
    told.do("undo")
    until(told, undo=0)
    assert told.log()["actions"] == [[1, 1], [2, 1]] and told.log()["seed"] == 7
    told.do("undo")
    assert "nothing to undo" in told.message("error")["text"]


def test_an_agent_plays_until_a_key_is_pressed(told):
    told.do("pilot", on=True)
    told.do("run", on=True)
    until(told, pilot=True, running=True)
    time.sleep(0.3)
    told.game.keys.press(2, 0.0)
    until(told, pilot=False)
    told.do("run", on=False)
    actions = told.log()["actions"]
    assert actions[-1][0] == 2 and len(actions) >= 1


def test_the_real_game_takes_the_same_actions_and_goes_back_with_the_dream(told):
    told.do("beside", what="real")
    until(told, beside="real", told=False)
    told.steps(1, 1, 2, 0)
    ahead = told.beside[-3:]
    told.do("seek", index=1)
    told.steps(1, 2, 0)
    assert told.beside[-3:] == ahead and len(set(ahead)) == 3
    told.do("sync")
    until(told, position=0)
    told.do("log")
    assert "began from the real game" in told.message("error")["text"]
    closed = ToyReal.closed
    told.do("beside", what=None)
    until(told, beside=None)
    assert ToyReal.closed == closed + 1


def test_what_a_real_game_knows_of_its_bodies_is_told_to_who_wants_to_see_it(told):
    told.do("beside", what="real")
    assert until(told, beside="real")["embodied"]
    told.do("bodies", on=True)
    message = told.message("physics")
    (x, y, to_x, to_y), *others = message["beside"]["bodies"]
    assert message["dream"] is None and not others and 0 < x < 1 and 0 < y < 1
    assert abs(to_x - x) == pytest.approx(0.2 * 60 / 128, abs=1e-3)
    assert abs(to_y - y) == pytest.approx(0.2 * 30 / 128, abs=1e-3)
    told.do("beside", what=None)
    assert not until(told, beside=None)["embodied"]


def test_a_dreams_bodies_are_read_only_while_they_are_shown(monkeypatch):
    monkeypatch.setattr(ToyWorld, "bodies", 1)
    reads, read = [], ToyWorld.physics
    monkeypatch.setattr(ToyWorld, "physics", lambda self: reads.append(1) or read(self))
    told = Told()
    told.steps(1, 1)
    assert not reads
    told.do("bodies", on=True)
    assert until(told, bodies=True)["embodied"]
    told.steps(1)
    dream = told.message("physics")["dream"]
    assert dream["plausibility"] == 0.75 and dream["energy"] == [5.0] and len(dream["bodies"]) == 1
    told.do("seek", index=1)
    until(told, position=1)
    told.do("bodies", on=True)
    while told.message("physics")["dream"] is not None:  # of a frame that has passed nothing is known
        pass
    told.do("bodies", on=False)
    until(told, bodies=False)
    before = len(reads)
    told.steps(1)
    assert len(reads) == before
    told.game.stop()


def test_what_is_no_number_is_told_as_one(monkeypatch):
    monkeypatch.setattr(ToyWorld, "bodies", 1)
    wild = {"position": np.full((1, 3), np.inf), "velocity": np.zeros((1, 3)), "energy": np.array([np.nan])}
    monkeypatch.setattr(ToyWorld, "physics", lambda self: wild | {"plausibility": np.nan})
    told = Told()
    told.do("bodies", on=True)
    dream = told.message("physics")["dream"]
    assert np.isfinite([*dream["bodies"][0], *dream["energy"], dream["plausibility"]]).all()
    told.game.stop()


def test_a_real_game_that_is_not_there_is_told_in_a_line():
    told = Told(Choice("somewhere"))
    told.do("beside", what="real")
    assert "unknown world 'somewhere'" in told.message("error")["text"]
    told.steps(1)
    told.game.stop()


def test_two_futures_live_on_their_own_and_can_be_swapped(told):
    told.steps(1, 1)
    told.do("beside", what="future")
    until(told, beside="future")
    told.steps(*[2] * 20)
    assert len(set(told.beside)) > 10
    told.do("swap")
    until(told, beside="future")
    log = told.log()
    assert log["actions"] != [[1, 2], [2, 20]] and sum(count for _, count in log["actions"]) == 22
    told.do("swap")
    assert told.log()["actions"] == [[1, 2], [2, 20]]
    told.do("beside", what=None)
    until(told, beside=None)
    told.do("swap")
    assert "no second future" in told.message("error")["text"]


def test_a_picture_begins_a_dream(told):
    told.steps(1)
    picture = np.zeros((128, 128, 3), np.uint8)
    picture[70:86, 30:46] = 255
    told.do("picture", picture=base64.b64encode(picture.tobytes()).decode())
    state = until(told, told=False)
    assert state["position"] == 0 and state["undo"] == 1
    square = np.frombuffer(told.steps(0)[4 * 1024 :], np.uint8).reshape(128, 128, 3)
    assert square[75, 35].sum() > 300
    told.do("picture", picture=base64.b64encode(b"123").decode())
    assert "128 x 128 pixels" in told.message("error")["text"]
    told.do("undo")
    until(told, told=True)
    assert told.log()["actions"] == [[1, 1]]


def test_a_clip_is_a_film_with_sound_of_what_was_shown(told):
    told.steps(*[1] * 45)
    told.do("film", seconds=1)
    message = told.message("film")
    name, blob = told.game.films.get(message["path"].removeprefix("film/"))
    assert name == message["name"] and message["seconds"] == 1.0 and not message["recorded"]
    with av.open(io.BytesIO(blob), "r") as file:
        pictures = [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]
    with av.open(io.BytesIO(blob), "r") as file:
        sound = np.concatenate([frame.to_ndarray()[0] for frame in file.decode(audio=0)])
    assert len(pictures) == 30 and pictures[0].shape == (640, 640, 3)
    assert abs(len(sound) / 48000 - 1) < 0.05 and np.abs(sound).max() > 0.1  # it met the upper border
    shown = np.frombuffer(told.steps(0)[4 * 1024 :], np.uint8).reshape(128, 128, 3)
    last = pictures[-1][2::5, 2::5].astype(int)
    assert np.abs(last - shown)[20:].mean() < 12  # the frame before the one shown now


def test_a_clip_shows_two_pictures_that_stood_side_by_side(told):
    told.do("beside", what="future")
    told.steps(*[0] * 10)
    told.do("film", seconds=5)
    _, blob = told.game.films.get(told.message("film")["path"].removeprefix("film/"))
    with av.open(io.BytesIO(blob), "r") as file:
        stream = file.streams.video[0]
        assert stream.width > 1.9 * stream.height


def test_a_slow_model_gets_fewer_passes_before_fewer_frames():
    class Heavy(ToyWorld):
        def step(self, action):
            time.sleep(0.015 * self.steps)
            return super().step(action)

    told = Told(Choice("pong"), Heavy)
    told.game._branch.world.steps = 4  # 60 ms of 33
    told.steps(1, 2)
    told.do("run", on=True)
    while told.message("world")["steps"] != 2:
        pass
    assert "2 passes" in told.message("note")["text"]
    told.do("run", on=False)
    told.do("log")
    assert "passes a frame were lowered" in told.message("error")["text"]
    told.game.stop()


def test_a_world_that_was_trained_on_before_its_passes_were_lowered_is_another_one():
    class Trained(ToyWorld):
        loads = 0

        def __init__(self, *args):
            super().__init__(*args)
            type(self).loads += 1
            self.number = self.loads

        @property
        def digest(self) -> str:
            return str(self.number)

        def step(self, action):
            time.sleep(0.02 * self.steps)
            return super().step(action)

    told = Told(Choice("pong"), Trained)
    assert told.log()["world_digest"] == "1"
    told.do("run", on=True)
    while told.message("world")["steps"] != 1:
        pass
    told.do("run", on=False)
    told.do("reset", seed=3, start=None)
    assert told.log()["world_digest"] == "2"
    told.game.stop()


def test_passes_that_somebody_chose_stay():
    class Heavy(ToyWorld):
        delay = 0.05

    told = Told(Choice("pong", steps=4), Heavy)
    told.do("run", on=True)
    time.sleep(3.2)
    told.do("run", on=False)
    assert told.log()["steps"] == 4
    told.game.stop()


def test_pace_is_a_verdict_over_most_frames():
    pace = Pace(30)
    for took in [20] * 40 + [400] * 10:  # a stall is no slow model
        pace.add(took)
    assert not pace.too_slow
    for _ in range(30):
        pace.add(40)
    assert pace.too_slow
    pace.begin()
    assert not pace.too_slow
    assert fewer(4, [1, 2, 4, 8]) == 2 and fewer(1, [1, 2]) is None


def test_run_folders_come_and_are_trained_on_while_the_app_runs(monkeypatch):
    found, version = [], [1]
    monkeypatch.setattr(mlxworld, "version", lambda name: version[0])
    out = queue.Queue()
    game = Game(ToyWorld.load, ["pong"], ["torch"], Choice("pong"), runs=lambda: list(found))
    game.start()
    told = Told.__new__(Told)
    told.game, told.out = game, out
    game.emit = lambda target, message: out.put(message)
    game.submit({"type": "look"})
    found.append("runs/mine")
    game.submit({"type": "look"})
    assert told.message("world")["offered"]["worlds"] == ["pong", "runs/mine"]
    told.do("load", world="runs/mine", backend=None, steps=None, precision=None)
    while told.message("world")["world"] != "runs/mine":
        pass
    version[0] = 2
    game.submit({"type": "look"})
    assert told.message("fresh") == {"type": "fresh", "world": "runs/mine"}
    game.submit({"type": "look"})  # told once
    told.do("step")
    told.message("state")
    assert not [m for m in list(out.queue) if isinstance(m, dict) and m["type"] == "fresh"]
    told.do("load", world="runs/gone", backend=None, steps=None, precision=None)
    assert "not among those offered" in told.message("error")["text"]
    game.stop()
