"""Gymnasium environments of all kinds: what they ask for is done, and what they cannot do is one line."""

import sys

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from mlxworld.data import open_source
from mlxworld.data.envs.crew import _steps
from mlxworld.data.envs.policies import make_policy
from mlxworld.errors import MlxworldError


class Env(gymnasium.Env):
    """Remembers the actions that it was given; `fault` names what it fails in."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 30}  # noqa: RUF012  (Gymnasium's own form)
    observation_space = spaces.Discrete(2)

    def __init__(self, render_mode=None, space=None, fps=30, fault="", error=None):
        self.render_mode, self.action_space, self.taken = render_mode, space or spaces.Discrete(2), []
        self.metadata = self.metadata | {"render_fps": fps}
        self.fault, self.error, self.renders = fault, error or ValueError("the joint angle"), 0

    def _maybe(self, what):
        if self.fault == what:
            raise self.error

    def get_action_meanings(self):
        self._maybe("names")
        return ["noop", "Fire"]

    def reset(self, *, seed=None, options=None):
        self._maybe("reset")
        return 0, {}

    def step(self, action):
        self.taken.append(action)
        if len(self.taken) == 3:
            self._maybe("step")
        return 0, 0.0, False, False, {}

    def render(self):
        self.renders += 1
        if self.renders == 3:
            self._maybe("render")
        return np.zeros((16, 16, 3), np.uint8)

    def close(self):
        self._maybe("close")


@pytest.fixture
def make():
    """A source of `Env(**settings)`."""
    gymnasium.register("Kind-v0", f"{__name__}:Env")

    def opened(**settings):
        gymnasium.registry["Kind-v0"].kwargs = settings
        return open_source("gym:Kind-v0")

    yield opened
    del gymnasium.registry["Kind-v0"]


def test_a_bounded_box_is_moved_to_its_bounds(make):
    pendulum = open_source("gym:Pendulum-v1")
    assert pendulum.actions == ("noop", "0-", "0+")
    assert [code.tolist() for code in pendulum._codes] == [[0], [-2], [2]]  # pyright: ignore[reportAttributeAccessIssue]
    pendulum.reset(0)
    assert pendulum.step(2).video.shape[2] == 3
    pendulum.close()


@pytest.mark.parametrize(
    "space",
    [spaces.MultiBinary(2), spaces.MultiDiscrete([2, 2]), spaces.Dict(a=spaces.Discrete(2), b=spaces.Box(-1, 1, (1,)))],
    ids=str,
)
def test_an_environment_is_given_actions_of_its_own_space(make, space):
    source = make(space=space)
    source.reset(0)
    for action in range(len(source.actions)):
        source.step(action)
    taken = source._env.unwrapped.taken
    assert len(taken) >= 4 and all(space.contains(action) for action in taken)
    assert len({repr(action) for action in taken}) == len(taken)


def test_too_many_actions_are_one_line_that_says_how_to_wrap(make):
    with pytest.raises(
        MlxworldError, match=r"gym:Kind-v0: .*MultiDiscrete.*ActionWrapper.*Discrete.*gym:MODULE:ID"
    ) as it:
        make(space=spaces.MultiDiscrete([1000] * 50))
    assert "\n" not in str(it.value) and len(str(it.value)) < 500


@pytest.mark.parametrize(
    ("fps", "steps", "samples"), [(None, 30, 1024), (29.97, 30, 1024), (4, 4, 7680), (500, 500, 64), (17.5, 17.5, 1760)]
)
def test_rates_give_whole_numbers_of_samples(make, fps, steps, samples):
    source = make(fps=fps)
    assert (source.fps, source.samples) == (steps, samples)


@pytest.mark.parametrize("fps", [0, 0.4, -30, 501, 20_000, float("inf"), float("nan"), 1e300, "fast", [30]])
def test_rates_that_cannot_be_learnt_are_refused(make, fps):
    with pytest.raises(MlxworldError, match=r"gym:Kind-v0.*render_fps") as it:
        make(fps=fps)
    assert "\n" not in str(it.value)


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("names", "gym:Kind-v0 failed in naming its actions: ValueError: the joint angle"),
        ("reset", "gym:Kind-v0 failed in reset: ValueError: the joint angle"),
        ("step", "gym:Kind-v0 failed in step 3: ValueError: the joint angle"),
        ("render", "gym:Kind-v0 failed in step 2: ValueError: the joint angle"),
    ],
)
def test_a_failing_environment_is_one_line_with_its_step(make, fault, says):
    with pytest.raises(MlxworldError) as it:
        source = make(fault=fault)
        for _ in zip(_steps(source, make_policy("random", source, 0), 0), range(10), strict=False):
            pass
    assert str(it.value) == says


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (SystemExit(3), "SystemExit: 3"),
        (RuntimeError(), "RuntimeError"),
        (KeyError("a\n\n b"), "KeyError: 'a\\n\\n b'"),
        (OSError("first\nsecond"), "OSError: first second"),
        (ValueError("x" * 10**5), f"ValueError: {'x' * 300}..."),
        (MlxworldError("as it is"), None),
    ],
    ids=["exit", "without a text", "quoted", "lines", "long", "own"],
)
def test_reasons_of_any_kind_are_one_line(make, error, says):
    source = make(fault="reset", error=error)
    with pytest.raises(MlxworldError) as it:
        next(_steps(source, make_policy("random", source, 0), 0))
    assert str(it.value) == (f"gym:Kind-v0 failed in reset: {says}" if says else "as it is")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("ALE/Pong-v5", "say gym:ale_py:ALE/Pong-v5, or atari:Pong$"),
        ("mlxworld/World-v0", "say gym:mlxworld.gym:mlxworld/World-v0$"),
        ("Sokoban-v7", "gym:MODULE:ID imports the module"),
        ("nowhere/Thing-v0", "gym:MODULE:ID imports the module"),
        ("CartPole-v9", r"versioned environments: \[ `v0`, `v1` \]"),
        ("nowhere:Thing-v0", "No module named 'nowhere'"),
        ("a b", "Malformed"),
    ],
)
def test_an_unknown_environment_is_one_line_that_says_how_to_name_it(monkeypatch, name, says):
    for namespace in ("ALE", "mlxworld"):  # other tests may have registered them
        for key in [key for key in gymnasium.registry if key.startswith(f"{namespace}/")]:
            monkeypatch.delitem(gymnasium.registry, key)
    with pytest.raises(MlxworldError, match=says) as it:
        open_source(f"gym:{name}")
    assert "\n" not in str(it.value)


def test_an_environment_of_the_present_folder_is_found(tmp_path, monkeypatch):
    (tmp_path / "here_only.py").write_text(
        "import gymnasium\ngymnasium.register('Here-v0', 'gymnasium.envs.classic_control:CartPoleEnv')\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    assert open_source("gym:here_only:Here-v0").fps == 50
    assert sys.path[-1] == str(tmp_path)
