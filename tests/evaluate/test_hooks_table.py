"""docs/hooks.py: the dataset in which two keys are exchanged, and the table."""

from docs.hooks import COLUMNS, exchanged, table
from mlxworld.data.episodes.actions import read_names
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
    assert table({"nothing": row, "a hook": row}).count("\n| ") == 2
