"""Errors of what is read from frames, in a world of balls that move straight on."""

from types import SimpleNamespace

import numpy as np
import pytest

from mlxworld.evaluate.figures import Clips
from mlxworld.evaluate.physics_report import COAST, physics_report, read_physics

N, T, CONTEXT, FPS = 3, 24, 6, 30


def world(turn: float = 0.0):
    """State of two bodies that move straight on, but for a kick by `turn` at the 10th frame; a third is not there."""
    rng = np.random.default_rng(0)
    velocity = np.repeat(rng.normal(0, 60, (N, 1, 3, 2)), T, 1)
    velocity[:, 16:] += turn
    velocity[:, :, 2] = 0
    position = 64 + np.cumsum(velocity / FPS, 1)
    position[:, :, 2] = -40
    kinetic = np.square(velocity).sum(-1)
    return {"position": position, "velocity": velocity, "kinetic": kinetic, "potential": 0 * kinetic + 5}


def measured(turn: float, off: float):
    """A model that reads the truth of real frames, and of dreams everything `off` of the room to the right; of the body
    that is not there it says anything."""
    state = world(turn)
    room = np.ptp(state["position"][:, :, :2, 0])
    video, audio = np.zeros((N, T, 8, 8, 3), np.uint8), np.zeros((N, T, 4), np.float32)
    video[..., 0] = 9
    clips = Clips(video, audio, {"model": (video + 1, audio)}, CONTEXT, 120, state=state)

    def read(seen, heard):
        deep = np.concatenate([state["position"], np.zeros((N, T, 3, 1))], -1)  # in three dimensions
        deep[..., 0] += 0 if (seen[:, CONTEXT:] == video[:, CONTEXT:]).all() else off * room
        deep[:, :, 2] = 999
        energy = 0.9 * (state["kinetic"] + state["potential"])
        energy[:, :, 2] = 999
        return {"position": deep, "velocity": 1.1 * state["velocity"], "energy": energy}

    return physics_report(clips, read, FPS)


def test_errors_of_a_known_size():
    table = measured(0, 0.05)
    assert table.value("physics_position_16") == pytest.approx(5)
    assert table.value("physics_position_16", "real frames") == pytest.approx(0)
    assert table.value("physics_velocity_4") == pytest.approx(10)
    assert table.value("physics_energy_1") == pytest.approx(10)
    assert table.value("physics_position_16", COAST) == pytest.approx(0)


def test_constant_velocity_misses_a_kick():
    table = measured(90, 0)
    assert table.value("physics_position_4", COAST) == pytest.approx(0)  # the kick is in the 11th dreamt frame
    assert table.value("physics_position_16", COAST) > 5 and table.value("physics_energy_16", COAST) > 5
    assert table.value("physics_position_16") == pytest.approx(0)


def test_physics_is_read_of_the_latents_of_frames(backend):
    from tests.models.small import clip, lively

    net, given = lively(backend), clip(frames=4)
    reader = SimpleNamespace(
        cfg=net.cfg, encode=net.encode, read_physics=lambda z: {"position": z[..., :2], "energy": z[:, :, 0, 0]}
    )
    found = read_physics(backend, reader, given["video"], given["audio"])
    assert found["position"].shape == (2, 4, net.cfg.latent.tokens, 2) and found["energy"].shape == (2, 4)
    assert not np.array_equal(found["energy"][0], found["energy"][1])
