"""Worlds whose simulator knows the truth: MuJoCo's room, and the scenes of bounce that rise in difficulty."""

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from mlxworld.data import open_source
from mlxworld.data.envs.bounce import CURTAIN, SCENES, SIZE
from mlxworld.errors import MlxworldError


@pytest.fixture(scope="module")
def room():
    """MuJoCo's room and 40 steps in which nobody pushes."""
    world = open_source("mujoco")
    return world, [world.reset(3), *(world.step(0) for _ in range(40))]


def test_its_energies_are_mujocos_own(room):
    mujoco: Any = pytest.importorskip("mujoco")
    world, steps = room
    model, data = world._model, world._data
    mujoco.mj_energyPos(model, data)
    mujoco.mj_energyVel(model, data)
    own = steps[-1].state
    np.testing.assert_allclose([own["potential"].sum(), own["kinetic"].sum()], data.energy, rtol=1e-6)
    assert own["energy"] == pytest.approx(data.energy.sum(), rel=1e-6)


def test_bodies_fall_freely_until_they_touch(room):
    _, steps = room
    first = np.stack([s.state["velocity"][:5, 2] for s in steps[:4]])
    np.testing.assert_allclose(np.diff(first, axis=0), -9.81 / 30, rtol=1e-3)
    energy = np.array([s.state["energy"] for s in steps])
    np.testing.assert_allclose(energy[:4], energy[0], rtol=0.01)
    assert energy[-1] < 0.9 * energy[0] and energy.max() == energy[0], "springs give back less than they take"


def test_it_sounds_when_bodies_meet_and_only_then(room):
    _, steps = room
    loud = np.array([np.abs(s.audio).max() for s in steps])
    hits = np.array([s.state["impulse"].max() for s in steps])
    first = int(np.flatnonzero(hits > 0.1)[0])
    assert not loud[:first].any() and loud[first] > 0.05
    assert 0.02 < np.sqrt(np.mean([s.audio**2 for s in steps])) < 0.5
    touched = steps[first].state["impulse"]
    i, j = np.unravel_index(touched.argmax(), touched.shape)
    spectrum = np.abs(np.fft.rfft(np.concatenate([s.audio for s in steps[first : first + 2]])))
    peak = spectrum.argmax() * 30 * 1024 / 2048
    pitches = [steps[0].state["pitch"][k] for k in (i, j) if k < 6]
    ratios = (1.0, 2.32, 4.25, 1.58, 2.24)
    assert min(abs(peak / (p * r) - 1) for p in pitches for r in ratios) < 0.08, "the struck body's own mode"


def test_bodies_are_seen_where_they_are(room):
    """The middle of each ball's colour is where the camera projects it, unless something is in front."""
    from mlxworld.data.envs.mujoco_room import AT, EYE, LENS, PALETTE

    _, steps = room
    forward = np.subtract(AT, EYE) / np.linalg.norm(np.subtract(AT, EYE))
    right = np.cross(forward, (0, 0, 1)) / np.linalg.norm(np.cross(forward, (0, 0, 1)))
    up, checked = np.cross(right, forward), 0
    for step in steps[::5]:
        for ball in range(3):
            way = step.state["position"][ball] - EYE
            x, y = (64 + 64 * LENS * sign * (way @ axis) / (way @ forward) for axis, sign in ((right, 1), (up, -1)))
            hue = np.array(PALETTE[ball]) / np.linalg.norm(PALETTE[ball])
            pixels = step.video / np.linalg.norm(step.video + 1e-6, axis=-1, keepdims=True)
            rows, columns = np.nonzero(pixels @ hue > 0.998)
            if len(rows) > 30:
                assert abs(columns.mean() - x) < 2.5 and abs(rows.mean() - y) < 2.5
                checked += 1
    assert checked > 10


def test_its_actions_push():
    world, moved = open_source("mujoco"), {}
    for action, name in enumerate(world.actions):
        start = world.reset(1).state["position"][5]
        for _ in range(4):
            step = world.step(action)
        moved[name] = step.state["position"][5] - start
    assert moved["right"][0] > 0.05 and moved["left"][0] < -0.05
    assert moved["away"][1] > 0.05 and moved["near"][1] < -0.05 and np.abs(moved["noop"]).max() < 0.01


def test_without_the_package_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *_: None)
    with pytest.raises(MlxworldError, match=r'mujoco is not installed: pip install "mlxworld\[mujoco\]"'):
        open_source("mujoco")


def test_it_needs_no_display():
    code = "import os; [os.environ.pop(n, 0) for n in ('DISPLAY', 'WAYLAND_DISPLAY', 'MUJOCO_GL')]\n"
    code += "from mlxworld.data import open_source; print(open_source('mujoco').reset(0).video.std() > 5)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100)
    assert done.stdout.strip() == "True", done.stderr[-500:]


def scene(name, steps=60, seed=2):
    world = open_source(f"bounce:{name}")
    return [world.reset(seed), *(world.step(0) for _ in range(steps))]


def test_the_scenes_of_bounce_add_one_difficulty_each():
    runs = {name: scene(name) for name in SCENES}
    states = {name: {k: np.stack([s.state[k] for s in steps]) for k in steps[0].state} for name, steps in runs.items()}
    present = {name: int((s["position"][0, :, 0] > 0).sum()) for name, s in states.items()}
    assert present == {"ball": 1, "many": 3, "collisions": 3, "gravity": 3, "friction": 5, "occlusion": 5}
    assert not states["many"]["impulse"][:, :3, :3].any() and states["many"]["impulse"][:, :3, -1].any()
    assert any(s.state["impulse"][:3, :3].any() for seed in range(4) for s in scene("collisions", 60, seed))
    for name in ("ball", "many", "collisions"):
        assert not states[name]["potential"].any()
    free = states["ball"]["impulse"].max(axis=(1, 2)) == 0
    still = np.diff(states["ball"]["velocity"][:, 0], axis=0)[free[1:]]
    np.testing.assert_allclose(still, 0, atol=1e-6)
    assert np.abs(states["gravity"]["spin"]).max() < 1e-6 < np.abs(states["friction"]["spin"]).max()
    behind, before = np.stack([s.video for s in runs["occlusion"]]), np.stack([s.video for s in runs["friction"]])
    strip = slice(*CURTAIN)
    assert (behind[:, :, strip] == behind[0, 0, strip.start]).all()
    np.testing.assert_array_equal(np.delete(behind, np.r_[strip], 2), np.delete(before, np.r_[strip], 2))
    assert {int(open_source("bounce:curriculum").reset(seed).state["scene"]) for seed in range(40)} == set(range(6))


def test_bounce_is_its_scene_of_friction():
    ours, plain = scene("friction", 20), open_source("bounce")
    assert plain.name == "bounce" and open_source("bounce:ball").name == "bounce:ball"
    theirs = [plain.reset(2), *(plain.step(0) for _ in range(20))]
    assert all((a.video == b.video).all() and (a.audio == b.audio).all() for a, b in zip(ours, theirs, strict=True))
    assert ours[0].video.shape == (SIZE, SIZE, 3)


def test_an_unknown_scene_is_one_line():
    with pytest.raises(MlxworldError, match="unknown scene 'moon' of bounce: choose one of ball, many, collisions"):
        open_source("bounce:moon")
