"""Worlds that can be recorded: each is deterministic, sounds, and obeys its actions; and who plays them."""

import importlib.util
import itertools

import numpy as np
import pytest

from mlxworld.data import make_policy, open_source
from mlxworld.data.envs.doom import has_openal
from mlxworld.errors import MlxworldError

RATES = {"pong": (30, 1024), "atari:Breakout": (30, 1024), "doom:basic": (17.5, 1260), "bounce": (30, 1024)}
RATES["jumper"] = RATES["mujoco"] = (30, 1024)
RATES["gym:CartPole-v1"] = (50, 608)
STEPS = 40


@pytest.fixture(scope="module", params=RATES)
def source(request):
    if request.param.startswith("doom") and not has_openal():
        pytest.skip("Doom's sound needs OpenAL: libopenal1 on Debian")
    world = open_source(request.param)
    yield world
    world.close()


def play(world, seed, steps=STEPS, policy="random"):
    player = make_policy(policy, world, seed)
    seen = [world.reset(seed)]
    while len(seen) < steps:
        seen.append(world.reset(seed + 1000) if seen[-1].done else world.step(player.act(seen[-1])))
    return seen


def test_the_same_seed_and_actions_give_the_same_steps(source):
    first, again, other = play(source, 5), play(source, 5), play(source, 6)
    for a, b in zip(first, again, strict=True):
        assert (a.video == b.video).all() and (a.audio == b.audio).all() and a.done == b.done
        assert all((a.state[name] == b.state[name]).all() for name in a.state)
    assert any((a.video != b.video).any() for a, b in zip(first, other, strict=True))


def test_a_step_has_its_rates_and_sound(source):
    assert (source.fps, source.samples) == RATES[source.name]
    steps = play(source, 1, 100)
    for step in steps:
        assert step.video.dtype == np.uint8 and step.video.ndim == 3 and step.video.shape[2] == 3
        assert step.audio.dtype == np.float32 and step.audio.shape == (source.samples,)
    loudest = max(np.abs(step.audio).max() for step in steps)
    assert loudest == 0 if source.name.startswith("gym") else 0.05 < loudest <= 1
    assert (steps[0].video != steps[-1].video).any()
    before = steps[3].video.copy()
    source.reset(2)
    assert (steps[3].video == before).all()  # what was seen is not overwritten


def test_pongs_keys_move_the_right_paddle():
    pong = open_source("pong")
    assert pong.actions == ("noop", "up", "down")

    def height():
        green = (step.video[34:194] == (92, 186, 92)).all(-1)
        assert green[:, 80:].sum() == green.sum() > 0
        return np.argwhere(green)[:, 0].mean()

    pong.reset(0)
    for action, sign in ((1, -1), (2, 1)):
        for _ in range(12):
            step = pong.step(0)
        start = height()
        for _ in range(8):
            step = pong.step(action)
        assert sign * (height() - start) > 10


def test_pongs_sound_starts_where_a_point_is_made():
    pong = open_source("pong")
    seen = play(pong, 3, 700, "sticky")
    points = [t for t in range(1, 700) if (seen[t].state["ram"][13:15] > seen[t - 1].state["ram"][13:15]).any()]
    loud = np.array([np.ptp(step.audio) > 0.01 for step in seen])
    onsets = np.flatnonzero(loud[1:] & ~loud[:-1]) + 1
    assert len(points) >= 5
    assert np.mean([np.abs(onsets - t).min() <= 1 for t in points]) >= 0.9


def test_the_scripted_player_hits_the_ball_and_chance_does_not():
    pong = open_source("pong")

    def lost(policy):
        scores = [[step.state["ram"][13] for step in play(pong, seed, 600, policy)] for seed in range(3)]
        return sum((np.diff(np.array(score, int)) == 1).sum() for score in scores)

    assert max(lost("scripted"), lost("other")) < 0.6 * lost("random")


def test_half_of_those_who_follow_the_ball_tap_the_key_and_half_hold_it():
    pong = open_source("pong")
    step = pong.reset(0)
    step.state["ram"][[54, 51]] = 200, 60  # the ball far below the paddle, for ever
    players = [make_policy("scripted", pong, seed) for seed in range(60)]
    rests = np.array([np.mean([player.act(step) == 0 for _ in range(400)]) for player in players])
    taps = rests > 0.4
    assert 0.3 < taps.mean() < 0.7 and rests[~taps].max() < 0.3


def test_pong_begins_at_any_score_and_marks_its_points():
    pong = open_source("pong")
    begins = np.array([pong.reset(seed).state["ram"][13:15].tolist() for seed in range(40)])
    assert begins.max() <= 20 and len(np.unique(begins)) > 15
    assert (open_source("atari:Pong").reset(1).state["ram"][13:15] == 0).all()
    seen = play(open_source("pong"), 3, 400, "sticky")
    points = [False, *((b.state["ram"] != a.state["ram"])[13:15].any() for a, b in itertools.pairwise(seen))]
    assert sum(points) >= 3 and [bool(step.state["rare"]) for step in seen] == [True, *points[1:]]


def test_a_game_of_pong_ends_with_its_last_point_in_the_picture():
    pong = open_source("pong")
    for seed in range(3):
        step = pong.reset(seed)
        while not step.done:
            drawn, step = step.video, pong.step(1)
        scores = step.state["ram"][13:15].tolist()
        assert max(scores) == 21
        digit = slice(34, 50) if scores[0] == 21 else slice(114, 130)  # the winner's last one
        before, now = ((picture[1:23, digit] != (144, 72, 17)).any(-1).any(0).sum() for picture in (drawn, step.video))
        assert (before, now) == (12, 4)  # columns of a 0 and of a 1


def test_mixed_plays_differently_in_each_episode_and_the_same_again():
    pong = open_source("pong")
    names = [make_policy("mixed", pong, seed).name for seed in range(60)]
    assert {"scripted", "sticky", "random"} == set(names)
    assert names == [make_policy("mixed", pong, seed).name for seed in range(60)]
    breakout = open_source("atari:Breakout")
    assert {make_policy("mixed", breakout, seed).name for seed in range(30)} == {"sticky", "random"}
    with pytest.raises(MlxworldError, match=r"'scripted' plays atari:Breakout: choose one of mixed, random, sticky$"):
        make_policy("scripted", breakout, 0)


def test_doom_without_sound_says_what_is_missing():
    doom = open_source("doom:basic")
    state = doom._game.get_state  # pyright: ignore[reportAttributeAccessIssue]

    class Silent:
        def __getattr__(self, name):
            return getattr(game, name)

        def get_state(self):
            found = state()
            found.audio_buffer[:] = 0
            return found

    game, doom._game = doom._game, Silent()  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(MlxworldError, match="libopenal1"):
        play(doom, 0, 60)
    game.close()


def test_bounce_falls_by_its_gravity_and_knows_its_energy():
    bounce = open_source("bounce")
    steps = play(bounce, 2, 60)
    keys = {"position", "velocity", "angle", "spin", "mass", "inertia", "kinetic", "potential", "energy"}
    keys |= {"impulse", "pitch", "scene"}
    assert set(steps[0].state) == keys
    states = {key: np.stack([step.state[key] for step in steps]) for key in keys}
    speed = (states["velocity"] ** 2).sum(-1)
    kinetic = 0.5 * states["mass"] * speed + 0.5 * states["inertia"] * states["spin"] ** 2
    assert np.allclose(kinetic, states["kinetic"])
    assert np.allclose(states["energy"], (states["kinetic"] + states["potential"]).sum(-1))
    change = np.diff(states["velocity"], axis=0)[:, 1:]  # the pushed ball left out
    free = np.abs(change[..., 0]) < 1e-9
    assert free.mean() > 0.4 and np.allclose(change[free][:, 1], 120 / 30, rtol=1e-6)


def test_bounce_shows_its_bodies_where_they_are():
    bounce = open_source("bounce")
    for step in play(bounce, 4, 30):
        for (x, y), colour in zip(step.state["position"], ((240, 200, 60), (90, 170, 240)), strict=False):
            assert np.abs(step.video[int(y), int(x)].astype(int) - colour).max() <= 1


def test_bounce_sounds_when_bodies_meet_and_only_then():
    bounce = open_source("bounce")
    steps = [bounce.reset(7)] + [bounce.step(0) for _ in range(80)]
    change = np.diff(np.stack([step.state["velocity"] for step in steps]), axis=0) - (0, 120 / 30)
    struck = np.abs(change).max((1, 2)) > 60
    loud = np.array([np.abs(step.audio).max() for step in steps[1:]])
    first = int(np.argmax(np.abs(change).max((1, 2)) > 1e-6))
    assert loud[:first].max(initial=0) == 0 and struck.sum() >= 3 and loud[struck].min() > 0.03
    line = np.concatenate([step.audio for step in steps])
    borders = np.abs(np.diff(line))[1023::1024]
    assert borders.max() <= np.abs(np.diff(line)).max()  # no clicks where frames meet
    assert borders.mean() < 1.5 * np.abs(np.diff(line)).mean() + 1e-3


def test_bounce_tells_which_bodies_touched_and_how_hard():
    seen = play(open_source("bounce"), 7, 200, "scripted")
    impulse = np.stack([step.state["impulse"] for step in seen])
    assert impulse.shape == (200, 5, 6) and (impulse[:, :, :5] == impulse[:, :, :5].swapaxes(1, 2)).all()
    assert not impulse[:, np.arange(5), np.arange(5)].any() and impulse[..., 5].any()
    velocity, mass = (np.stack([step.state[name] for step in seen]) for name in ("velocity", "mass"))
    change = np.diff(velocity, axis=0)[:, 1:] - (0, 120 / 30)
    momentum = np.hypot(*np.moveaxis(change, -1, 0)) * mass[1:, 1:]
    free, hit = impulse[1:, 1:].sum(-1) == 0, impulse[1:, 1:].sum(-1) > 40
    assert hit.sum() > 20 and momentum[hit].mean() > 20 * momentum[free].mean()
    alone = hit & ((impulse[1:, 1:] > 0).sum(-1) == 1)
    assert np.median(momentum[alone] / impulse[1:, 1:].sum(-1)[alone]) == pytest.approx(1, abs=0.1)


def test_the_chaser_hits_other_bodies_more_often_than_chance_does():
    bounce = open_source("bounce")

    def hits(policy):
        seen = [play(bounce, seed, 240, policy) for seed in range(5)]
        return sum(int((step.state["impulse"][0, 1:5] > 20).any()) for steps in seen for step in steps)

    counts = {policy: hits(policy) for policy in ("scripted", "random", "other")}
    assert counts["scripted"] > 1.5 * counts["random"], counts


def test_bounces_actions_push():
    bounce = open_source("bounce")
    speeds = {}
    for action, name in enumerate(bounce.actions):
        bounce.reset(1)
        speeds[name] = bounce.step(action).state["velocity"][0]
    for name, push in {"left": (-20, 0), "right": (20, 0), "up": (0, -20), "down": (0, 20)}.items():
        assert np.allclose(speeds[name] - speeds["noop"], push, atol=0.1)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("tetris", "pong, jumper, doom"),
        ("atari:Tetriss", "Tetriss"),
        ("doom:nowhere", "basic"),
        ("gym:Nowhere-v0", "Nowhere"),
        ("gym:", "unknown world"),
    ],
)
def test_unknown_worlds_are_one_line(name, says):
    with pytest.raises(MlxworldError, match=says) as caught:
        open_source(name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "module", "extra"),
    [("pong", "ale_py", "atari"), ("doom", "vizdoom", "doom"), ("bounce", "pymunk", "physics")],
)
def test_a_missing_package_names_its_extra(monkeypatch, name, module, extra):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda n, *a: None if n == module else found(n, *a))
    with pytest.raises(MlxworldError, match=rf'pip install "mlxworld\[{extra}\]"'):
        open_source(name)
