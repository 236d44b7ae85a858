"""Spaces of actions as one list: each action is one of the space, names are apart, what has no list is refused."""

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from mlxworld.data.envs.action_spaces import discrete_actions
from mlxworld.errors import MlxworldError

INF = np.inf


def box(low, high, dtype: Any = np.float32):
    return spaces.Box(np.array(low, dtype), np.array(high, dtype), dtype=dtype)


SPACES = {
    "discrete": (spaces.Discrete(3, start=-1), ["-1", "0", "1"], {0: -1, 2: 1}),
    "box": (box([-2, 0, -INF], [2, 1, 5]), ["noop", "0-", "0+", "1+", "2-", "2+"], {0: [0, 0, 0], 4: [0, 0, -1]}),
    "beyond zero": (box([2], [INF]), ["noop", "0+"], {0: [2], 1: [3]}),
    "below zero": (box([-INF], [-3]), ["noop", "0-"], {0: [-3], 1: [-4]}),
    "largest": (box([-np.finfo("f").max], [np.finfo("f").max]), ["noop", "0-", "0+"], {1: [-1], 2: [1]}),
    "whole numbers": (box([-128, 0], [127, 9], np.int8), ["noop", "0-", "0+", "1+"], {1: [-128, 0], 3: [0, 9]}),
    "unbounded whole": (spaces.Box(-INF, INF, (1,), np.int32), ["noop", "0-", "0+"], {1: [-1], 2: [1]}),
    "single number": (spaces.Box(-1, 1, ()), ["noop", "0-", "0+"], {1: -1}),
    "buttons": (spaces.MultiBinary(2), ["noop", "1", "0", "0+1"], {0: [0, 0], 1: [0, 1], 3: [1, 1]}),
    "numbers": (
        spaces.MultiDiscrete([2, 3]),
        ["noop", "1=1", "1=2", "0=1", "0=1+1=1", "0=1+1=2"],
        {0: [0, 0], 4: [1, 1]},
    ),
    "shifted": (spaces.MultiDiscrete([2, 1], start=[5, 7]), ["noop", "0=6"], {0: [5, 7], 1: [6, 7]}),
    "grid": (spaces.MultiBinary((1, 2)), ["noop", "1", "0", "0+1"], {3: [[1, 1]]}),
    "dict": (
        spaces.Dict(gear=spaces.Discrete(2), steer=box([-2], [2])),
        ["noop", "steer-", "steer+", "gear=1", "gear=1+steer-", "gear=1+steer+"],
        {0: {"gear": 0, "steer": [0]}, 5: {"gear": 1, "steer": [2]}},
    ),
    "tuple": (
        spaces.Tuple([spaces.MultiBinary(1), spaces.Dict(a=spaces.MultiDiscrete([2]))]),
        ["noop", "1.a.0=1", "0.0", "0.0+1.a.0=1"],
        {3: ([1], {"a": [1]})},
    ),
}


@pytest.mark.parametrize("name", SPACES)
def test_a_space_is_a_list_of_named_actions(name):
    space, names, codes = SPACES[name]
    found, values = discrete_actions(space)
    assert list(found) == names and len(values) == len(names)
    assert all(space.contains(value) for value in values)

    def plain(value):
        if isinstance(value, dict):
            return {key: plain(part) for key, part in value.items()}
        return tuple(map(plain, value)) if isinstance(value, tuple) else np.asarray(value).tolist()

    assert {i: plain(values[i]) for i in codes} == codes


def test_a_consoles_buttons_are_pressed_one_at_a_time():
    labels = ["B", None, "SELECT", "START", "UP", "DOWN", "LEFT", "RIGHT", "A", "L"]
    names, codes = discrete_actions(spaces.MultiBinary(10), labels)
    assert names == ("noop", "b", "1", "select", "start", "up", "down", "left", "right", "a", "l")
    assert np.array(codes).sum(1).tolist() == [0] + [1] * 10 and codes[5].tolist().index(1) == 4
    assert discrete_actions(spaces.MultiBinary(2), ["A", "Left"])[0] == ("noop", "left", "a", "a+left")


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (["NOOP", "Fire", "FIRE"], ("NOOP", "Fire", "FIRE")),  # lower case would make them one
        (["NOOP", "Left", "RIGHT"], ("noop", "left", "right")),
        (["a", "a", "a"], ("a", "a 2", "a 3")),
        (["a", "a", "a 2"], ("a", "a 2", "a 2 2")),
        ([0, 1.5, None], ("0", "1.5", "none")),
        (["noop", "left,fire", ' say "x"\n'], ("noop", "left,fire", 'say "x"')),
        (["\x1b[31mred", "", "\ud800"], ("[31mred", "1", "2")),
        (["noop"], ("0", "1", "2")),  # of another number: they say nothing
        (["a", "b", "c", "d"], ("0", "1", "2")),
    ],
)
def test_labels_become_names_that_differ(labels, names):
    found, codes = discrete_actions(spaces.Discrete(3), labels)
    assert found == names and codes == [0, 1, 2]


@pytest.mark.parametrize(
    "space",
    [
        spaces.Discrete(10**12),
        spaces.MultiBinary(100),
        spaces.MultiBinary(10**6),
        spaces.MultiDiscrete([1000, 1000]),
        spaces.MultiDiscrete([10**12]),
        spaces.Box(0, 255, (96, 96, 3), np.uint8),
        spaces.Text(5),
        spaces.Sequence(spaces.Discrete(2)),
        spaces.Dict(a=spaces.Discrete(2), b=spaces.Text(3)),
    ],
    ids=str,
)
def test_what_has_no_short_list_is_refused(space):
    with pytest.raises(MlxworldError, match=r"more than 64 of them|has no list of actions"):
        discrete_actions(space)


def test_many_are_taken_one_axis_at_a_time():
    names, codes = discrete_actions(spaces.MultiDiscrete([5, 5, 5]))
    assert len(names) == 13 and names[:3] == ("noop", "0=1", "0=2")
    assert [int(np.count_nonzero(code)) for code in codes] == [0] + [1] * 12
