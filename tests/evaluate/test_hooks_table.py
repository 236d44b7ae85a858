"""docs/hooks.py: the dataset in which two keys are exchanged, the time that each training gets, and the table."""

import time

import pytest

from docs.hooks import COLUMNS, SPARE, HooksConfig, exchanged, shared, table
from mlxworld.data.episodes.actions import read_names
from mlxworld.errors import MlxworldError
from tests.training import tiny


def test_two_keys_are_exchanged_and_nothing_else(tmp_path):
    source = tiny.dots(tmp_path / "dots", lengths=(12,))
    other = exchanged(source, tmp_path / "other", "up", "down")
    before, after = (read_names(folder / "000.actions.csv") for folder in (source, other))
    names = {"up": "down", "down": "up"}
    assert [names.get(n, n) for n in before] == after and before != after
    assert (source / "000.mp4").read_bytes() == (other / "000.mp4").read_bytes()


def test_the_table_has_a_row_for_each():
    row: dict[str, float] = dict.fromkeys(COLUMNS, 0.5)
    lines = table({"nothing": row, "a hook": row | {"numbers": 102915}}).splitlines()
    assert len(lines) == 4 and lines[2].startswith("| nothing | 0 |") and lines[3].startswith("| a hook | 102,915 |")


def test_three_trainings_share_what_measuring_leaves_and_a_plan_stays(tmp_path):
    cfg, begun = HooksConfig(tmp_path, minutes=10), time.monotonic() - 60
    minutes = shared(cfg, begun, row=5.0)
    assert 3 * minutes * 60 == pytest.approx(600 - 60 - 4 * 5 - SPARE, abs=1)
    assert shared(cfg, begun - 60, row=5.0) < minutes  # no training is done yet
    (tmp_path / "hook/samples").mkdir(parents=True)
    (tmp_path / "hook/samples/final.png").touch()
    planned = shared(cfg, begun, row=5.0)
    assert planned < minutes and shared(cfg, begun - 600, row=5.0) == planned


def test_too_little_time_is_one_line(tmp_path):
    with pytest.raises(MlxworldError, match="too little"):
        shared(HooksConfig(tmp_path, minutes=3), time.monotonic(), row=20.0)
