"""Configurations from plain values: read by annotation, whatever the default is; what is wrong is named by place."""

import json
import math
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlxworld import MlxworldError
from mlxworld.configs.load import from_dict, to_dict


@dataclass(frozen=True)
class Part:
    dim: int
    scale: float = 1.0


@dataclass(frozen=True)
class Whole:
    part: Part
    other: Part | None = None
    count: int | None = None
    sizes: tuple[int, ...] = ()
    size: tuple[int, int] = (1, 2)
    parts: tuple[Part, ...] = ()
    names: list[str] = field(default_factory=list)
    mode: Literal["a", "b"] = "a"
    rates: dict[str, float] = field(default_factory=dict)
    flag: bool = False
    anything: Any = None
    either: int | str = 0
    nested: tuple[tuple[int, ...], ...] = ()


FULL = {
    "part": {"dim": 1, "scale": 2, "later": [1]},
    "other": {"dim": 2},
    "count": 3,
    "sizes": [1, 2, 3],
    "size": [3, 4],
    "parts": [{"dim": 5}, {"dim": 6}],
    "names": ["x"],
    "mode": "b",
    "rates": {"x": 1},
    "flag": True,
    "anything": {"y": [None]},
    "either": "z",
    "nested": [[1], []],
}


def test_every_annotation():
    whole = from_dict(Whole, FULL)
    assert whole == Whole(
        part=Part(1, 2.0),
        other=Part(2),
        count=3,
        sizes=(1, 2, 3),
        size=(3, 4),
        parts=(Part(5), Part(6)),
        names=["x"],
        mode="b",
        rates={"x": 1.0},
        flag=True,
        anything={"y": [None]},
        either="z",
        nested=((1,), ()),
    )
    assert type(whole.part.scale) is float and type(whole.rates["x"]) is float
    assert from_dict(Whole, json.loads(json.dumps(to_dict(whole)))) == whole


def test_defaults_that_say_nothing_of_their_type():
    """A default of None or () once decided what could be read."""
    assert from_dict(Whole, {"part": {"dim": 1}}) == Whole(Part(1))
    assert from_dict(Whole, {"part": {"dim": 1}, "count": None, "other": None, "sizes": []}) == Whole(Part(1))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"part": {}}, "x.json lacks part.dim"),
        ({}, "x.json lacks part"),
        ({"part": 3}, "x.json: part: expected an object of settings, found 3"),
        ({"part": {"dim": "4"}}, "x.json: part.dim must be int, found '4'"),
        ({"part": {"dim": 1.0}}, "x.json: part.dim must be int, found 1.0"),
        ({"part": {"dim": True}}, "x.json: part.dim must be int, found True"),
        ({"part": {"dim": 2**63}}, f"x.json: part.dim must be int, found {2**63}"),
        ({"part": {"dim": None}}, "x.json: part.dim must be int, found None"),
        ({"part": {"dim": 1, "scale": math.nan}}, "x.json: part.scale must be float, found nan"),
        ({"part": {"dim": 1, "scale": -math.inf}}, "x.json: part.scale must be float, found -inf"),
        ({"part": {"dim": 1, "scale": 10**400}}, "x.json: part.scale must be float, found 1000"),
        ({"part": {"dim": 1, "scale": False}}, "x.json: part.scale must be float, found False"),
        ({"other": {"dim": []}}, "x.json: other.dim must be int, found []"),
        ({"other": 1}, "x.json: other must be an object of settings or null, found 1"),
        ({"count": "1"}, "x.json: count must be int or null, found '1'"),
        ({"count": [1]}, "x.json: count must be int or null, found [1]"),
        ({"sizes": [1, "2"]}, "x.json: sizes must be a list of int, found [1, '2']"),
        ({"sizes": 1}, "x.json: sizes must be a list of int, found 1"),
        ({"sizes": "12"}, "x.json: sizes must be a list of int, found '12'"),
        ({"sizes": {"0": 1}}, "x.json: sizes must be a list of int, found {'0': 1}"),
        ({"size": [1]}, "x.json: size must be a list of 2: int, int, found [1]"),
        ({"size": [1, 2, 3]}, "x.json: size must be a list of 2: int, int, found [1, 2, 3]"),
        ({"parts": [{"dim": 1}, {"dim": "2"}]}, "x.json: parts[1].dim must be int, found '2'"),
        ({"parts": [{"dim": 1}, {}]}, "x.json lacks parts[1].dim"),
        ({"names": [None]}, "x.json: names must be a list of str, found [None]"),
        ({"mode": "c"}, "x.json: mode must be 'a' or 'b', found 'c'"),
        ({"mode": ["a"]}, "x.json: mode must be 'a' or 'b', found ['a']"),
        ({"rates": {"a\x1b": "1"}}, r"x.json: rates['a\x1b'] must be float, found '1'"),
        ({"rates": [1]}, "x.json: rates must be an object of float, found [1]"),
        ({"flag": 1}, "x.json: flag must be bool, found 1"),
        ({"flag": None}, "x.json: flag must be bool, found None"),
        ({"either": 1.5}, "x.json: either must be int or str, found 1.5"),
        ({"nested": [[1], ["2"]]}, "x.json: nested[1] must be a list of int, found ['2']"),
    ],
)
def test_what_is_wrong_is_named(values, message):
    if "part" not in values and values:
        values = {"part": {"dim": 1}, **values}
    with pytest.raises(MlxworldError) as failure:
        from_dict(Whole, values, "x.json")
    assert str(failure.value).startswith(message)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(sorted(FULL)), inner),
)


@given(st.dictionaries(st.sampled_from(sorted(FULL)), JSON))
def test_any_values_are_read_or_refused_in_one_short_line(values):
    try:
        whole = from_dict(Whole, {"part": {"dim": 1}, **values}, "x.json")
    except MlxworldError as error:
        assert str(error).isprintable() and len(str(error)) < 250
    else:
        json.dumps(to_dict(whole))


def test_a_long_value_is_shown_short():
    with pytest.raises(MlxworldError) as failure:
        from_dict(Whole, {"part": {"dim": "x" * 10**6}}, "x.json")
    assert len(str(failure.value)) < 150
