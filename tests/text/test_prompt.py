"""Rows as arrays: padding, positions of pictures, what attends to which picture, and further tokens."""

import numpy as np
import pytest

from mlxworld import MlxworldError
from mlxworld.text.prompt import attended, extended, prompt
from tests.models.vision_language.oracle_models import cases
from tests.models.vision_language.oracle_vision import reference


def test_positions_of_pictures_and_films_are_the_published_ones():
    r, (case,) = reference("qwen2_vl"), cases("qwen2_vl")
    real = r["in.attention_mask"] == 1
    assert (case.prompt["positions"][real] == np.moveaxis(r["position_ids"], 0, -1)[real]).all()
    T, pad = real.shape[1], case.prompt["pad"]
    assert (T + case.prompt["shift"] == T - pad + r["rope_deltas"][:, 0]).all()  # there without padding


def test_rows_are_padded_at_their_beginnings():
    arrays = prompt([[5, 9, 9, 6], [9, 7]], placeholders=(9,))
    assert arrays["ids"].tolist() == [[5, 9, 9, 6], [0, 0, 9, 7]]
    assert arrays["pad"].tolist() == [0, 2] and arrays["shift"].tolist() == [0, -2]
    assert arrays["feature"].tolist() == [[-1, 0, 1, -1], [-1, -1, 2, -1]]
    assert arrays["positions"].tolist() == [[0, 1, 2, 3], [0, 0, 0, 1]]


def test_padding_is_no_placeholder_of_number_0():
    assert prompt([[3, 3], [0]], placeholders=(0,))["feature"].tolist() == [[-1, -1], [-1, 0]]


def test_pictures_are_told_apart():
    arrays = prompt([[1, 9, 9, 2, 9, 9], [9, 9, 3]], placeholders=(9,), whole=True)
    assert arrays["picture"].tolist() == [[0, 1, 1, 0, 2, 2], [0, 0, 0, 1, 1, 0]]


def test_grids_must_fit_their_placeholders():
    for row, grids, said in (
        ([1, 9, 9, 9, 2], [(1, 4, 4)], "another number of placeholders"),
        ([1, 9, 9, 9, 9, 2, 9], [(1, 4, 4)], "more pictures than there are"),
        ([1, 9, 9, 9, 9, 2], [(1, 4, 4), (1, 4, 4)], "1 of the pictures have no placeholder"),
    ):
        with pytest.raises(MlxworldError, match=said):
            prompt([row], (9,), grids)
    with pytest.raises(MlxworldError, match="at least one token"):
        prompt([[]])


def test_a_token_sees_the_last_pictures_before_it():
    rows = [[1, 9, 4, 9, 9, 5], [9, 6]]
    visible = np.array([[True, False], [True, True], [True, True], [True, True]])
    arrays = attended(rows, 9, visible)
    seen = arrays["seen"].reshape(2, 6, 3, 2)
    assert arrays["rows"].tolist() == [[0, 1, 2], [3, 0, 0]]
    assert seen[0, :, 0].any(1).tolist() == [False, True, True, False, False, False]
    assert seen[0, :, 1].all(1).tolist() == [False, False, False, True, True, True]  # two beside each other are seen
    assert seen[0, :, 2].all(1).tolist() == [False, False, False, False, True, True]  # together
    assert not seen[0, 1, 0, 1]  # what is not there
    assert seen[1, :, 0].all(1).tolist() == [False] * 4 + [True, True] and not seen[1, :, 1:].any()


def test_seen_tiles_are_the_published_ones():
    r, (case,) = reference("mllama"), cases("mllama")
    theirs = np.repeat(r["in.cross_attention_mask"][:, :, 0], 5, axis=2) == 1
    real = r["in.attention_mask"] == 1
    assert (case.prompt["seen"][real] == theirs[real]).all()


def test_further_tokens_are_as_if_they_had_been_there():
    rows, more = [[1, 9, 9, 9, 9, 2], [9, 9, 9, 9, 3]], np.array([[4, 5], [6, 7]])
    grids = [(1, 4, 4), (1, 4, 4)]
    whole = prompt([[*row, *new] for row, new in zip(rows, more.tolist(), strict=True)], (9,), grids, whole=True)
    grown = extended(prompt(rows, (9,), grids, whole=True), more)
    assert all(np.array_equal(grown[name][..., -8:] if name != "shift" else grown[name] - 2, whole[name])
               for name in whole if name not in ("shift",))  # fmt: skip
    chosen = extended(prompt(rows), more[:1], [1])
    assert chosen["ids"].tolist() == [[0, 9, 9, 9, 9, 3, 4, 5]] and chosen["positions"][0, -1] == 6
