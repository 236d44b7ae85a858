"""Action logs: any that the app can make is played again, wherever the same world was loaded from."""

import json
import random

import pytest
from websockets.exceptions import ConnectionClosed

from apps.play import action_log, wire
from apps.play.action_log import MAX_ACTIONS, Log, label, runs, unrolled
from apps.play.branch import Branch, Origin
from apps.play.game import Choice

from .test_game import Told
from .toy import ToyWorld


def a_log(**changes) -> dict:
    """A log of 20 frames of the toy world, as the app writes it."""
    branch = Branch.begin(ToyWorld.load("pong"), Origin(7, None))
    for action in (1, 1, 2, 0) * 5:
        branch.step(action)
    return {**branch.log(branch.world.digest), **changes}


def test_runs_are_unrolled_to_the_same_actions():
    draw = random.Random(2)
    for length in (0, 1, 2, 1000):
        actions = tuple(draw.choice((0, 0, 0, 1, 2)) for _ in range(length))
        assert unrolled(runs(actions)) == actions == unrolled(list(actions))
    assert runs([1, 1, 0, 1]) == [[1, 2], [0, 1], [1, 1]]


@pytest.mark.parametrize(
    "entries",
    [None, "1", {}, [[1]], [[1, 2, 3]], [[1, 0]], [[1, -1]], [[-1, 1]], [[1.0, 1]], [[1, 1.0]], [[True, 1]],
     [[1, True]], [[[], 1]], [None], [[1, MAX_ACTIONS + 1]], [[1, MAX_ACTIONS], 0], [0] * (MAX_ACTIONS + 1),
     [[1, 2**63]] * 3],
)  # fmt: skip
def test_what_is_no_list_of_actions_is_refused(entries):
    assert unrolled(entries) is None


WORST = [[i % 2, 1] for i in range(MAX_ACTIONS)]  # no two actions alike


@pytest.mark.parametrize("spaces", [True, False])
def test_the_longest_log_fits_a_message(spaces):
    separators = (", ", ": ") if spaces else (",", ":")
    names = [f"action {number}" for number in range(65536)]
    for actions in (WORST, [[65535 - i % 2, 1] for i in range(MAX_ACTIONS)], [i % 2 for i in range(MAX_ACTIONS)]):
        log = a_log(actions=actions, action_names=names)
        text = json.dumps({"type": "replay", "log": log}, separators=separators)
        assert len(Log.read(wire.parse(text)["log"]).actions) == MAX_ACTIONS


@pytest.mark.parametrize("actions", [WORST, [0] * 140_000, [[1, MAX_ACTIONS]]], ids=["worst", "plain", "one run"])
def test_a_long_log_begins_to_replay_over_the_socket(served, actions):
    with served.join() as page:
        page.until("frame")
        page.say("replay", log=a_log(actions=actions))
        count = len(unrolled(actions) or ())
        assert page.until("state", running=True)["replay"][1] == count
        page.until("frame", flags=2)
        page.say("stop")
        page.until("state", replay=None)


def test_a_log_holds_no_place_of_this_machine_and_replays_in_another():
    first = Told(Choice("/srv/someone/worlds/mine"))
    try:
        first.steps(*[1, 2, 0] * 4)
        log = first.log()
    finally:
        first.game.stop()
    assert (log["world"], log["actions"][0]) == ("mine", [1, 1])
    assert log["world_digest"] == ToyWorld.load("mine").digest
    assert "someone" not in json.dumps(log)
    for elsewhere in ("/data/mine", "mine", "C:\\worlds\\mine"):
        other = Told(Choice(elsewhere))
        try:
            other.do("replay", log=log)
            assert other.message("replayed")["same"] is True
            other.do("load", world="doom", backend=None, steps=None, precision=None)
            other.do("replay", log=log)  # from another world, back to it
            assert other.message("replayed")["same"] is True
            assert other.log() == log
        finally:
            other.game.stop()


class Renamed(ToyWorld):
    """The world of `ToyWorld` under whatever name: its digest tells that it is the same."""

    digest = "0" * 64  # type: ignore[assignment]


def test_a_world_is_known_by_its_digest_not_by_its_name():
    game = Told(Choice("/there/another-name"), Renamed)
    try:
        game.do("replay", log=a_log(world_digest="0" * 64))
        assert game.message("replayed")["same"] is True
        game.do("replay", log=a_log(world_digest="1" * 64))
        assert "other weights" in game.message("error")["text"]
        game.do("replay", log=a_log(world_digest="1" * 64, world="unheard-of"))
        assert "not among those offered" in game.message("error")["text"]
        assert game.steps(1)
    finally:
        game.game.stop()


@pytest.mark.parametrize("world", ["pong", "/srv/someone/pong"])
def test_an_old_log_is_still_read(world):
    old = a_log(format="mlxworld-actions-1", world=world, actions=[1, 1, 2, 0] * 5)
    del old["world_digest"]
    game = Told(Choice("doom"))
    try:
        game.do("replay", log=old)
        assert game.message("replayed") == {"type": "replayed", "same": True, "frames": 20}
        game.do("replay", log={**old, "world": "/etc/passwd"})
        assert "not among those offered" in game.message("error")["text"]
    finally:
        game.game.stop()


def test_a_full_log_ends_the_play_with_a_line_and_can_be_replayed(monkeypatch):
    monkeypatch.setattr("apps.play.model_thread.MAX_ACTIONS", 20)
    game = Told(Choice("pong"))
    try:
        game.do("run", on=True)
        assert "log is full" in game.message("error")["text"]
        assert game.message("state")["running"] is False
        assert sum(count for _, count in game.log()["actions"]) == 20
        game.do("step")
        assert "log is full" in game.message("error")["text"]
        game.do("replay", log=game.log())
        assert game.message("replayed")["same"] is True
    finally:
        game.game.stop()


def test_a_name_is_the_last_part_of_a_path():
    paths = ("pong", "a/b/pong", "/a/pong/", "C:\\a\\pong", "hf://a/pong")
    assert [label(path) for path in paths] == ["pong"] * 5
    assert label("/") == "/" and len(label("x" * 999)) == 256
    assert action_log.LOG_FORMAT in action_log.READ_FORMATS


def test_a_log_that_is_longer_than_any_ends_with_a_code_that_the_page_can_explain(served):
    with served.join() as page:
        page.until("frame")
        with pytest.raises(ConnectionClosed):
            page.say("replay", log=a_log(actions=[[1, 1]] * 1_200_000))
            while True:
                page.hear()
        assert page.socket.close_code == 1009


def test_a_world_of_many_passes_in_a_deep_folder_can_be_chosen_and_its_log_is_read():
    class Fine(ToyWorld):
        @classmethod
        def load(cls, name, backend=None, batch=1, precision=None, weights=None, steps=None):
            return cls(name, backend or "torch", precision or "float32", steps or 128)

    path = "/" + "a-folder/" * 200 + "mine"
    game = Told(Choice(path), Fine)
    try:
        game.steps(1, 2)
        log = game.log()
        game.do("load", world="doom", backend=None, steps=None, precision=None)
        assert game.message("world")["world"] == "doom"
        game.do("load", world=path, backend="torch", steps=128, precision="float16")
        assert game.message("world")["steps"] == 128
        game.do("replay", log=log)
        assert game.message("replayed")["same"] is True
        old = {**log, "format": "mlxworld-actions-1", "world": path}
        game.do("replay", log=old)
        assert game.message("replayed")["same"] is True
    finally:
        game.game.stop()
