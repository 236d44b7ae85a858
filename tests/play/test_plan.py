"""Plans: what each method finds at equal cost, that a plan's score is what its actions give, and what is refused."""

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from mlxworld import MlxworldError
from mlxworld.play import plan as plans
from mlxworld.play.plan import METHODS, near
from tests.models.small import SMALL
from tests.play.played import load, play, same, write

N, HORIZON, HOLD, ACTIONS = 24, 12, 2, 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write(tmp_path_factory.mktemp("worlds") / "small")


class Walk:
    """Worlds that are numbers: each action adds 0, 1 or -1. `frames` counts all that was stepped."""

    model = SimpleNamespace(cfg=SMALL)
    frames = 0

    def __init__(self, n):
        self.n = n

    def branch(self):
        self.x = np.zeros(self.n)

    def choose(self, rows):
        self.x = self.x[rows]

    def step(self, actions, noise):
        assert noise.shape == (1, *SMALL.latent_shape)
        self.x = self.x + np.array([0, 1, -1])[actions]
        Walk.frames += self.n
        return self.x, self.x, self.x


def found(method, score, seed=0, n=N, horizon=HORIZON, hold=HOLD):
    return plans.plan(cast(Any, Walk), ACTIONS, lambda video, audio, z: score(video), method, n, horizon, hold, seed)


@pytest.mark.parametrize("method", METHODS)
def test_all_methods_cost_the_same_and_find_a_way(method):
    Walk.frames = 0
    plan = found(method, lambda x: x)
    assert plan.frames == Walk.frames == N * HORIZON
    walked = np.cumsum([[0, 1, -1][a] for a in plan.actions])
    assert len(plan.actions) == HORIZON and plan.score == pytest.approx(walked.mean()) and plan.score > 0
    assert found(method, lambda x: x) == plan and all(plan.actions[i] == plan.actions[i + 1] for i in (0, 2, 4))


def test_a_beam_finds_what_chance_does_not():
    """The best of 3^12 sequences, of which 24 are tried at a time."""

    def score(x):
        return x

    best = np.mean(np.arange(1, 13))
    scores = {m: np.mean([found(m, score, s, hold=1).score for s in range(10)]) for m in METHODS}
    assert scores["beam"] == best and scores["beam"] > scores["cem"] > scores["shooting"]


def test_a_beam_keeps_what_pays_late():
    """Down first, then far up: those that went down must not all be dropped when nothing pays yet."""
    plan = found("beam", lambda x: np.where(x <= -2, 5.0, 0.0), horizon=6, hold=1)
    assert plan.actions[:2] == (2, 2) and plan.score == pytest.approx(5 * 5 / 6)


def test_equals_are_kept_by_chance():
    firsts = {found("beam", lambda x: 0 * x, seed, horizon=3, hold=1).actions[0] for seed in range(20)}
    assert firsts == {0, 1, 2}


def bright(frame):
    return frame.video.astype(float).mean(axis=(1, 2, 3))


@pytest.mark.parametrize("method", METHODS)
def test_a_plans_score_is_what_its_actions_give(folder, backend, method):
    """Without noise a dream is one future: the world then does what the plan has dreamt."""
    world = load(folder, backend, temperature=0)
    world.reset(seed=3, context=1)
    play(world, [1, 2, 0])
    before = world.snapshot()
    plan = world.plan(bright, method=method, worlds=8, horizon=6, hold=2, seed=1)
    assert len(plan.actions) == 6 and plan.frames == 48
    future = world.fork()
    video, _ = play(world, plan.actions)
    assert np.mean([f.astype(float).mean() for f in video]) == pytest.approx(plan.score, abs=0.2)
    world.restore(before)
    assert same(play(world), play(future))
    world.restore(before)
    others = [np.mean([f.astype(float).mean() for f in play(world.fork(), [a] * 6)[0]]) for a in range(3)]
    if method == "beam":
        assert plan.score >= max(others) - 0.2


def test_a_plan_reaches_for_a_goal(folder, backend):
    world = load(folder, backend, temperature=0)
    world.reset(seed=3, context=1)
    twin = world.fork()
    seen, step, numpy = [], world.model.step, world.package.engine.numpy

    def spy(state, noise, action):
        video, audio, z, state = step(state, noise, action)
        seen.append(numpy(z))
        return video, audio, z, state

    world.model.step = spy
    goal = play(twin, [2, 2, 2, 2])[0][-1]
    plan = world.plan(goal=goal, worlds=9, horizon=4, hold=2)
    target = world._context(0, goal)[0][0, -1]
    seen.clear()
    play(world, plan.actions)
    assert plan.score == pytest.approx(np.mean([near(target)(z, z, z[:, 0])[0] for z in seen]), abs=1e-3)


def test_what_cannot_be_planned_is_refused(folder, backend):
    world = load(folder, backend)

    def refused(message, *args, **kwargs):
        with pytest.raises(MlxworldError, match=message):
            world.plan(*args, **kwargs)

    refused("reset the world first", bright)
    world.reset(seed=1)
    refused("for either a reward or a goal")
    refused("for either a reward or a goal", bright, goal=0)
    refused("unknown method 'best' of planning: choose one of beam, cem, shooting", bright, method="best")
    refused("beam needs 3 worlds or more", bright, worlds=2)
    refused("cem needs 8 worlds or more", bright, worlds=7, method="cem")
    refused("hold from 1 to horizon; got 32 worlds, hold 5, horizon 4", bright, horizon=4, hold=5)
    for reward in (lambda f: 1.0, lambda f: np.zeros(2), lambda f: np.full(len(f.video), np.nan)):
        refused("a reward gives 3 finite numbers, one for each world", reward, worlds=3, horizon=1, hold=1)
    many = load(folder, backend, batch=2)
    many.reset(seed=1)
    with pytest.raises(MlxworldError, match="one world's moment"):
        many.plan(bright)
