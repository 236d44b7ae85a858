"""Real games watched frame by frame: the same plans as from a reset, however the frames come and whoever else plays."""

from typing import Any

import numpy as np
import pytest

from mlxworld import Clip, MlxworldError
from mlxworld.play.planner import Planner
from tests.models.small import SMALL, clip
from tests.play.played import load, write

OPTIONS: dict[str, Any] = {"worlds": 8, "horizon": 4, "hold": 2, "seed": 5}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write(tmp_path_factory.mktemp("worlds") / "small")


def frames(seed, T=SMALL.context_frames):
    found = {name: x[0] for name, x in clip(frames=T).items()}
    rng = np.random.default_rng(seed)
    video = rng.integers(0, 256, found["video"].shape, np.uint8)
    return video, found["audio"], rng.integers(0, 3, T).astype(np.int32)


def read(frame):
    return frame.z[:, 0, :4].sum(axis=1) + 10 * np.abs(frame.audio).mean(axis=1)


def watch(planner, games, pieces):
    begin = 0
    for T in pieces:
        planner.observe(*(np.stack([game[i][begin : begin + T] for game in games]) for i in range(3)))
        begin += T


def test_frames_that_come_one_by_one_are_what_a_reset_makes_of_them(folder, backend):
    world = load(folder, backend, temperature=0)
    game = frames(1)
    world.reset(seed=1, context=Clip(*game))
    wanted = world.plan(read, **OPTIONS)
    for pieces in ([SMALL.context_frames], [1, SMALL.context_frames - 2, 1]):
        planner = Planner(world)
        watch(planner, [game], pieces)
        (plan,) = planner.plan(read, **OPTIONS)
        assert plan.actions == wanted.actions and plan.score == pytest.approx(wanted.score, abs=5e-3)
    assert planner.frames == SMALL.context_frames
    other = Planner(world)
    watch(other, [frames(2)], [SMALL.context_frames])
    assert abs(other.plan(read, **OPTIONS)[0].score - wanted.score) > 0.05


def test_games_side_by_side_are_planned_as_each_is_alone(folder, backend):
    world, games = load(folder, backend, temperature=0), [frames(1), frames(2), frames(3)]
    planner = Planner(world, 3)
    watch(planner, games, [2, SMALL.context_frames - 2])
    plans = planner.plan(read, **OPTIONS)
    for i, game in enumerate(games):
        alone = Planner(world)
        watch(alone, [game], [SMALL.context_frames])
        (plan,) = alone.plan(read, **{**OPTIONS, "seed": 5 + i})
        assert plan.actions == plans[i].actions and plan.score == pytest.approx(plans[i].score, abs=5e-3)
    assert planner.plan(read, [2, 0], **OPTIONS) == [plans[2], plans[0]]


def test_the_world_itself_stays_where_it_is(folder, backend):
    world = load(folder, backend)
    world.reset(seed=1)
    twin, planner = world.fork(), Planner(world)
    watch(planner, [frames(1)], [2])
    planner.plan(read, **OPTIONS)
    assert np.array_equal(world.step(1).video, twin.step(1).video)


def test_what_cannot_be_watched_is_refused(folder, backend):
    planner = Planner(load(folder, backend), 2)
    with pytest.raises(MlxworldError, match="observe a frame first"):
        planner.plan(read)
    video, audio, actions = (x[None] for x in frames(1))
    with pytest.raises(MlxworldError, match="small observes arrays of shapes"):
        planner.observe(video, audio, actions)
    both = [np.concatenate([x, x]) for x in (video, audio, actions)]
    with pytest.raises(MlxworldError, match="T >= 1"):
        planner.observe(both[0][:, :0], both[1][:, :0], both[2][:, :0])
