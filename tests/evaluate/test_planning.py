"""Plans in the real environment: readers of reward against exact states, what a planner sees and does, the table."""

import json
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from mlxworld.data import make_policy, open_source
from mlxworld.errors import MlxworldError
from mlxworld.evaluate.planning import players, reader, tasks
from mlxworld.evaluate.planning.__main__ import PlanningConfig, measure, table
from mlxworld.evaluate.planning.players import Emulated, Game, Settings
from mlxworld.evaluate.planning.tasks import CORNER, TASKS
from mlxworld.play.plan import Plan, Search, plans
from tests.models.small import SMALL, changed
from tests.play.played import load, write

CONTEXT = 6


def seen(name, steps=120, seed=3):
    source = open_source(name)
    policy, found = make_policy("sticky", source, seed), [source.reset(seed)]
    while len(found) < steps:
        found.append(source.step(policy.act(found[-1])))
    return found


def test_the_corner_is_read_as_the_simulator_has_it():
    pytest.importorskip("pymunk")
    steps = seen("bounce")
    read = tasks.to_the_corner(np.stack([s.video for s in steps]))
    exact = -np.array([np.linalg.norm(s.state["position"][0] - CORNER) / 128 for s in steps])
    assert np.abs(read - exact).max() < 3 / 128 and exact.std() > 0.05
    assert tasks.nearness(steps)["distance"] == pytest.approx(-exact.mean())
    assert tasks.to_the_corner(np.zeros((2, 64, 64, 3), np.uint8)).tolist() == [-1, -1]
    found = reader.of_real(TASKS["bounce"], steps)
    assert found["correlation"] > 0.99 and found["error"] < 3 and found["frames"] == len(steps)


def test_the_paddles_way_to_the_ball_is_read_as_the_console_has_it():
    pytest.importorskip("ale_py")
    steps = seen("pong", 200)
    read, exact = tasks.follow(np.stack([s.video for s in steps])), tasks.height_apart(steps)
    ball = np.array([float(s.state["ram"][tasks.BALL]) for s in steps])
    played = (ball > 0) & (read < 0)
    assert np.array_equal(np.isnan(exact), ball == 0)
    assert played.sum() > 60 and np.corrcoef(read[played], exact[played])[0, 1] > 0.95
    assert (read[ball == 0][5:] == 0).mean() > 0.9 and read.min() > -1


def test_agreement_is_told_in_pixels():
    exact = np.array([-0.5, -0.25, 0.0])
    assert reader.agreement(exact - 1 / 128, exact) == {"correlation": pytest.approx(1), "error": pytest.approx(1)}
    assert np.isnan(reader.agreement(np.zeros(3), exact)["correlation"])


class Fake:
    """In a Planner's place: always plans `action`, and remembers what it was shown and asked."""

    action, made = 1, []

    def __init__(self, world, games, seed):
        self.games, self.frames, self.shown, self.asked = games, 0, [], []
        Fake.made.append(self)

    def observe(self, video, audio, actions):
        assert len(video) == len(audio) == len(actions) == self.games
        self.frames += video.shape[1]
        self.shown.append((video, audio, actions))

    def plan(self, reward, games, **options):
        assert reward(SimpleNamespace(video=np.zeros((4, 64, 64, 3), np.uint8))).shape == (4,)
        self.asked.append((list(games), options))
        return [Plan((self.action,) * options["horizon"], 0.0, 1) for _ in games]


def world(actions: tuple[str, ...] = ("noop", "left", "right", "up", "down")) -> Any:
    config = SimpleNamespace(context_frames=CONTEXT, receptive_field=2)
    return SimpleNamespace(name="fake", device="cpu", size=(64, 64), actions=actions, steps=1, config=config)


@pytest.fixture
def fakes(monkeypatch):
    pytest.importorskip("pymunk")
    monkeypatch.setattr(players, "Planner", Fake)
    Fake.made = []
    return Fake.made


def config(**changes):
    return PlanningConfig(
        **({"world": "x", "env": "bounce", "games": 2, "steps": 10, "worlds": 8, "horizon": 8} | changes)
    )


def test_each_real_frame_is_shown_once_and_a_plan_is_kept(fakes):
    measure(config(games=1), world())
    beam, *_ = fakes
    assert len(fakes) == 3 and [x[0].shape[1] for x in beam.shown] == [CONTEXT, 4, 4]
    assert [x[2].tolist() for x in beam.shown] == [[[0] * CONTEXT], [[1] * 4], [[1] * 4]]
    assert beam.shown[0][0].shape == (1, CONTEXT, 64, 64, 3) and beam.shown[0][1].shape == (1, CONTEXT, 1024)
    assert [fake.asked[0][1]["method"] for fake in fakes] == ["beam", "cem", "shooting"]
    wanted = {"method": "beam", "seed": CONTEXT, "worlds": 8, "horizon": 8, "hold": 4, "every": 1}
    assert beam.asked[0] == ([0], wanted)
    measure(config(games=1, replan=8, hold=2), world())
    assert [len(x[0][0]) for x in fakes[3].shown] == [CONTEXT, 8] and len(fakes[3].asked) == 2


def test_games_are_planned_together(fakes):
    apart, together = measure(config(), world()), measure(config(together=2), world())
    assert [fake.games for fake in fakes] == [1] * 6 + [2] * 3
    assert fakes[6].asked[0][0] == [0, 1] and fakes[6].shown[1][0].shape == (2, 4, 64, 64, 3)
    for name in apart["players"]:
        assert apart["players"][name]["return"] == together["players"][name]["return"]


def test_a_game_that_is_over_leaves_the_others_alone(fakes, monkeypatch):
    monkeypatch.setattr(Game, "over", property(lambda game: game.seed == 7 and len(game.steps) >= CONTEXT + 5))
    games = [Game(open_source("bounce"), seed) for seed in (7, 8)]
    cfg = Settings({"worlds": 8, "horizon": 8, "hold": 4, "every": 1}, 4)
    begins = players.dreamer(cfg, world(), TASKS["bounce"], "beam", lambda n: None)
    played = players.play(games, begins, CONTEXT, 12, 4)
    assert [len(steps) - 1 for steps in played] == [5, 12]
    assert [asked[0] for asked in fakes[0].asked] == [[0, 1], [0, 1], [1]]
    assert fakes[0].shown[2][2][0].tolist() == [1] * 4 and fakes[0].shown[2][0].shape[:2] == (2, 4)


def test_returns_are_of_real_frames_and_stand_beside_controls(fakes):
    figures = measure(config(), world())
    found = figures["players"]
    assert list(found) == ["random", "nothing", "beam", "cem", "shooting"]
    assert found["beam"]["return"] == found["cem"]["return"] != found["nothing"]["return"]  # they all go left
    assert all(p["distance"] == pytest.approx(-p["return"], abs=0.03) and p["error"] > 0 for p in found.values())
    text = table(figures)
    assert "| shooting |" in text and "2 games of 10 steps, worlds 8, horizon 8, hold 4" in text
    row = next(line for line in text.splitlines() if line.startswith("| random"))
    assert row.split("|")[4].strip() == "0.00"


def test_figures_of_games_that_were_played_stay_where_a_later_one_fails(fakes, tmp_path, monkeypatch):
    def fails(self, reward, games, **options):
        if options["method"] == "cem" and len(Fake.made) > 4:
            raise KeyboardInterrupt
        return [Plan((1,) * 8, 0.0, 1) for _ in games]

    monkeypatch.setattr(Fake, "plan", fails)
    with pytest.raises(KeyboardInterrupt):
        measure(config(out=tmp_path / "plan.json"), world())
    figures = json.loads((tmp_path / "plan.json").read_text())
    found = figures["players"]
    assert figures["games"] == 1
    assert {n: len(p["rows"]) for n, p in found.items()} == {
        **{"random": 2, "nothing": 2, "beam": 2},
        **{"cem": 1, "shooting": 1},
    }
    assert found["beam"]["return"] == np.mean([row["return"] for row in found["beam"]["rows"]])


def test_no_game_is_begun_that_would_not_end_in_time(fakes):
    assert measure(config(minutes=1e-6, steps=4), world())["games"] == 1
    assert measure(config(minutes=10, steps=4), world())["games"] == 2


def test_a_plan_in_the_emulator_is_what_the_game_then_does():
    pytest.importorskip("ale_py")
    game = Game(open_source("pong"), 3)
    for _ in range(60):
        game.step(0)
    before = game.source.snapshot()  # type: ignore[attr-defined]
    futures = Emulated([game], tasks.follow, 2, 1)
    (plan,) = plans(futures, Search("beam", 6, 8, 2), 3, [0])
    futures.close()
    assert futures.frames == 2 * (3 + 6 + 6 + 6)
    steps = [game.source.step(a) for a in plan.actions]
    assert tasks.follow(np.stack([s.video for s in steps])).mean() == pytest.approx(plan.score)
    game.source.restore(before)  # type: ignore[attr-defined]
    again = [game.source.step(a) for a in plan.actions]
    assert all(np.array_equal(a.video, b.video) for a, b in zip(steps, again, strict=True))


def test_who_plans_in_the_emulator_leaves_the_game_where_it_was():
    pytest.importorskip("ale_py")
    cfg = Settings({"worlds": 8, "horizon": 4, "hold": 2, "every": 1}, 2)
    game, again = (Game(open_source("pong"), 3) for _ in range(2))
    played = players.play([game], players.emulated(cfg, TASKS["pong"], "beam", lambda n: None), 40, 8, 2)[0]
    for action in game.actions[1:]:
        again.step(action)
    assert len(played) == 9 and set(game.actions[40:]) > {0}
    assert all(np.array_equal(a.video, b.video) for a, b in zip(game.steps, again.steps, strict=True))


def test_all_of_it_in_a_small_world(tmp_path, backend, monkeypatch):
    pytest.importorskip("ale_py")
    monkeypatch.setattr(reader, "DREAMS", 6)
    small = load(write(tmp_path / "small", changed(SMALL, samples=1024, sample_rate=30720)), backend)
    cfg = PlanningConfig("x", "pong", games=2, steps=4, together=2, worlds=8, horizon=4, hold=2, truth=True)
    figures = measure(cfg, small)
    assert len(figures["players"]) == 9 and set(figures["reader"]["dreams"]) == {"1", "2", "3", "4"}
    assert figures["reader"]["real"]["correlation"] > 0.9
    assert "| shooting, emulator |" in table(figures) and "| frame 4 of dreams |" in table(figures)


def test_gains_and_what_is_left_are_measured_in_those_of_shooting():
    rows = {"beam": -0.2, "shooting": -0.4, "random": -0.5}
    found = {n: {"return": r, "error": 0.1, "seconds": 1.0} for n, r in rows.items()}
    figures = dict.fromkeys(("games", "steps", "worlds", "horizon", "hold", "every", "replan", "passes"), 1)
    text = table(figures | {"players": found, "world": "w", "env": "e", "device": "cpu"})
    assert (
        "| beam | -0.2000 | 0.1000 | 3.00 | 0.50 | 1 |" in text
        and "| random | -0.5000 | 0.1000 | 0.00 | 1.25 |" in text
    )


def test_what_cannot_be_measured_is_told(fakes):
    def refused(message, fake=None, **changes):
        with pytest.raises(MlxworldError, match=message):
            measure(config(**changes), cast(Any, world() if fake is None else fake))

    refused("unknown --env 'chess': choose one of pong, bounce", env="chess")
    refused("must be 1 or more", games=0)
    refused("hold from 1 to horizon", hold=0)
    refused("hold 4 is no multiple of every 3", every=3)
    refused("--replan must be a multiple of --hold, 4 to 8, not 6", replan=6)
    refused("--replan must be a multiple of --hold, 4 to 8, not 12", replan=12)
    refused("nobody called 'best' plays: choose of random; nothing; beam", only=("best",))
    refused("fake has the actions", world(("noop", "up", "down")))
