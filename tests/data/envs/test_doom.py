"""Doom: actions of several keys that turn exactly, a state that is true, ammunition without end, and who plays."""

import numpy as np
import pytest

from mlxworld.data import make_policy, open_source
from mlxworld.data.envs import doom as module
from mlxworld.data.envs.doom import has_openal

pytestmark = pytest.mark.skipif(not has_openal(), reason="Doom's sound needs OpenAL: libopenal1 on Debian")


@pytest.fixture(scope="module")
def line():
    world = open_source("doom")
    yield world
    world.close()


@pytest.fixture(scope="module")
def corridor():
    world = open_source("doom:deadly_corridor")
    yield world
    world.close()


def play(world, policy, seed=0, steps=150):
    player, seen, actions = make_policy(policy, world, seed), [world.reset(seed)], [0]
    while len(seen) < steps and not seen[-1].done:
        actions.append(player.act(seen[-1]))
        seen.append(world.step(actions[-1]))
    return seen, np.array(actions)


def column(seen, name):
    return np.array([step.state[name] for step in seen], float)


def test_a_step_is_two_tics_with_their_sound(line):
    assert line.name == "doom:defend_the_line" and line.fps * line.samples == 22050
    step = line.reset(1)
    assert step.video.shape == (240, 320, 3) and step.audio.shape == (1260,)
    assert line._game.get_episode_time() >= module.START


def test_turns_are_exact_and_keys_go_together(line):
    line.reset(1)
    for name, degrees in (("left", 8), ("right", -8), ("fire+left", 8), ("strafe_left", 0)):
        before = line.step(0).state
        after = line.step(line.actions.index(name)).state
        turned = (float(after["angle"] - before["angle"]) + 180) % 360 - 180
        assert turned == pytest.approx(degrees, abs=0.02), name
    assert np.hypot(after["x"] - before["x"], after["y"] - before["y"]) > 3
    fired = [line.step(line.actions.index("fire+right")).state for _ in range(20)]
    assert any(state["shot"] for state in fired) and fired[0]["angle"] != fired[-1]["angle"]


def test_a_shot_is_told_when_ammunition_falls_and_it_does_not_end(corridor):
    corridor.reset(2)
    seen = [corridor.step(corridor.actions.index("fire")) for _ in range(150)]
    seen = seen[: next((t for t, step in enumerate(seen) if step.done), 150)]
    ammo, shot = column(seen, "ammo"), column(seen, "shot") > 0
    fell = np.flatnonzero(np.diff(ammo) < 0) + 1
    assert len(fell) >= 6 and np.mean([shot[max(0, t - 1) : t + 2].any() for t in fell]) >= 0.8
    assert ammo.min() > 0
    loud = np.array([step.audio.std() for step in seen])
    assert np.median(loud[fell]) > np.median(loud)


def test_monsters_boxes_lie_where_they_are_seen(line):
    seen, _ = play(line, "sweeping", 3, 60)
    boxes = np.stack([step.state["monsters"] for step in seen])
    known = boxes[..., 5] >= 0
    assert known.any(1).mean() > 0.5 and (boxes[~known][:, :5] == 0).all()
    x, y, w, h = np.moveaxis(boxes[known][:, :4], -1, 0)
    assert min(x.min(), y.min()) >= 0 and max((x + w).max(), (y + h).max()) <= 128 and h.max() > 8
    areas = (boxes[..., 2] * boxes[..., 3]) * known
    assert (np.diff(areas, axis=1) <= 1e-3).all()  # the largest first


def test_the_fighter_fires_at_monsters(line):
    seen, actions = play(line, "scripted", 0)
    assert column(seen, "kills")[-1] >= 3

    def aimed(actions, seen):
        fires = [t for t in range(1, len(seen)) if "fire" in line.actions[actions[t]]]
        boxes = [seen[t - 1].state["monsters"][0] for t in fires]
        return np.mean([abs(x + w / 2 - 64) < 16 and kind >= 0 for x, _, w, _, _, kind in boxes])

    assert aimed(actions, seen) > 0.7 > aimed(*play(line, "random", 0)[::-1])


def test_the_walker_gets_somewhere(corridor):
    runs = [play(corridor, "scripted", seed, 120) for seed in range(3)]
    assert corridor.actions == module.WALKING
    assert max(np.ptp(column(seen, "x")) for seen, _ in runs) > 100
    assert max(len(set(actions.tolist())) for _, actions in runs) > 4
    stood = corridor.reset(1).state
    ahead = [corridor.step(corridor.actions.index("forward")).state for _ in range(5)][-1]
    assert np.hypot(ahead["x"] - stood["x"], ahead["y"] - stood["y"]) > 20  # it runs


def test_the_sweeper_stays_within_its_angle(line):
    for seed in range(3):
        seen, _ = play(line, "sweeping", seed, 100)
        angle = (column(seen, "angle") - column(seen, "angle")[0] + 180) % 360 - 180
        assert 20 < np.abs(angle).max() < 70


def test_other_scenarios_have_the_actions_of_their_buttons():
    world = open_source("doom:basic")
    assert world.actions == ("noop", "strafe_left", "strafe_right", "fire")
    place = world.reset(0).state["y"]
    moved = [world.step(2).state["y"] for _ in range(4)][-1]
    world.close()
    assert abs(float(moved - place)) > 10
