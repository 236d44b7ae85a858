"""What a world reads of its bodies: from the latents of its last frames, only when asked, and where in the picture."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from mlxworld import Physics, World
from mlxworld.configs.openworld import PhysicsConfig
from mlxworld.data.envs import mujoco_room
from mlxworld.play.lockstep import tree_map
from tests.play.small_world import SMALL

BODIES = dataclasses.replace(SMALL, physics=PhysicsConfig(objects=2, dim=16, heads=1, depth=1))


def name_of(backend) -> str:
    return {"mlxworld": "mlx", "torch_backend": "torch"}[backend.__name__]


def lively(backend, cfg=BODIES) -> World:
    """A world with heads that say something."""
    world = World.untrained(cfg, name_of(backend))
    nn, engine, rng = backend.nn, backend.engine, np.random.default_rng(3)
    heads = {n: p for n, p in nn.parameters(world.model).items() if n.startswith("physics.") and p.ndim == 2}
    nn.assign(world.model, {n: engine.array(rng.normal(0, 0.3, p.shape).astype(np.float32)) for n, p in heads.items()})
    return world


def whole(world) -> Any:
    """The state of its player."""
    player: Any = world._player
    return player.whole()


def place(world) -> np.ndarray:
    """Of its bodies, as it reads them now."""
    readings = world.physics()
    assert readings is not None
    return readings["position"]


def latents(world) -> np.ndarray:
    """Of the last three frames, as the player keeps them."""
    engine = world.package.engine
    with engine.inference():
        return engine.numpy(whole(world)["latents"])


def test_it_is_what_the_model_reads_of_the_last_frames_latents(backend):
    world = lively(backend)
    world.reset(3)
    for action in (1, 2, 0, 1):
        world.step(action)
        z, engine = latents(world), backend.engine
        with engine.inference():
            wanted = engine.numpy(world.model.read_physics(engine.array(z)))
        readings = world.physics()
        assert readings is not None and readings["position"].shape == (2, 3) and readings["plausibility"].shape == ()
        for name, x in readings.items():
            np.testing.assert_allclose(x, wanted[name][0, -1], rtol=1e-5, atol=1e-6, err_msg=name)
    assert np.abs(np.diff(z[0], axis=0)).max() > 1e-3, "three frames, not one"


def test_latents_move_up_frame_by_frame_and_before_the_first_the_world_stood_still(backend):
    world = lively(backend)
    world.reset(context=np.full((32, 32, 3), 90, np.uint8))
    first = latents(world)
    assert (first == first[:, :1]).all()
    world.step(1)
    second = latents(world)
    np.testing.assert_array_equal(second[:, :2], first[:, 1:])
    assert np.abs(second[:, 2] - second[:, 1]).max() > 1e-3


def test_asking_changes_no_frame_and_a_moment_holds_what_was_read(backend):
    asked, quiet = lively(backend), lively(backend)
    for world in (asked, quiet):
        world.reset(5)
    for action in (1, 0, 2):
        one, other = asked.step(action), quiet.step(action)
        asked.physics()
        np.testing.assert_array_equal(one.video, other.video)
    moment, then = asked.snapshot(), place(asked)
    asked.step(2)
    assert np.abs(place(asked) - then).max() > 0
    asked.restore(moment)
    np.testing.assert_array_equal(place(asked), then)
    np.testing.assert_array_equal(place(asked.fork()), then)


def test_a_world_without_bodies_reads_nothing_and_keeps_nothing(backend):
    world = World.untrained(SMALL, name_of(backend))
    world.reset()
    assert world.bodies == 0 and world.physics() is None
    assert set(whole(world)) == {"model", "key"}


def test_in_a_batch_of_worlds_each_is_read(backend):
    world = World.untrained(BODIES, name_of(backend), batch=3)
    world.reset()
    world.step([0, 1, 2])
    assert world.bodies == 2 and place(world).shape == (3, 2, 3)
    assert tree_map(lambda x: x.shape[0], {"z": latents(world)}) == {"z": 3}


def test_places_are_those_in_the_picture():
    state = {"position": np.array([[32.0, 64.0]]), "velocity": np.array([[64.0, 0.0]])}
    flat = Physics.of("bounce:ball", state | {"kinetic": np.array([2.0]), "potential": np.array([3.0])})
    assert flat is not None and flat.plausibility is None
    np.testing.assert_allclose(flat.place, [[0.25, 0.5]])
    np.testing.assert_allclose(flat.ahead, [[0.35, 0.5]])
    assert flat.energy is not None and flat.energy.tolist() == [5]
    read = Physics.of("bounce", {"position": np.zeros((2, 3)), "velocity": np.zeros((2, 3)), "plausibility": 0.5})
    assert read is not None and read.energy is None and read.plausibility == 0.5


@pytest.mark.parametrize("known", [None, {}, {"position": np.zeros((1, 2))}, {"x": np.zeros(3)}])
def test_where_no_bodies_are_known_there_is_nothing_to_show(known):
    assert Physics.of("doom", known) is None
    assert Physics.of("doom", {"position": np.zeros(2), "velocity": np.zeros(2)}) is None


def test_a_point_on_a_ray_of_the_room_is_where_the_ray_is_in_the_picture():
    rays, side = mujoco_room._rays(), 2 * mujoco_room.SIZE
    for row, column, far in ((10, 200, 1.0), (128, 128, 3.0), (250, 3, 2.0)):
        point = np.array(mujoco_room.EYE) + far * rays[row * side + column]
        seen = mujoco_room.in_picture(point)
        np.testing.assert_allclose(seen * side - 0.5, [column, row], atol=1e-6)
        known = {"position": point[None], "velocity": np.zeros((1, 3))}
        physics = Physics.of("mujoco", known)
        assert physics is not None
        np.testing.assert_allclose(physics.place[0], seen)
