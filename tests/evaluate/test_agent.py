"""Policies from dreams: what they read, how they are judged, that better ones are found, and real games."""

import numpy as np
import pytest

from mlxworld.errors import MlxworldError
from mlxworld.evaluate import agent
from tests.play.small_world import small_world


def test_a_reader_foresees_where_the_ball_arrives():
    read = agent.Reader()
    for t in range(5):
        found = read(np.array([60.0 + 4 * t, 60 + 2 * t]), 70.0)
    gap, arrives, fall, glide, comes, *_ = found
    assert gap == pytest.approx((68 - 70) / 32) and fall == pytest.approx(0.5) and glide == 0 and comes == 1
    assert arrives == pytest.approx((68 + 9 * 2 - 70) / 32)
    low = agent.Reader()
    for t in range(3):
        found = low(np.array([100.0 + 2 * t, 110 + 4 * t]), 100.0)
    assert (found[1] * 32 + 100) < 117  # thrown back by the border
    assert (agent.Reader()(np.full(2, np.nan), 50.0) == 0).all()


def test_a_judge_counts_points_and_returns():
    judge = agent.Judge()
    for score in [(3, 4)] * 4 + [(3, 5)] * 4 + [(-1, 5)] * 3 + [(4, 5)] * 4 + [(9, 5)] * 4:
        judge(np.nan, score)
    assert judge.reward == 0  # one for each side; what skips is no point
    for x in (90, 95, 100, 105, 110, 106, 102):
        judge(x, (9, 5))
    assert judge.reward == pytest.approx(agent.RETURN)
    for x in (98, 94, 90, 80, 40, 10, 14, 18):  # at the other side it is no return
        judge(x, (9, 5))
    assert judge.reward == pytest.approx(agent.RETURN)


def test_training_finds_what_is_rewarded(monkeypatch):
    goal = np.array([1.0, -2, 0.5, 0, 1, 0, -1])
    monkeypatch.setattr(agent, "dreamt", lambda world, policies, frames, seed: -np.square(policies - goal).sum(1))
    found, rewards = agent.train(None, agent.AgentConfig(candidates=60, generations=25))  # type: ignore[arg-type]
    assert np.abs(found - goal).max() < 0.35 and rewards[-1] > rewards[0]


def test_a_following_policy_beats_none_in_the_real_game():
    follows = agent.game(np.array([3, 3, 0, -1.5, 0, 0.5, 0.1]), 0, (128, 128), 500)
    rests = agent.game(np.zeros(7), 0, (128, 128), 500)
    assert follows[0] - follows[1] > rests[0] - rests[1]


def test_dreams_are_played_to_the_end(tmp_path, monkeypatch):
    folder = small_world(tmp_path / "w")
    monkeypatch.setattr(agent, "game", lambda *a: (1, 2))
    monkeypatch.setattr(agent, "ProcessPoolExecutor", _Now)
    agent.main(["--world", str(folder), "--candidates", "3", "--generations", "1", "--frames", "4", "--games", "2"])
    with pytest.raises(MlxworldError, match="1 or more"):
        agent.main(["--world", str(folder), "--games", "0"])


class _Now:
    """A pool that plays at once."""

    def __init__(self, **more):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def submit(self, fn, *words):
        class Done:
            def result(self):
                return fn(*words)

        return Done()
