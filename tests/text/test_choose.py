"""What is chosen of logits: penalties, cuts, chance; and beams against all continuations."""

import itertools
from typing import Any

import numpy as np
import pytest

from mlxworld import MlxworldError
from mlxworld.text.beams import BeamConfig, Beams
from mlxworld.text.choose import Choice, choose, penalised, probabilities


def test_a_repetition_is_lowered_whatever_its_sign():
    scores = np.array([[2.0, -2.0, 1.0, 0.5]])
    lowered = penalised(scores, [[0, 1, 1]], Choice(repetition_penalty=2.0))
    assert lowered.tolist() == [[1.0, -4.0, 1.0, 0.5]] and scores[0, 0] == 2.0


@pytest.mark.parametrize(
    ("before", "n", "banned"), [([1, 2, 3, 1, 2], 3, [3]), ([1, 2, 1], 2, [2]), ([4], 1, [4]), ([1, 2], 3, [])]
)
def test_no_ngram_comes_twice(before, n, banned):
    scores = penalised(np.zeros((1, 6)), [before], Choice(no_repeat_ngram=n))[0]
    assert np.flatnonzero(np.isinf(scores)).tolist() == banned


def test_cuts():
    logits = np.log([[0.5, 0.25, 0.15, 0.1]])
    assert np.allclose(probabilities(logits, Choice(1.0, top_k=2)), [[2 / 3, 1 / 3, 0, 0]])
    assert np.allclose(probabilities(logits, Choice(1.0, top_p=0.75)), [[2 / 3, 1 / 3, 0, 0]])
    assert np.allclose(probabilities(logits, Choice(1.0, top_p=0.76)), np.array([[0.5, 0.25, 0.15, 0]]) / 0.9)
    assert np.allclose(probabilities(logits, Choice(0.5)), np.array([[0.25, 0.0625, 0.0225, 0.01]]) / 0.345)
    assert (probabilities(logits, Choice(1.0, top_p=1e-9)) > 0).sum() == 1


def test_chance_has_the_probabilities():
    logits = np.log(np.tile([[0.6, 0.3, 0.0001, 0.0999]], (4000, 1)))
    drawn = choose(logits, [[]] * 4000, Choice(1.0), np.random.default_rng(0))
    assert np.allclose(np.bincount(drawn, minlength=4) / 4000, [0.6, 0.3, 0.0, 0.1], atol=0.03)
    assert (choose(logits, [[]] * 4000, Choice(1.0, top_k=1), np.random.default_rng(0)) == 0).all()


@pytest.mark.parametrize("gnmt", [False, True])
def test_wide_beams_find_the_best_of_all_continuations(gnmt):
    """A chain of 4 words of which 3 ends, at most 5 long: with as many beams as there are, the search is whole."""
    rng, end, most = np.random.default_rng(1), 3, 5
    table = np.log(rng.dirichlet(np.ones(4) * 0.5, size=5))  # by the last word; the last row begins
    cfg = BeamConfig(81, length_penalty=1.3, gnmt=gnmt)
    search = Beams(cfg, 1, (end,), most)
    scores = np.repeat(table[-1:], 81, axis=0)
    while not search.done:
        _, tokens = search.advance(scores)
        scores = table[tokens]
    found = []
    for length in range(1, most + 1):
        for words in itertools.product(range(4), repeat=length):
            ends = words[-1] == end or length == most
            if ends and end not in words[:-1]:
                total = sum(table[a, b] for a, b in zip((4, *words), words, strict=False))
                norm = ((5 + length) / 6 if gnmt else length) ** 1.3
                found.append((total / norm, list(words)))
    best = sorted(found, reverse=True)[:10]
    ours = search.best()[0][:10]
    assert [words for _, words in ours] == [words for _, words in best]
    assert np.allclose([score for score, _ in ours], [score for score, _ in best])


def test_an_early_end():
    table = np.log(np.array([[0.2, 0.5, 0.3]] * 8))
    search = Beams(BeamConfig(2, early=True), 1, (1,), 50)
    steps = 0
    while not search.done:
        search.advance(table[:2])
        steps += 1
    assert steps < 5 and len(search.best()[0]) == 2


def test_settings_that_cannot_be():
    bad: list[dict[str, Any]] = [{"temperature": -1}, {"top_p": 0.0}, {"top_k": -1}, {"repetition_penalty": 0.0}]
    for settings in bad:
        with pytest.raises(MlxworldError):
            Choice(**settings)
    with pytest.raises(MlxworldError):
        BeamConfig(0)
