"""Pairs of what can happen and what cannot, and the curve that tells who knows."""

import numpy as np
import pytest

from mlxworld.data import open_source
from mlxworld.data.envs.bounce import Bounce
from mlxworld.errors import MlxworldError
from mlxworld.evaluate import plausibility


@pytest.fixture(scope="module")
def given():
    return plausibility.pairs(open_source("bounce"), 3, seed=5, frames=40)


def test_a_pair_is_the_same_up_to_the_moment_and_then_is_not(given):
    assert len(given.law) == 12 and set(given.law) == {"teleport", "vanish", "pass", "energy"}
    possible, impossible = given.possible[0], given.impossible[0]
    for n, moment in enumerate(given.moment):
        assert np.array_equal(possible[n, :moment], impossible[n, :moment]), given.law[n]
        assert not np.array_equal(possible[n, moment:], impossible[n, moment:]), given.law[n]
    pushed = given.law != "pass"  # bodies pass through each other only once they meet
    at = given.moment[pushed]
    differ = [(possible[pushed][i, t] != impossible[pushed][i, t]).any() for i, t in enumerate(at)]
    assert all(differ)


def test_laws_break_as_their_names_say():
    def state(law, steps):
        source = open_source("bounce")
        source.reset(1)
        for _ in range(10):
            before = source.step(0).state
        source.violate(law, 1)  # type: ignore[attr-defined]
        seen = [source.step(0) for _ in range(steps)]
        return before, seen[0].state, seen

    before, after, _ = state("teleport", 1)
    assert np.linalg.norm(after["position"] - before["position"], axis=-1).max() > 30
    before, after, _ = state("energy", 1)
    assert after["energy"] > 1.2 * before["energy"]
    before, after, seen = state("vanish", 5)
    colours = {tuple(c) for c in seen[0].video.reshape(-1, 3)}
    from mlxworld.data.envs.bounce import PALETTE

    assert sum(tuple(c) in colours for c in PALETTE) == 4
    _, _, seen = state("pass", 90)
    meets = min(
        np.linalg.norm(s.state["position"][i] - s.state["position"][j])
        for s in seen
        for i in range(5)
        for j in range(i)
    )
    assert meets < 12  # two bodies of 7 or more lie inside each other
    with pytest.raises(MlxworldError, match="unknown law 'gravity'"):
        state("gravity", 1)


def test_where_no_body_stops_another_they_cannot_be_made_to_pass():
    for scene in ("ball", "many"):
        assert Bounce(scene).laws == ("teleport", "vanish", "energy")
    given = plausibility.pairs(Bounce("ball"), 1)
    assert all((a != b).any() for a, b in zip(given.possible[0], given.impossible[0], strict=True))
    assert "pass" in Bounce("collisions").laws and "pass" in Bounce("curriculum").laws


def test_a_new_room_keeps_its_laws():
    source, fresh = open_source("bounce"), open_source("bounce")
    source.reset(1)
    source.violate("vanish", 0)  # type: ignore[attr-defined]
    source.violate("pass", 0)  # type: ignore[attr-defined]
    source.step(0)
    one, two = source.reset(2), fresh.reset(2)
    assert np.array_equal(one.video, two.video)
    for _ in range(30):
        one, two = source.step(1), fresh.step(1)
    assert np.array_equal(one.video, two.video)


def test_auc_is_the_share_of_pairs_in_order():
    rng = np.random.default_rng(0)
    a, b = np.round(rng.normal(1, 1, 50), 1), np.round(rng.normal(0, 1, 40), 1)
    order = [(x > y) + 0.5 * (x == y) for x in a for y in b]
    assert plausibility.auc(a, b) == pytest.approx(np.mean(order))
    false, true = plausibility.roc(a, b)
    assert np.trapezoid(true, false) == pytest.approx(plausibility.auc(a, b))
    assert (false[0], true[0], false[-1], true[-1]) == (0, 0, 1, 1)


def test_surprise_is_of_the_worst_token_of_the_worst_frame():
    z = np.zeros((2, 20, 3, 4))
    expected = z.copy()
    expected[1, 15, 2] = 2
    expected[0, 3] = 9  # too early to count
    np.testing.assert_allclose(plausibility.surprise(z, expected), [0, 4])


def test_a_reader_that_knows_beats_the_trivial_one_and_chance(given):
    """A reader that keeps the simulator's clips in mind: whatever differs from one of them is impossible."""
    truth = given.possible[0]

    def knows(video, audio, actions):
        return np.array([np.abs(v.astype(int) - t).max() for v, t in zip(video, truth, strict=True)])

    table = plausibility.plausibility_report(given, {"model": knows})
    assert table.value("plausibility_auc") == table.value("plausibility_vanish") == 1
    assert table.value("plausibility_pairs") == 1
    assert table.value("plausibility_auc", "frame difference") < 1
    assert 0.2 < table.value("plausibility_auc", "shuffled") < 0.8
    blind = plausibility.plausibility_report(given, {"model": lambda video, audio, actions: np.zeros(len(video))})
    assert blind.value("plausibility_auc") == 0.5
    assert table.plots[0].lines["model"][0] == 1 and len(table.pictures) == 4
