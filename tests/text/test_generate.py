"""The loop around a model: rows that end, batches and rows alone, chance, penalties, shared compiled steps."""

import itertools

import numpy as np
import pytest

from mlxworld import MlxworldError
from mlxworld.text.beams import BeamConfig
from mlxworld.text.choose import Choice
from mlxworld.text.generate import Generator, Options
from mlxworld.text.prompt import prompt
from tests.models.vision_language.oracle_models import load

ROWS = [[1, 50, 60, 70, 80, 90, 100], [1, 33, 44], [1, 200, 210, 220, 111]]


@pytest.fixture(scope="module")
def generators():
    import mlxworld

    packages = [mlxworld.on(name) for name in mlxworld.BACKENDS]
    return {package.__name__: Generator(package, load(package, "cohere")) for package in packages}


@pytest.fixture
def generator(generators, backend):
    return generators[backend.__name__]


def test_a_batch_of_ragged_rows_is_its_rows_alone(generator):
    together = generator.tokens(prompt(ROWS), None, Options(40))
    assert together == [generator.tokens(prompt([row]), None, Options(40))[0] for row in ROWS]
    assert all(len(row) == 40 for row in together)


def test_a_row_ends_with_its_end_and_the_others_go_on(generator):
    free = generator.tokens(prompt(ROWS), None, Options(30))
    end = free[1][5]
    rows = generator.tokens(prompt(ROWS), None, Options(30, (end,)))
    for row, whole in zip(rows, free, strict=True):
        cut = whole.index(end) + 1 if end in whole else 30
        assert row == whole[:cut]
    steps = list(generator.stream(prompt(ROWS[1:2]), None, Options(30, (end,))))
    assert len(steps) == free[1].index(end) + 1  # and then no more


def test_chance_is_that_of_the_seed_and_the_same_on_both_backends(generators):
    drawn = [
        [g.tokens(prompt(ROWS), None, Options(20, choice=Choice(1.0, top_k=20, seed=seed))) for seed in (0, 0, 1)]
        for g in generators.values()
    ]
    for first, again, other in drawn:
        assert first == again != other
    assert drawn[0] == drawn[1]
    assert drawn[0][0] != generators["mlxworld"].tokens(prompt(ROWS), None, Options(20))


def test_temperature_near_0_is_the_likeliest(generator):
    cold = generator.tokens(prompt(ROWS), None, Options(20, choice=Choice(1e-4)))
    assert cold == generator.tokens(prompt(ROWS), None, Options(20))


def test_penalties_hold_over_prompt_and_continuation(generator):
    once = Options(40, choice=Choice(no_repeat_ngram=2))
    for row, new in zip(ROWS, generator.tokens(prompt(ROWS), None, once), strict=True):
        words = [*row, *new]
        pairs = list(itertools.pairwise(words))
        assert len(set(pairs)) == len(pairs)
    lowered = generator.tokens(prompt(ROWS), None, Options(40, choice=Choice(repetition_penalty=50.0)))
    assert all(len(set(new)) == 40 and not set(new) & set(row) for row, new in zip(ROWS, lowered, strict=True))


def test_one_beam_is_the_likeliest_and_more_have_the_scores_of_their_words(generator):
    options = Options(12, beams=BeamConfig(4, length_penalty=0.0))
    greedy = generator.tokens(prompt(ROWS), None, Options(12))
    for row, beams in zip(ROWS, generator.beams(prompt(ROWS), None, options), strict=True):
        assert [score for score, _ in beams] == sorted((score for score, _ in beams), reverse=True)
        for score, new in beams:
            logits = generator.logits(prompt([[*row, *new]]))[0, len(row) - 1 : -1].astype(np.float64)
            total = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
            assert score == pytest.approx(total[np.arange(12), new].sum(), abs=1e-4)
    assert generator.tokens(prompt(ROWS), None, Options(12, beams=BeamConfig(1))) == greedy
    with pytest.raises(MlxworldError, match="beams have no stream"):
        next(generator.stream(prompt(ROWS), None, options))


def test_prompts_of_similar_lengths_share_a_step(generator):
    generator._loops.clear()
    for row in (ROWS[0], ROWS[1], ROWS[0]):
        generator.tokens(prompt([row]), None, Options(8))
    assert len(generator._loops) == 1
    first = generator.tokens(prompt(ROWS[:1]), None, Options(8))
    generator.tokens(prompt(ROWS[1:2]), None, Options(8))
    assert generator.tokens(prompt(ROWS[:1]), None, Options(8)) == first  # nothing of another prompt is left
