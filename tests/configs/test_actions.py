"""Actions in one form: indices of names that may join keys, or rows of buttons and axes."""

import numpy as np
import pytest

from mlxworld.configs.actions import ActionSpace, hybrid
from mlxworld.errors import MlxworldError

KEYS = ActionSpace(("noop", "left", "right", "fire", "fire+left", "forward+fire+left"))
CAR = hybrid(("brake", "horn"), ("steer", "gas"))


@pytest.mark.parametrize(
    ("action", "index"),
    [
        *((i, i) for i in range(6)),
        *((np.int32(4), 4), ("fire", 3), ("left+fire", 4), ("fire+left", 4), ("left+forward+fire", 5)),
        *((set(), 0), ({"left"}, 1), (frozenset({"fire", "left"}), 4), ({"fire", "left", "forward"}, 5)),
        *(({"left", "right"}, 1), ({"forward"}, 0), ({"forward", "fire"}, 3), (np.array(2), 2)),
    ],
)
def test_named_actions(action, index):
    found = KEYS.encode(action)
    assert found.shape == () == KEYS.shape and found.dtype == np.int32 and found == index
    assert KEYS.name(found) == KEYS.names[index]


@pytest.mark.parametrize(
    ("action", "row"),
    [
        *(("noop", [0, 0, 0, 0]), ("horn", [0, 1, 0, 0]), ("steer-", [0, 0, -1, 0]), (6, [0, 0, 0, 1])),
        *(({"brake", "steer+"}, [1, 0, 1, 0]), ({"steer+", "steer-"}, [0, 0, 0, 0]), (set(), [0, 0, 0, 0])),
        *(([0, 1, 0.5, -0.25], [0, 1, 0.5, -0.25]), (np.array([1, 1, -1, 1]), [1, 1, -1, 1])),
        *(({"steer": 0.3, "horn": True}, [0, 1, 0.3, 0]), ({}, [0, 0, 0, 0])),
        ({"buttons": np.array([0, 1], np.int8), "axes": np.array([0.5, -1], np.float32)}, [0, 1, 0.5, -1]),
        ({"axes": [0.5, -1]}, [0, 0, 0.5, -1]),
    ],
)
def test_buttons_and_axes(action, row):
    found = CAR.encode(action)
    assert found.shape == (4,) == CAR.shape and found.dtype == np.float32
    assert np.allclose(found, row) and CAR.holds(found)


def test_names_move_one_of_them_alone():
    assert CAR.names == ("noop", "brake", "horn", "steer-", "steer+", "gas-", "gas+")
    assert [CAR.name(CAR.encode(name)) for name in CAR.names] == list(CAR.names)
    assert CAR.name(np.array([0, 0, 0.8, 0.1])) == "steer+"


@pytest.mark.parametrize("space", [KEYS, CAR])
@pytest.mark.parametrize("action", ["jump", "left+jump", 7, -1, 1.5, None, {"jump"}, {"jump": 1}, [1, 2, 3], "", b"x"])
def test_what_is_no_action_is_one_line(space, action):
    with pytest.raises(MlxworldError) as caught:
        space.encode(action)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("row", [[0, 0, 0, 1.5], [0.5, 0, 0, 0], [0, 0, 0, np.nan], [[0, 0, 0, 0]], ["a", 0, 0, 0]])
def test_numbers_outside_are_refused(row):
    with pytest.raises(MlxworldError):
        CAR.encode(row)


def test_arrays_are_looked_at_whole():
    assert KEYS.holds(np.arange(6)) and not KEYS.holds(np.arange(7)) and not KEYS.holds(np.zeros(3))
    assert CAR.holds(np.zeros((5, 7, 4), np.float32)) and not CAR.holds(np.zeros((5, 3), np.float32))
    assert not CAR.holds(np.full((2, 4), np.nan)) and not CAR.holds(np.zeros(4, bool))
