"""Jumper: levels that can be run through, motion by its numbers, sounds that are events, and those who play it."""

import itertools

import numpy as np
import pytest

from mlxworld.data import make_policy, open_source
from mlxworld.data.envs.jumper import game, level, paint
from mlxworld.data.envs.jumper.body import Body
from mlxworld.data.envs.players.jumper import Runner
from mlxworld.data.envs.source import seeds

NOOP, LEFT, RIGHT, JUMP, RIGHT_JUMP = 0, 1, 2, 3, 5


def run(seed, policy="scripted", steps=3000, world=None):
    world = world or open_source("jumper")
    player, seen, actions = make_policy(policy, world, seed), [world.reset(seed)], [0]
    while not seen[-1].done and len(seen) < steps:
        actions.append(player.act(seen[-1]))
        seen.append(world.step(actions[-1]))
    return seen, np.array(actions)


@pytest.fixture
def unseen(monkeypatch):
    """Jumper without pictures, which take most of its time."""
    world, blank = open_source("jumper"), np.zeros((128, 128, 3), np.uint8)
    monkeypatch.setattr(game, "strip", lambda level: None)
    monkeypatch.setattr(world, "_draw", lambda camera: blank)
    return world


def test_every_level_can_be_run_through():
    """Over 200 seeds, slimes left out: gaps and steps can be jumped by somebody who sees one picture ahead."""
    player = Runner(6, np.random.default_rng(0))
    player._playful = player._back = 0
    for seed in range(200):
        tiles, body, steps, player._plan = level.draw_level(seeds(seed)).tiles, Body(), 0, []
        while body.x <= (level.COLUMNS - 1) * level.TILE and steps < 2000:
            action = player.run(body, tiles, None)
            body.move(tiles, int(action in (RIGHT, RIGHT_JUMP)) - (action in (LEFT, 4)), action >= JUMP)
            steps += 1
            assert body.y < 120, f"seed {seed} ends at {body.x / 16:.1f}"
        assert steps < 2000, f"seed {seed} does not get beyond {body.x / 16:.1f}"


@pytest.fixture(scope="module")
def played():
    return run(3, steps=900)


def test_levels_hold_what_the_game_is_about():
    levels = [level.draw_level(seeds(seed)) for seed in range(30)]
    for kind in (level.GRASS, level.EARTH, level.CRATE, level.LAVA):
        assert all((found.tiles == kind).any() for found in levels)
    assert min(len(found.coins) for found in levels) > 10 and 3 < np.mean([len(f.slimes) for f in levels]) < 30
    for found in levels:
        lava = (found.tiles[-1] == level.LAVA).astype(int)
        runs = np.diff(np.flatnonzero(np.diff(lava, prepend=0, append=0)))[::2]
        assert runs.max() <= level.WIDEST and not lava[-6:].any()
    assert not (levels[0].tiles == levels[1].tiles).all()
    assert (level.draw_level(seeds(7)).tiles == levels[7].tiles).all()


def test_motion_has_its_numbers():
    tiles = np.zeros((level.ROWS, level.COLUMNS), np.int8)
    tiles[6:] = level.GRASS
    body = Body(x=100.0, y=6 * 16 - 22.0, ground=True)
    for _ in range(20):
        body.move(tiles, 1, False)
    assert body.vx == pytest.approx(2.8) and body.ground and body.y == 6 * 16 - 22
    assert body.move(tiles, 0, True) and body.vx == pytest.approx(2.24) and body.vy == pytest.approx(-6.6 + 0.42)
    heights = [body.y]
    while not body.ground:
        assert not body.move(tiles, 0, True)  # nobody jumps in the air
        heights.append(body.y)
    assert 48 < 6 * 16 - 22 - min(heights) < 53 and len(heights) == pytest.approx(31, abs=2)
    tiles[3:6, 20] = level.EARTH  # a wall
    body = Body(x=300.0, y=6 * 16 - 22.0, ground=True)
    for _ in range(30):
        body.move(tiles, 1, False)
    assert 300 < body.x <= 20 * 16 - 4 and body.vx == 0


def test_its_state_tells_what_the_picture_shows(played):
    seen, _ = played
    for step in seen[::40]:
        x, y, camera = (float(step.state[name]) for name in ("x", "y", "camera"))
        place = step.video[int(y) + 4 : int(y) + 20, int(x - camera) - 5 : int(x - camera) + 5].astype(float)
        sky = paint.strip(level.Level(np.zeros((8, 200), np.int8), np.zeros((0, 2)), np.zeros((0, 4))))
        assert np.abs(place - sky[int(y) + 4 : int(y) + 20, :10]).max(-1).mean() > 30 or y < -8
        grass = np.argwhere(step.state["tiles"] == level.GRASS)
        row, column = next((r, c) for r, c in grass if 0 < c < 7)
        pixel = step.video[row * 16 + 2, int(column * 16 - camera % 16) + 8]
        assert pixel[1] > pixel[0] > pixel[2]  # green
    assert seen[0].state["slimes"].shape == (level.SLIMES, 3) and seen[0].state["tiles"].shape == (8, 9)
    cameras = np.array([int(step.state["camera"]) for step in seen])
    assert cameras.max() > 300 and np.abs(np.diff(cameras)).max() <= 4


def test_each_sound_is_an_event_and_each_event_a_sound(unseen):
    events = dict.fromkeys(game.SOUNDS, 0)
    for seed in range(6):
        seen, actions = run(seed, steps=600, world=unseen)
        loud = np.array([np.sqrt((step.audio**2).mean()) for step in seen])
        begun = np.array([[bool(step.state[name]) for name in game.SOUNDS] for step in seen])
        for k, name in enumerate(game.SOUNDS):
            events[name] += begun[:, k].sum()
        times = np.flatnonzero(begun.any(1))
        assert (loud[times] > 0.02).all()
        silent = np.array([not begun[max(0, t - 20) : t + 1].any() for t in range(len(seen))])
        assert (loud[silent] == 0).all()
        jumps = np.flatnonzero(begun[:, 0])
        assert set(actions[jumps]) <= {JUMP, 4, RIGHT_JUMP}
        coins = np.array([int(step.state["coins"]) for step in seen])
        assert ((coins[:-1] - coins[1:] > 0) == begun[1:, 1]).all()
    assert min(events.values()) >= 1 and events["jump"] > 30 and events["coin"] > 30


def test_sounds_differ_from_one_another():
    spectra = []
    for name in game.SOUNDS:
        power = np.abs(np.fft.rfft(game.sound(name)[:5000], 8192)) ** 2
        bands = np.add.reduceat(power, np.geomspace(8, 4096, 24).astype(int))
        spectra.append(np.sqrt(bands / bands.sum()))
    likeness = [a @ b for a, b in itertools.combinations(spectra, 2)]
    assert max(likeness) < 0.93


def test_a_game_ends_in_lava_without_lives_and_at_the_end(unseen):
    ends = set()
    for seed in range(20):
        seen, _ = run(seed, "sticky" if seed % 2 else "scripted", steps=1500, world=unseen)
        state = seen[-1].state
        if seen[-1].done:
            ends.add("end" if state["x"] > 3184 else "lives" if state["lives"] == 0 else "lava")
            assert bool(state["lose"]) == (state["x"] <= 3184)
            assert bool(state["rare"]) or state["x"] > 3184
    assert ends == {"end", "lives", "lava"}


def test_its_players_differ(unseen):
    names = {make_policy("mixed", open_source("jumper"), seed).name for seed in range(80)}
    assert names == {"scripted", "careless", "sticky", "random"}
    share = {
        policy: np.mean([(run(s, policy, 200, unseen)[1] == RIGHT).mean() for s in range(4)])
        for policy in ("scripted", "other")
    }
    assert share["other"] < share["scripted"] - 0.05
    far = {
        p: np.mean([run(s, p, 400, unseen)[0][-1].state["x"] for s in range(4)])
        for p in ("scripted", "other", "random")
    }
    assert far["scripted"] > far["other"] > far["random"]
