"""The game without a network: what commands do to the world, told by the frames and messages that come out."""

import queue

import pytest

from apps.play import wire
from apps.play.branch import Branch, Origin, digest
from apps.play.game import Choice, Game
from apps.play.keys import Keys

from .toy import ToyWorld


class Told:
    """A game whose messages are kept for reading."""

    def __init__(self, choice: Choice = Choice("pong"), world: type[ToyWorld] = ToyWorld):  # noqa: B008
        self.out: queue.Queue = queue.Queue()
        self.game = Game(world.load, ["pong", "doom"], ["torch", "mlx"], choice)
        self.game.start()
        self.game.emit = lambda target, message: self.out.put(message)

    def do(self, kind: str, **fields) -> None:
        self.game.submit(wire.parse(wire.json.dumps({"type": kind, **fields})))

    def message(self, kind: str, **lengths: int) -> dict:
        """The next message of this kind whose lists have these lengths."""
        while True:
            message = self.out.get(timeout=5)
            if not isinstance(message, dict) or message["type"] != kind:
                continue
            if all(len(message[name]) == length for name, length in lengths.items()):
                return message

    def frame(self) -> bytes:
        """The next frame that follows from the one before."""
        while True:
            message = self.out.get(timeout=5)
            if isinstance(message, bytes) and message[0] == wire.FRAME and not message[1] & wire.CUT:
                return message

    def steps(self, *actions: int) -> bytes:
        """Sound and picture of the last of some frames."""
        frame = b""
        for action in actions:
            self.game.keys.press(action, 0.0)
            self.game.keys.press(0, 0.0)
            self.do("step")
            frame = self.frame()
        return frame[wire.HEADER.size :]

    def log(self) -> dict:
        self.do("log")
        return self.message("log")["log"]


@pytest.fixture
def told():
    told = Told()
    yield told
    told.game.stop()


def test_a_tap_shorter_than_a_frame_is_used_once():
    keys = Keys()
    keys.clear(3)
    keys.press(2, 10.0)
    keys.press(0, 15.0)
    assert keys.read() == (2, 10.0)
    assert keys.read() == (0, None)
    keys.press(1, 20.0)
    assert [keys.read()[0] for _ in range(3)] == [1, 1, 1]
    with pytest.raises(wire.BadMessage):
        keys.press(3, 30.0)


def test_same_seed_and_actions_same_frames(told):
    told.do("reset", seed=11, start=1)
    first = told.steps(1, 1, 2, 0)
    told.do("reset", seed=11, start=1)
    assert told.steps(1, 1, 2, 0) == first
    told.do("reset", seed=12, start=1)
    assert told.steps(1, 1, 2, 0) != first


def test_moments_restore_picture_future_and_log(told):
    told.steps(1, 2)
    told.do("save")
    ident = told.message("state", moments=1)["moments"][0]["ident"]
    future = told.steps(2, 2, 1)
    told.do("restore", ident=ident)
    assert told.log()["actions"] == [[1, 1], [2, 1]]
    assert told.steps(2, 2, 1) == future
    told.do("forget", ident=ident)
    told.do("restore", ident=ident)
    assert "no longer kept" in told.message("error")["text"]


def test_branches_live_on_their_own(told):
    told.steps(1)
    told.do("fork")
    state = told.message("state", branches=2)
    trunk, fork = (branch["ident"] for branch in state["branches"])
    assert state["active"] == fork
    told.steps(2, 2, 2, 2)
    told.do("switch", ident=trunk)
    assert told.log()["actions"] == [[1, 1]]
    told.steps(1)
    assert told.log()["actions"] == [[1, 2]]
    told.do("switch", ident=fork)
    assert told.log()["actions"] == [[1, 1], [2, 4]]
    told.do("close", ident=fork)
    assert "being played" in told.message("error")["text"]


def test_shelves_are_bounded(told):
    for kind, room in (("save", 8), ("fork", 3)):
        for _ in range(room + 1):
            told.do(kind)
        assert "at most" in told.message("error")["text"]


def test_rewind_goes_back_about_five_seconds_and_can_be_repeated():
    branch = Branch.begin(ToyWorld.load("pong"), Origin(7, None))
    for i in range(400):
        branch.step(i % 3)
    assert branch.rewind(5) == pytest.approx(5, abs=0.25)
    frame, actions = digest(branch.frame), list(branch.actions)
    assert branch.rewind(5) > 3
    for action in actions[len(branch.actions) :]:
        branch.step(action)
    assert digest(branch.frame) == frame and branch.actions == actions
    assert Branch.begin(ToyWorld.load("pong"), Origin(7, None)).rewind(5) == 0


def test_a_replayed_log_ends_in_the_very_same_frame(told):
    told.do("load", world="doom", backend="mlx", steps=4, precision="float16")
    told.do("reset", seed=5, start=2)
    told.steps(*[1, 1, 2, 0] * 8)
    log = told.log()
    told.do("load", world="pong", backend="torch", steps=None, precision=None)
    told.do("replay", log=log)
    assert told.message("replayed") == {"type": "replayed", "same": True, "frames": 32}
    assert told.log() == log
    told.do("replay", log={**log, "actions": [*log["actions"][:-1], [1, 1]]})
    assert told.message("replayed")["same"] is False


BAD_ACTIONS = ["1", [3], [[1]], [[3, 1]], [[1, 0]], [[1, True]], [[[1], 1]], [[1, 200_001]], [[0, 200_000], 1], None]


@pytest.mark.parametrize(
    "change",
    [{"format": "x"}, {"seed": -1}, {"world": "../../etc/passwd"}, {"digest": None}, {"backend": "jax"}, {"steps": 3},
     {"action_names": ["noop", "fire", "jump"]}, {"start": 99}, {"world_digest": 3}, {"world_digest": "0"},
     *({"actions": actions} for actions in BAD_ACTIONS)],
)  # fmt: skip
def test_a_bad_log_is_refused_and_the_world_plays_on(told, change):
    told.steps(1)
    told.do("replay", log={**told.log(), **change})
    assert told.message("error")["text"]
    told.steps(2)
    assert told.log()["actions"][-1] == [2, 1]


def test_a_world_that_cannot_be_loaded_leaves_the_present_one(told):
    told.steps(1, 1)
    for world, backend, steps in (("nowhere", "torch", 2), ("pong", "jax", 2), ("pong", "torch", 3)):
        told.do("load", world=world, backend=backend, steps=steps, precision=None)
        told.message("error")
    assert told.log()["actions"] == [[1, 2]]


def test_a_failing_step_pauses_and_is_told(told):
    def fail(self, action):
        raise RuntimeError("out of memory")

    told.steps(1)
    told.game._branch.world.step = fail.__get__(told.game._branch.world)
    told.do("run", on=True)
    assert "out of memory" in told.message("error")["text"]
    assert told.message("state")["running"] is False
