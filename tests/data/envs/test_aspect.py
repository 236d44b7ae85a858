"""How wide a pixel is shown: known of a game, written beside its recording, kept by the world that learns from it."""

import dataclasses
import json

import pytest

from mlxworld import World
from mlxworld.data.envs import sources
from mlxworld.data.episodes.format import DatasetInfo, dataset_info, read_info, write_info
from mlxworld.data.episodes.frames import _key
from mlxworld.errors import MlxworldError
from mlxworld.files import atomic
from mlxworld.files.reading import read_json
from mlxworld.play.folder import aspect
from tests.play.small_world import small_world

INFO = DatasetInfo(30, 64, (16, 16))


def test_doom_is_four_to_three_and_other_worlds_are_square():
    assert sources.aspect("doom") == sources.aspect("doom:map01") == 4 / 3
    assert {sources.aspect(name) for name in ("pong", "bounce:ball", "gym:doom-v0", "mine")} == {1.0}


def test_a_dataset_says_it_and_an_old_one_is_square(tmp_path):
    write_info(tmp_path, dataclasses.replace(INFO, aspect=4 / 3))
    assert dataset_info(tmp_path).aspect == 4 / 3
    old = {k: v for k, v in read_json(tmp_path / "dataset.json").items() if k != "aspect"}
    atomic.write_text(tmp_path / "dataset.json", json.dumps(old))
    assert dataset_info(tmp_path).aspect == 1
    assert _key(tmp_path, [], INFO) == _key(tmp_path, [], dataclasses.replace(INFO, aspect=2)), "it changes no pixel"


@pytest.mark.parametrize("wrong", [0, -1, 5, float("nan"), float("inf")])
def test_one_that_no_screen_has_is_refused(tmp_path, wrong):
    write_info(tmp_path, dataclasses.replace(INFO, aspect=wrong))
    with pytest.raises(MlxworldError, match=r"aspect must be from|dataset\.json"):
        read_info(tmp_path)


def test_a_world_keeps_it_and_where_it_does_not_its_game_decides(tmp_path):
    assert World.load(small_world(tmp_path)).aspect == 1.0
    card = lambda **data: {"name": "mine", "card": {"data": data}}  # noqa: E731
    assert aspect(card(source="doom:basic")) == 4 / 3
    assert aspect(card(source="doom:basic", aspect=1)) == 1.0
    assert aspect(card(source="films", aspect=1.5)) == 1.5
    for broken in ("wide", None, -1, 1e9, float("nan"), [1]):
        assert aspect(card(source="films", aspect=broken)) == 1.0
    assert aspect({"name": "doom", "card": 3}) == 4 / 3
