"""The Gymnasium environment on a small world: its own checker, seeds, rewards."""

import copy

import gymnasium
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils.env_checker import check_env

from mlxworld import BACKENDS, MlxworldError
from mlxworld.gym import WorldEnv
from mlxworld.play.world import World
from tests.play.small_world import small_world

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return small_world(tmp_path_factory.mktemp("world"))


@pytest.mark.parametrize("backend", BACKENDS)
def test_gymnasium_accepts_it(folder, backend):
    env = gymnasium.make("mlxworld.gym:mlxworld/World-v0", world=str(folder), backend=backend, max_episode_steps=5)
    check_env(env.unwrapped, skip_render_check=True)
    env.reset(seed=3)
    ended = [env.step(env.action_space.sample())[3] for _ in range(5)]
    assert ended == [False] * 4 + [True]


def test_a_seed_is_a_world_and_an_action_changes_it(folder):
    env = gymnasium.make("mlxworld.gym:mlxworld/World-v0", world=str(folder), backend="torch").unwrapped

    def play(seed, action):
        env.reset(seed=seed)
        return [env.step(action)[0]["video"] for _ in range(3)][-1]

    first = play(5, 1)
    assert np.array_equal(first, play(5, 1))
    assert not np.array_equal(first, play(5, 0))
    assert not np.array_equal(first, play(6, 1))


@pytest.mark.parametrize("name", ["mlxworld/World-v0", "mlxworld.gym:mlxworld/World-v0"])
def test_its_description_is_json_that_makes_it_again(folder, name):
    """As recorders of datasets and of experiments keep it."""
    env = gymnasium.make(name, world=str(folder), backend="torch", max_episode_steps=3)
    assert env.spec is not None
    again = gymnasium.make(EnvSpec.from_json(env.spec.to_json()))
    assert isinstance(again.unwrapped, WorldEnv) and again.spec == env.spec
    for each in (env, again):
        each.reset(seed=3)
    assert np.array_equal(env.step(1)[0]["video"], again.step(1)[0]["video"])


def test_a_copy_of_an_environment_goes_its_own_way(folder):
    env = WorldEnv(folder, backend="torch")
    env.reset(seed=1)
    twin = copy.deepcopy(env)
    future = [env.step(a)[0]["video"] for a in (1, 2)]
    assert np.array_equal([twin.step(a)[0]["video"] for a in (1, 2)], future)


def test_a_recorder_is_told_the_names_of_its_actions(folder):
    env = gymnasium.make("mlxworld/World-v0", world=str(folder), backend="torch")
    assert env.get_wrapper_attr("get_action_meanings")() == list(World.load(folder, "torch").actions)


def test_reward_and_render_see_the_frame(folder):
    world = World.load(folder, "torch")
    env = WorldEnv(world, reward=lambda frame: float(frame.video.mean()))
    env.reset(seed=1)
    observation, reward, *_ = env.step(2)
    assert reward == pytest.approx(observation["video"].mean())
    assert np.array_equal(np.asarray(env.render()), observation["video"])


def test_what_it_cannot_be_is_one_line(folder):
    env = WorldEnv(folder, backend="torch")
    with pytest.raises(MlxworldError, match="reset the world first"):
        env.step(0)
    env.reset(seed=1)
    for action in (1.5, None, 3):
        with pytest.raises(MlxworldError, match="action"):
            env.step(action)
    with pytest.raises(MlxworldError, match="one world"):
        WorldEnv(folder, backend="torch", batch=2)
    with pytest.raises(MlxworldError, match="unknown option 'device'"):
        WorldEnv(folder, backend="torch", device="cuda")
    with pytest.raises(MlxworldError, match="render mode 'human'"):
        WorldEnv(folder, backend="torch", render_mode="human")
