"""Readers of told scenes: on real data they find what is there, on shuffled data they do not."""

import numpy as np
import pytest

from mlxworld.data.pairs.scenes import batch_of, held_out
from mlxworld.evaluate.told import f1, facts, figures, impacts, recall_at_1


def test_a_perfect_translator_has_full_marks_and_its_shuffle_has_not():
    scenes = held_out(30, False)
    batch = batch_of(scenes, 64, 160)
    truth = batch | {name: batch[name] / 255 for name in ("image", "video")}
    table = figures(lambda source, data, target: truth[target], scenes, 64, 160)
    for name, row in table.items():
        assert row["model"] == row["real"] >= 0.85, (name, row)
        assert row["shuffled"] < 0.6 * row["model"], (name, row)


def test_words_are_read():
    text = "a red ball at the top left and a blue square at the bottom right. two impacts."
    assert facts(text) == {"red ball at the top left", "blue square at the bottom right"}
    assert impacts(text) == 2 and impacts("no impacts.") == 0 and impacts("mumble") is None


def test_an_onset_is_matched_once():
    assert f1(np.array([3, 4]), np.array([3])) == (1, 2, 1)
    assert f1(np.array([5]), np.array([3])) == (0, 1, 1)


def test_retrieval():
    x = np.eye(4)
    assert recall_at_1(x, x) == 1 and recall_at_1(x, np.roll(x, 1, 0)) == pytest.approx(0)
