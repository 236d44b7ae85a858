"""Gymnasium spaces as buttons and axes: every value of a space can be reached, and rest is rest."""

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from mlxworld import record
from mlxworld.configs.actions import hybrid
from mlxworld.data import make_policy, open_frames, open_source, read_episode, read_info
from mlxworld.data.envs.controls import controls
from mlxworld.errors import MlxworldError

CAR = spaces.Box(np.array([-1, 0, 0], np.float32), np.array([1, 1, 1], np.float32))
PAD = spaces.Dict(
    {"keys": spaces.MultiBinary(3), "stick": spaces.Box(-2, 2, (2,)), "gear": spaces.Discrete(4, start=1)}
)
SPACES = [
    CAR,
    PAD,
    spaces.MultiBinary(4),
    spaces.Tuple((spaces.MultiDiscrete([3, 2]), CAR)),
    spaces.Box(0, 255, (1,), np.int64),
]


@pytest.mark.parametrize("space", SPACES, ids=str)
def test_rows_are_actions_of_the_space(space):
    found = controls(space)
    named, rng = hybrid(found.buttons, found.axes), np.random.default_rng(0)
    for _ in range(50):
        row = np.concatenate([rng.integers(0, 2, len(found.buttons)), rng.uniform(-1, 1, len(found.axes))])
        assert space.contains(found.decode(row)), row
    for name in named.names:
        assert space.contains(found.decode(named.encode(name)))


def test_what_a_row_means():
    car = controls(CAR)
    assert car.axes == ("0", "1", "2") and not car.buttons
    assert car.decode(np.array([0.5, -1, 0.25])).tolist() == [0.5, 0, 0.25]
    pad = controls(PAD)
    assert pad.buttons == ("gear=2", "gear=3", "gear=4", "keys.0", "keys.1", "keys.2") and pad.axes == (
        "stick.0",
        "stick.1",
    )
    action = pad.decode(np.array([0, 1, 0, 1, 0, 1, -1, 0.5]))
    assert action["gear"] == 3 and action["keys"].tolist() == [1, 0, 1] and action["stick"].tolist() == [-2, 1]
    assert pad.decode(np.zeros(8))["gear"] == 1
    assert controls(spaces.MultiBinary(2), ["A", "Turbo B"]).buttons == ("a", "turbo b")


@pytest.mark.parametrize("space", [spaces.Discrete(4), spaces.Text(5), spaces.MultiBinary(1000), spaces.Dict({})])
def test_spaces_without_buttons_and_axes_are_one_line(space):
    with pytest.raises(MlxworldError):
        controls(space)


class Car(gymnasium.Env):
    """Its picture tells its action: three rows of brightness."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 17.5}  # noqa: RUF012  (Gymnasium's own form)
    action_space, observation_space = CAR, spaces.Discrete(1)

    def __init__(self, render_mode=None):
        self.render_mode, self.last = render_mode, np.zeros(3)

    def reset(self, *, seed=None, options=None):
        self.last = np.zeros(3)
        return 0, {}

    def step(self, action):
        assert self.action_space.contains(action)
        self.last = action
        return 0, 0.0, False, False, {}

    def render(self):
        rows = np.repeat(128 + 100 * self.last, [11, 11, 10])
        return np.repeat(np.repeat(rows[:, None, None], 32, 1), 3, 2).astype(np.uint8)


@pytest.fixture
def registered():
    gymnasium.register("HybridCar-v0", entry_point=lambda **options: Car(**options))
    yield
    del gymnasium.registry["HybridCar-v0"]


@pytest.fixture
def recorded(registered, tmp_path, monkeypatch):
    source = open_source("hybrid:HybridCar-v0")
    monkeypatch.setattr(record, "Crew", _Here)
    record.main(
        ["hybrid:HybridCar-v0", "--out", str(tmp_path / "car"), "--steps", "80", "--episode", "40", "--size", "32"]
    )
    return source, tmp_path / "car"


class _Here:
    """A crew that plays in this process, where the environment is registered."""

    def __init__(self, plan, workers, patience):
        self.plan = plan

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def play(self, first, need, seed, show):
        from mlxworld.data.envs import crew

        class Pipe:
            def send(self, message):
                pass

        yield first, crew._play_game(open_source(self.plan.world), self.plan, first, seed + first, Pipe())  # pyright: ignore[reportArgumentType]


def test_an_environment_is_recorded_with_its_axes(recorded):
    source, folder = recorded
    info, cache = read_info(folder), open_frames(folder, workers=1)
    assert info and (info.axes, info.buttons, info.fps) == (("0", "1", "2"), (), 17.5)
    assert info.actions == source.actions == ("noop", "0-", "0+", "1-", "1+", "2-", "2+")
    assert cache.actions.shape == (80, 3) and cache.actions.dtype == np.float32
    assert (cache.actions[cache.offsets[0]] == 0).all() and len(np.unique(cache.actions)) > 10
    lines = (folder / "000000-00.actions.csv").read_text().splitlines()
    assert lines[0] == "step,action,0,1,2" and lines[1] == "0,noop,0,0,0"
    assert (read_episode(folder, "000000-01").actions == cache.actions[40:]).all()
    shown = cache.video[:, 5, 5, 0].astype(float)  # the picture follows the first axis
    assert np.abs(shown - 128 - 100 * cache.actions[:, 0]).max() < 12


def test_broken_rows_are_named(recorded):
    _, folder = recorded
    path = folder / "000000-00.actions.csv"
    lines = path.read_text().splitlines()
    for bad in ("5,noop,0,0,7", "5,noop,0,0,x", "5,noop,0,0"):
        path.write_text("\n".join([*lines[:6], bad, *lines[7:]]) + "\n")
        with pytest.raises(MlxworldError, match=r"actions\.csv"):
            read_episode(folder, "000000-00")


def test_rows_are_played_by_chance_and_held(registered):
    source = open_source("hybrid:HybridCar-v0")
    held, random = (
        np.stack([player.act(None) for _ in range(400)])  # type: ignore[arg-type]
        for player in (make_policy(name, source, 3) for name in ("sticky", "random"))
    )
    for rows in (held, random):
        assert rows.shape == (400, 3) and np.abs(rows).max() <= 1 and rows.std() > 0.2
    assert (np.diff(held, axis=0) != 0).mean() < 0.3 < (np.diff(random, axis=0) != 0).mean()
