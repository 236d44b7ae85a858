"""Worlds of buttons and axes: played in every form, the same on both backends, trained, and in Gymnasium."""

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from mlxworld import BACKENDS, Clip, MlxworldError, World, train
from mlxworld.configs.actions import hybrid
from mlxworld.data import DatasetInfo, Episode, write_episode, write_info
from mlxworld.files import checkpoint
from tests.models.small import SMALL, changed
from tests.play.played import load, same, write
from tests.training.tiny import FPS, SIZE, S, argv

SPACE = hybrid(("jump",), ("steer", "gas"))
CFG = changed(SMALL, actions=SPACE.names, buttons=SPACE.buttons, axes=SPACE.axes)
ROWS = np.array([[0, 0.5, -1], [1, 0, 0], [1, -0.25, 1], [0, 0, 0]], np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    from tests.models.small import latents, lively

    path = write(tmp_path_factory.mktemp("worlds") / "car", CFG, "car", lively(_torch(), CFG))
    starts = latents(CFG, frames=4, count=3)
    starts["actions"] = np.stack([np.stack([SPACE.encode(int(i) % 7) for i in row]) for row in starts["actions"]])
    checkpoint.save(path / "starts.safetensors", starts)
    return path


def _torch():
    import mlxworld

    return mlxworld.on("torch")


def test_one_action_in_every_form(folder):
    world = World.load(folder, "torch", precision="float32")
    assert world.actions == SPACE.names and world.action_space == SPACE
    for forms in (
        ["jump", 1, {"jump"}, [1, 0, 0], np.array([1, 0, 0]), {"jump": 1}, {"buttons": [1], "axes": [0, 0]}],
        [{"jump", "steer-"}, (1, -1, 0), {"steer": -1, "jump": True}],
    ):
        frames = []
        for form in forms:
            world.reset(3)
            world.step("noop")
            frames.append(world.step(form).video)
        assert all(np.array_equal(frames[0], frame) for frame in frames)
    world.reset(3)
    world.step("noop")
    assert not np.array_equal(frames[0], world.step([0, 0.5, 0]).video)  # an axis is heard
    for bad in ([0, 2, 0], [0.5, 0, 0], [0, 0], "fly", 9, {"fly": 1}, [np.nan, 0, 0]):
        with pytest.raises(MlxworldError):
            world.step(bad)


def test_both_backends_dream_the_same(folder):
    found = []
    for backend in BACKENDS:
        world = World.load(folder, backend, precision="float32")
        world.reset(5)
        found.append(np.stack([world.step(row).video for row in ROWS]).astype(int))
    assert np.abs(found[0] - found[1]).max() <= 1


def test_a_batch_takes_an_action_each_and_a_clip_its_rows(folder):
    world = World.load(folder, "torch", precision="float32", batch=3)
    world.reset(1)
    video = world.step([ROWS[0], "jump", {"steer+"}]).video
    world.reset(1)
    assert np.array_equal(video, world.step([ROWS[0], ROWS[1], np.array([0, 1, 0])]).video)
    alone = World.load(folder, "torch", precision="float32")
    clip = Clip(np.zeros((4, 32, 32, 3), np.uint8), np.zeros((4, SMALL.samples), np.float32), ROWS)
    assert alone.reset(context=clip).video.shape == (32, 32, 3)
    with pytest.raises(MlxworldError, match="1 buttons, 0 or 1, and 2 axes"):
        alone.reset(context=Clip(clip.video, clip.audio, 3 * ROWS))


def test_moments_are_kept(folder, tmp_path):
    world = World.load(folder, "torch", precision="float32")
    world.reset(2)
    moment = world.snapshot()
    first = [world.step(row).video for row in ROWS]
    world.restore(moment)
    assert same(first, [frame.video for frame in world.stream(ROWS)])


def test_gymnasiums_space_follows(folder):
    env = gymnasium.make("mlxworld.gym:mlxworld/World-v0", world=str(folder), backend="torch").unwrapped
    assert isinstance(env.action_space, gymnasium.spaces.Dict)
    assert env.action_space["buttons"] == gymnasium.spaces.MultiBinary(1)
    assert env.action_space["axes"] == gymnasium.spaces.Box(-1, 1, (2,), np.float32)
    check_env(env, skip_render_check=True)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_world_learns_from_rows(tmp_path, backend):
    info = DatasetInfo(FPS, S, (SIZE, SIZE), SPACE.names, "car", buttons=SPACE.buttons, axes=SPACE.axes)
    write_info(tmp_path / "data", info)
    rng = np.random.default_rng(0)
    for name in "ab":
        rows = np.concatenate([rng.integers(0, 2, (24, 1)), rng.uniform(-1, 1, (24, 2))], 1).astype(np.float32)
        video, audio = rng.integers(0, 256, (24, SIZE, SIZE, 3), np.uint8), np.zeros((24, S), np.float32)
        write_episode(tmp_path / "data", name, Episode(video, audio, rows), info)
    words = ["--data", str(tmp_path / "data"), "--out", str(tmp_path / "run"), "--backend", backend]
    train.main([*words, *argv()])
    world = load(tmp_path / "run", _package(backend))
    assert world.action_space == SPACE
    world.reset()
    assert world.step({"jump": 1, "steer": 0.5}).video.shape == (SIZE, SIZE, 3)


def _package(backend):
    import mlxworld

    return mlxworld.on(backend)
