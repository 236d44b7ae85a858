"""Plans: what each method finds at equal cost, that a plan's score is what its actions give, and what is refused."""

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from mlxworld import MlxworldError
from mlxworld.play.futures import Dreams, near
from mlxworld.play.lockstep import Lockstep
from mlxworld.play.plan import METHODS, Search, plans
from tests.models.small import SMALL
from tests.play.played import load, play, same, write

N, HORIZON, HOLD, ACTIONS = 24, 12, 2, 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write(tmp_path_factory.mktemp("worlds") / "small")


class Walk:
    """Futures that are numbers: each action adds 0, 1 or -1 in each frame. `steps` are the rows of each decision."""

    def __init__(self, reward, hold):
        self.reward, self.hold, self.frames, self.steps = reward, hold, 0, []

    def decide(self, moments, rows, actions):
        self.x = np.zeros(len(actions)) if rows is None else self.x[rows]
        self.steps.append(len(actions))
        rewards = np.zeros(len(actions))
        for _ in range(self.hold):
            self.x = self.x + np.array([0, 1, -1])[actions]
            rewards += self.reward(self.x)
        self.frames += self.hold * len(actions)
        return rewards


def searched(method, reward, seed=0, n=N, horizon=HORIZON, hold=HOLD):
    options = {"method": method, "worlds": n, "horizon": horizon, "hold": hold}
    walk = Walk(reward, hold)
    return plans(walk, Search.read(options, ACTIONS), ACTIONS, [seed])[0], walk


def found(*args, **kwargs):
    return searched(*args, **kwargs)[0]


@pytest.mark.parametrize("method", METHODS)
def test_all_methods_try_as_much_and_find_a_way(method):
    plan, _ = searched(method, lambda x: x)
    assert plan.frames == N * HORIZON
    walked = np.cumsum([[0, 1, -1][a] for a in plan.actions])
    assert len(plan.actions) == HORIZON and plan.score == pytest.approx(walked.mean()) and plan.score > 0
    assert found(method, lambda x: x) == plan and all(plan.actions[i] == plan.actions[i + 1] for i in (0, 2, 4))


@pytest.mark.parametrize("method", METHODS)
def test_what_sequences_have_in_common_is_dreamt_once(method):
    _, walk = searched(method, lambda x: x)
    rows = np.array(walk.steps).reshape(-1, HORIZON // HOLD)
    assert (rows[:, 0] <= ACTIONS).all() and (rows[:, 1] <= ACTIONS**2).all() and walk.frames < N * HORIZON
    assert rows.max() == {"beam": N, "cem": N // 4, "shooting": N}[method] == Search(method, worlds=N).rows


@pytest.mark.parametrize("method", METHODS)
def test_games_are_searched_side_by_side(method):
    """Two games in one batch are planned as each is alone, each row from a row of its own game."""

    class Two(Walk):
        def decide(self, moments, rows, actions):
            assert rows is None or (self.moments[rows] == moments).all()
            self.moments = moments
            return super().decide(moments, rows, actions)

    both = plans(Two(lambda x: x, HOLD), Search(method, N, HORIZON, HOLD), ACTIONS, [3, 4])
    assert both == [found(method, lambda x: x, seed) for seed in (3, 4)]


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


class Plain:
    """Futures without any of the savings: each row is dreamt anew from the present, alone, picture and sound too."""

    def __init__(self, world, reward, seeds, hold):
        self.worlds, self.reward, self.seeds, self.hold = Lockstep(world._player, world.model, 1), reward, seeds, hold
        self.frames, self.moment = 0, self.worlds.moment()

    def decide(self, moments, rows, actions):
        before = [()] * len(actions) if rows is None else [self.past[r] for r in rows]
        self.past = [(*past, a) for past, a in zip(before, actions, strict=True)]
        return np.array([self.alone(self.seeds[m], past) for m, past in zip(moments, self.past, strict=True)])

    def alone(self, seed, past):
        self.worlds.branch(self.moment, np.zeros(1))
        rewards = []
        for t, action in enumerate(np.repeat(past, self.hold)):
            noise = np.random.default_rng([seed, t]).standard_normal((1, *SMALL.latent_shape), np.float32)
            video, audio, z = self.worlds.step(np.array([action]), noise)
            rewards.append(self.reward(SimpleNamespace(video=video, audio=audio, z=z))[0])
        return np.sum(rewards[-self.hold :])


def loud(frame):
    return np.abs(frame.audio).mean(axis=1) + bright(frame) / 1000


@pytest.mark.parametrize(
    ("method", "reward"), [("beam", loud), ("cem", bright), ("shooting", lambda frame: frame.z.max(axis=(1, 2)))]
)
def test_savings_change_no_plan(folder, backend, method, reward):
    """What is dreamt once, decoded late or not at all, and batched over games, is what it would be in full."""
    world = load(folder, backend)
    world.reset(seed=3, context=1)
    play(world, [1, 2, 0])
    search, seeds = Search(method, worlds=8, horizon=4, hold=2), [5, 6]
    worlds = world._lockstep(2 * search.rows, "dream")
    moments = worlds._rows(worlds.moment(), world.package.engine.array(np.zeros(2, np.int32)))
    quick = plans(Dreams(worlds, moments, reward, seeds, 2), search, 3, seeds)
    slow = plans(Plain(world, reward, seeds, 2), search, 3, seeds)
    assert [p.actions for p in quick] == [p.actions for p in slow] and quick[0].score != quick[1].score
    assert np.allclose([p.score for p in quick], [p.score for p in slow], atol=0.1 if reward is bright else 2e-3)


def test_only_what_a_reward_looks_at_is_decoded(folder, backend, monkeypatch):
    world, decoded = load(folder, backend), []
    run = world._lockstep(4, "dream")._loop.__class__.__call__

    def spy(self, name, *inputs):
        decoded.append(name)
        return run(self, name, *inputs)

    def counted(reward, **options):
        decoded.clear()
        world.plan(reward, method="shooting", worlds=4, horizon=4, hold=2, **options)
        return [decoded.count(name) for name in ("dream", "picture", "sound", "step")]

    world.reset(seed=1)
    monkeypatch.setattr(world._lockstep(4)._loop.__class__, "__call__", spy)
    assert counted(lambda f: f.z[:, 0, 0]) == [4, 0, 0, 0]
    assert counted(bright) == [4, 4, 0, 0]
    assert counted(bright, every=2) == [4, 2, 0, 0]
    assert counted(lambda f: f.audio[:, 0], every=2) == [4, 0, 4, 0]  # sound goes on from sound that nobody heard


def test_sound_that_was_not_heard_goes_with_its_world(folder, backend):
    """Rows are copied over one another; whoever listens late hears what whoever listened all along does."""
    world, last = load(folder, backend), []
    world.reset(seed=1, context=0)
    worlds = world._lockstep(3, "dream")
    for silent in (0, 3):
        sounds = []

        def reward(frame, sounds=sounds, silent=silent):
            sounds.append(frame.audio if len(sounds) >= silent else None)
            return np.zeros(len(frame.z))

        dreams = Dreams(worlds, worlds.moment(), reward, [7], hold=2)
        dreams.decide(np.zeros(3, int), None, np.arange(3))
        dreams.decide(np.zeros(2, int), np.array([2, 0]), np.array([1, 1]))
        last.append(sounds[3])
    assert last[0].shape == (2, world.samples) and np.abs(last[0] - last[1]).max() < 1e-6
    assert np.abs(last[0][0] - last[0][1]).max() > 1e-3


def test_sound_is_heard_while_it_is_there(folder, backend):
    world, kept = load(folder, backend), []
    world.reset(seed=1)

    def reward(frame):
        kept.append(frame)
        return frame.z[:, 0, 0]

    world.plan(reward, method="shooting", worlds=2, horizon=2, hold=1)
    assert kept[0].video.shape == (len(kept[0].z), *world.size, 3)
    with pytest.raises(MlxworldError, match="as long as it is the present one"):
        kept[0].audio  # noqa: B018
    assert kept[1].audio.shape == (len(kept[1].z), world.samples)


@pytest.mark.parametrize("method", METHODS)
def test_a_plan_in_a_batch_of_fixed_size_is_the_same(folder, backend, method):
    """As on a GPU, where a step of so many worlds is recorded."""
    world = load(folder, backend)
    world.reset(seed=3, context=1)
    options = {"method": method, "worlds": 8, "horizon": 4, "hold": 2, "seed": 5}
    free, twin = world.plan(bright, **options), world.fork()
    worlds = twin._lockstep(Search(method, 8).rows, "dream")
    worlds.fixed, sizes, dream = True, set(), worlds.dream

    def spy(actions, noise):
        sizes.add(len(actions))
        return dream(actions, noise)

    worlds.dream = spy
    again = twin.plan(bright, **options)
    assert sizes == {worlds.n} and again.actions == free.actions and again.score == pytest.approx(free.score, abs=0.1)


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
    scores = [near(target)(cast(Any, SimpleNamespace(z=z[:, 0])))[0] for z in seen]
    assert plan.score == pytest.approx(np.mean(scores), abs=1e-3)


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
    refused("unknown option 'width' of a plan: there are method, worlds, horizon, hold, every, seed", bright, width=3)
    refused("hold 4 is no multiple of every 3", bright, every=3)
    refused("horizon of a plan must be a whole number, got nan", bright, horizon=float("nan"))
    refused("worlds of a plan must be a whole number, got 6.5", bright, worlds=6.5)
    refused("seed of a plan must be a whole number, got None", bright, seed=None)
    assert len(world.plan(bright, worlds=3, horizon=2, hold=2, seed=-1).actions) == 2  # as `reset` takes it
    refused("hold from 1 to horizon; got 32 worlds, hold 5, horizon 4", bright, horizon=4, hold=5)
    for reward in (lambda f: 1.0, lambda f: np.zeros(2), lambda f: np.full(len(f.video), np.nan)):
        refused("a reward gives 3 finite numbers, one for each world", reward, worlds=3, horizon=1, hold=1)
    many = load(folder, backend, batch=2)
    many.reset(seed=1)
    with pytest.raises(MlxworldError, match="one world's moment"):
        many.plan(bright)
