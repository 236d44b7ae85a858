"""Plans in the real environment: the readers of reward against exact states, what a world is shown, the table."""

import json
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from mlxworld.data import make_policy, open_source
from mlxworld.errors import MlxworldError
from mlxworld.evaluate import planning
from mlxworld.evaluate.planning import CORNER, PlanningConfig, measure, table


def seen(name, steps=120, seed=3):
    source = open_source(name)
    policy, found = make_policy("sticky", source, seed), [source.reset(seed)]
    while len(found) < steps:
        found.append(source.step(policy.act(found[-1])))
    return found


def test_the_corner_is_read_as_the_simulator_has_it():
    pytest.importorskip("pymunk")
    steps = seen("bounce")
    read = planning.to_the_corner(np.stack([s.video for s in steps]))
    exact = -np.array([np.linalg.norm(s.state["position"][0] - CORNER) / 128 for s in steps])
    assert np.abs(read - exact).max() < 3 / 128 and exact.std() > 0.05
    assert planning.nearness(steps)["distance"] == pytest.approx(-exact.mean())
    assert planning.to_the_corner(np.zeros((2, 64, 64, 3), np.uint8)).tolist() == [-1, -1]


def test_the_paddles_way_to_the_ball_is_read_as_the_console_has_it():
    pytest.importorskip("ale_py")
    steps = seen("pong", 200)
    read = planning.follow(np.stack([s.video for s in steps]))
    ball, paddle = (np.array([float(s.state["ram"][i]) for s in steps]) for i in (54, 51))
    played = (ball > 0) & (read < 0)
    exact = -np.abs(ball - paddle)[played] * 128 / 210
    assert played.sum() > 60 and np.corrcoef(128 * read[played], exact)[0, 1] > 0.95
    assert (read[ball == 0][5:] == 0).mean() > 0.9 and read.min() > -1


class Fake:
    """A world that always plans `action`, and remembers what it was shown."""

    name, device, size = "fake", "cpu", (64, 64)
    actions: tuple[str, ...] = ("noop", "left", "right", "up", "down")
    config = SimpleNamespace(context_frames=6, receptive_field=2)

    def __init__(self, action):
        self.action, self.shown, self.asked = action, [], []

    def reset(self, seed, context):
        self.shown.append(context)

    def plan(self, reward, method, **options):
        pictures = np.zeros((4, 64, 64, 3), np.uint8)
        assert reward(SimpleNamespace(video=pictures)).shape == (4,)
        self.asked.append((method, options))
        return SimpleNamespace(actions=(self.action,))


@pytest.fixture(scope="module")
def played():
    pytest.importorskip("pymunk")
    world = Fake(1)
    cfg = PlanningConfig(world="x", env="bounce", games=2, steps=10, worlds=8, horizon=8, hold=4)
    return world, measure(cfg, cast(Any, world))


def test_a_plan_sees_the_real_frames_of_late(played):
    world, _ = played
    first = world.shown[:3]
    assert [len(c.video) for c in first] == [6, 8, 8]  # all that there is, then as many as a world depends on
    assert [c.actions.tolist() for c in first] == [[0] * 6, [0] * 4 + [1] * 4, [1] * 8]
    assert first[0].video.shape[1:] == (64, 64, 3) and first[0].audio.shape == (6, 1024)
    methods = [method for method, _ in world.asked]
    assert methods == ["beam"] * 6 + ["cem"] * 6 + ["shooting"] * 6
    assert all(options["worlds"] == 8 and options["horizon"] == 8 for _, options in world.asked)


def test_returns_are_of_real_frames_and_stand_beside_controls(played):
    _, figures = played
    players = figures["players"]
    assert list(players) == ["beam", "cem", "shooting", "random", "nothing"]
    assert players["beam"]["return"] == players["cem"]["return"] != players["nothing"]["return"]  # they all go left
    assert all(p["distance"] == pytest.approx(-p["return"], abs=0.03) and p["error"] > 0 for p in players.values())
    text = table(figures)
    assert "| shooting |" in text and "2 games of 10 steps, 8 worlds, 8 frames" in text
    row = next(line for line in text.splitlines() if line.startswith("| random"))
    assert row.split("|")[4].strip() == "0.00"


def test_figures_of_who_is_done_stay_where_a_later_player_fails(tmp_path):
    pytest.importorskip("pymunk")

    class Ends(Fake):
        def plan(self, reward, method, **options):
            if method == "cem":
                raise KeyboardInterrupt
            return super().plan(reward, method, **options)

    cfg = PlanningConfig("x", "bounce", games=1, steps=4, worlds=8, horizon=8, hold=4, out=tmp_path / "plan.json")
    with pytest.raises(KeyboardInterrupt):
        measure(cfg, cast(Any, Ends(1)))
    assert list(json.loads((tmp_path / "plan.json").read_text())["players"]) == ["beam"]


def test_the_gain_is_measured_in_what_shooting_gains():
    rows = {"beam": -0.2, "shooting": -0.4, "random": -0.5}
    players = {n: {"return": r, "error": 0.1, "seconds": 1.0} for n, r in rows.items()}
    figures = {"players": players, "games": 1, "steps": 1, "worlds": 1, "horizon": 1, "world": "w", "env": "e"}
    text = table(figures | {"device": "cpu"})
    assert "| beam | -0.2000 | 0.1000 | 3.00 | 1 |" in text and "| shooting | -0.4000 | 0.1000 | 1.00 | 1 |" in text


def test_what_cannot_be_measured_is_told():
    pytest.importorskip("pymunk")
    with pytest.raises(MlxworldError, match="unknown --env 'chess': choose one of pong, bounce"):
        measure(PlanningConfig(env="chess"), cast(Any, Fake(0)))
    with pytest.raises(MlxworldError, match="must be 1 or more"):
        measure(PlanningConfig(games=0), cast(Any, Fake(0)))
    other = Fake(0)
    other.actions = ("noop", "up", "down")
    with pytest.raises(MlxworldError, match="fake has the actions"):
        measure(PlanningConfig(env="bounce"), cast(Any, other))
