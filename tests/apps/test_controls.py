"""Worlds of buttons and axes: several names are held at once, played, logged and replayed."""

from types import SimpleNamespace

import pytest

from apps.play import wire
from apps.play.controls import count, meant, number_of
from apps.play.game import Choice

from .test_game import Told
from .toy import ToyWorld


class Hybrid(ToyWorld):
    """Moves by the set of names that are held."""

    actions = ("noop", "fire", "up-", "up+")
    action_space = SimpleNamespace(shape=(2,))
    taken: list = []  # noqa: RUF012

    def step(self, action):
        assert isinstance(action, set)
        self.taken.append(action)
        return super().step(2 if "up-" in action else 1 if "up+" in action else 0)


def test_numbers_are_sets_of_names():
    world = Hybrid.load("x")
    assert count(world) == 8 and meant(world, 0) == set() and meant(world, 5) == {"fire", "up+"}
    assert [meant(world, number_of(world, i)) for i in range(4)] == [set(), {"fire"}, {"up-"}, {"up+"}]
    plain = ToyWorld.load("x")
    assert count(plain) == 3 and meant(plain, 2) == 2 and number_of(plain, 2) == 2


def test_sets_are_played_logged_and_replayed():
    told = Told(Choice("pong"), Hybrid)
    Hybrid.taken.clear()
    told.steps(5, 3, 0)
    assert Hybrid.taken == [{"fire", "up+"}, {"fire", "up-"}, set()]
    with pytest.raises(wire.BadMessage):
        told.game.keys.press(8, 0.0)
    log = told.log()
    assert log["together"] is True and log["actions"] == [[5, 1], [3, 1], [0, 1]]
    told.do("replay", log=log)
    assert told.message("replayed")["same"] is True
    told.do("replay", log={**log, "actions": [[8, 1]]})
    assert "not among" in told.message("error")["text"]
    told.game.stop()
