"""A stream of frames whose actions are known ahead: left, looked into or disturbed at any time, the world is at the
frame that was shown last. A backend may work on the frame after it: that is never seen."""

import numpy as np
import pytest

import mlxworld
from mlxworld import MlxworldError
from tests.play.played import ACTIONS, load, play, same, write


@pytest.fixture(scope="module")
def worlds(tmp_path_factory):
    """PyTorch runs ahead on a GPU; here a second one is told to."""
    folder = write(tmp_path_factory.mktemp("worlds") / "small")
    worlds = {name: load(folder, mlxworld.on(name.split()[0])) for name in ("mlx", "torch", "torch ahead")}
    worlds["torch ahead"]._player.runs_ahead = True
    assert [world._player.runs_ahead for world in worlds.values()] == [True, False, True]
    return worlds


@pytest.fixture(params=["mlx", "torch", "torch ahead"])
def world(request, worlds):
    worlds[request.param].reset(seed=2)
    return worlds[request.param]


def stepped(world, actions=ACTIONS):
    """The frames of single steps from here on; the world is then where it was."""
    moment, frames = world.snapshot(), play(world, actions)
    world.restore(moment)
    return frames


def taken(frames):
    return np.stack([f.video for f in frames]), np.stack([f.audio for f in frames])


class Stop(Exception):
    pass


def by_break(world):
    seen = []
    for frame in world.stream(ACTIONS):
        seen.append(frame)
        if len(seen) == 3:
            break
    return seen


def by_close(world):
    stream = world.stream(ACTIONS)
    seen = [next(stream) for _ in range(3)]
    stream.close()
    return seen


def by_letting_it_lie(world):
    stream = world.stream(ACTIONS)
    world.kept = stream  # neither closed nor used again
    return [next(stream) for _ in range(3)]


def by_an_error_of_the_loop(world):
    seen = []
    with pytest.raises(Stop):
        for frame in world.stream(ACTIONS):
            seen.append(frame)
            if len(seen) == 3:
                raise Stop
    return seen


def by_an_error_of_the_actions(world):
    def actions():
        yield from ACTIONS[:3]
        raise Stop

    seen = []
    with pytest.raises(Stop):
        seen.extend(world.stream(actions()))  # which keeps what came before the error
    return seen


def by_an_action_that_there_is_not(world):
    seen = []
    with pytest.raises(MlxworldError, match="unknown action 'jump'"):
        seen.extend(world.stream([*ACTIONS[:3], "jump", *ACTIONS]))
    return seen


def by_its_end(world):
    return list(world.stream(ACTIONS[:3]))


@pytest.mark.parametrize(
    "leave",
    [
        by_break,
        by_close,
        by_letting_it_lie,
        by_an_error_of_the_loop,
        by_an_error_of_the_actions,
        by_an_action_that_there_is_not,
        by_its_end,
    ],
)
@pytest.mark.parametrize("then", ["step", "snapshot", "fork", "stream"])
def test_left_at_any_time_the_world_is_at_the_frame_shown_last(world, leave, then):
    video, audio = stepped(world)
    seen = leave(world)
    assert same(taken(seen), (video[:3], audio[:3])) and [f.index for f in seen] == [1, 2, 3]
    if then == "stream":
        following = next(world.stream(ACTIONS[3:]))
    elif then == "fork":
        following = world.fork().step(ACTIONS[3])
    else:
        if then == "snapshot":
            moment = world.snapshot()
            world.reset(seed=9)
            world.restore(moment)
        following = world.step(ACTIONS[3])
    assert following.index == 4 and same((following.video, following.audio), (video[3], audio[3]))


def test_a_snapshot_within_a_stream_is_of_the_frame_shown(world):
    video, audio = stepped(world)
    moments, seen = [], []
    for frame in world.stream(ACTIONS):
        moments.append(world.snapshot())
        seen.append(frame)
    assert same(taken(seen), (video, audio)) and [m.index for m in moments] == [f.index for f in seen]
    for t in (0, 7, len(seen) - 2):
        world.restore(moments[t])
        frame = world.step(ACTIONS[t + 1])
        assert frame.index == t + 2 and same((frame.video, frame.audio), (video[t + 1], audio[t + 1]))


def test_what_happens_between_two_frames_is_what_the_stream_goes_on_from(world):
    """Each in turn: the world is stepped, sent back, begun anew; a second stream takes its turn."""
    moment = world.snapshot()
    first = stepped(world, [1, 2, 0, 1])[0]
    stream = world.stream([1] * 9)
    next(stream)
    assert np.array_equal(world.step(2).video, first[1])
    world.step(0)
    frame = next(stream)
    assert frame.index == 4 and np.array_equal(frame.video, first[3])
    world.restore(moment)
    frame = next(stream)
    assert frame.index == 1 and np.array_equal(frame.video, first[0])
    other = world.stream([2, 0, 0])
    assert np.array_equal(next(other).video, first[1]) and np.array_equal(next(other).video, first[2])
    frame = next(stream)
    assert frame.index == 4 and np.array_equal(frame.video, first[3])
    world.reset(seed=2)
    frame = next(stream)
    assert frame.index == 1 and np.array_equal(frame.video, first[0])


def test_a_frame_that_is_never_awaited_has_happened(world, monkeypatch):
    """Whoever interrupts a step while it waits finds index and state at one moment."""
    video, _ = stepped(world, [1, 2])
    step = world._player.step

    def interrupted(action):
        step(action)

        def pending():
            raise KeyboardInterrupt

        return pending

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(world._player, "step", interrupted)
        world.step(1)
    frame = world.step(2)
    assert frame.index == 2 and np.array_equal(frame.video, video[1])
