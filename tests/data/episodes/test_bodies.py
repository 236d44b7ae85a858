"""What a simulator knew of a dataset's bodies, frame by frame as the frames were decoded."""

import dataclasses

import numpy as np
import pytest

from mlxworld.data import (
    DatasetInfo,
    Episode,
    clip_starts,
    easiest,
    open_frames,
    read_bodies,
    read_scenes,
    write_episode,
    write_info,
)
from mlxworld.errors import MlxworldError


def states(T: int, n: int, axes: int, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    rows = {"position": (T, n, axes), "velocity": (T, n, axes), "mass": (T, n), "kinetic": (T, n), "potential": (T, n)}
    return {name: rng.normal(size=shape) for name, shape in rows.items()}


def dataset(folder, all_states):
    info = DatasetInfo(10, 64, (32, 32), ("noop",), "test", "CC0-1.0")
    write_info(folder, info)
    for i, state in enumerate(all_states):
        T = 20 + i
        frames = np.full((T, 32, 32, 3), 60, np.uint8)
        episode = Episode(frames, np.zeros((T, 64), np.float32), np.zeros(T, np.int32), state)
        write_episode(folder, f"{i:03d}", episode, info)
    return read_bodies(folder, open_frames(folder, workers=1))


def test_bodies_of_all_episodes_in_the_order_of_the_frames(tmp_path):
    first, second = states(20, 3, 2, 0), states(21, 3, 2, 1)
    bodies = dataset(tmp_path, [first, second])
    assert bodies is not None and bodies.count == 3 and bodies.position.shape == (41, 3, 3)
    np.testing.assert_allclose(bodies.position[20:, :, :2], second["position"], rtol=1e-6)
    assert not bodies.position[..., 2].any() and not bodies.velocity[..., 2].any(), "what is flat has depth 0"
    np.testing.assert_allclose(bodies.energy[:20], first["kinetic"] + first["potential"], rtol=1e-5)
    units = bodies.units()
    np.testing.assert_allclose(units["extent"][:2], bodies.position[..., :2].std((0, 1)))
    assert units["extent"][2] == units["speed"][2] == 1 and units["energy"].shape == (2,)
    rows = bodies.rows(np.array([[0, 1], [25, 26]]))
    assert rows["velocity"].shape == (2, 2, 3, 3) and rows["mass"].shape == (2, 2, 3)


def test_three_axes_stay_three(tmp_path):
    state = states(20, 2, 3, 0)
    bodies = dataset(tmp_path, [state])
    assert bodies is not None
    np.testing.assert_allclose(bodies.position, state["position"], rtol=1e-6)


@pytest.mark.parametrize("lost", ["velocity", "mass", "kinetic"])
def test_none_where_the_source_does_not_tell_them(tmp_path, lost):
    state = states(21, 3, 2, 1)
    del state[lost]
    assert dataset(tmp_path, [states(20, 3, 2, 0), state]) is None


def test_none_where_frames_or_bodies_do_not_agree(tmp_path):
    assert dataset(tmp_path / "frames", [states(19, 3, 2, 0)]) is None
    assert dataset(tmp_path / "bodies", [states(20, 3, 2, 0), states(21, 4, 2, 1)]) is None


def test_a_broken_file_of_states_is_one_line(tmp_path):
    assert dataset(tmp_path, [states(20, 3, 2, 0)]) is not None
    (tmp_path / "000.state.npz").write_bytes(b"no archive")
    with pytest.raises(MlxworldError, match=r"000\.state\.npz: broken state file"):
        read_bodies(tmp_path, open_frames(tmp_path, workers=1))


def test_a_curriculum_draws_the_easiest_scenes_first(tmp_path):
    scenes = np.array([5, 0, 2, 2, 9, 5])
    drawn = [easiest(scenes, part, 3).tolist() for part in range(3)]
    assert drawn[0] == [False, True, True, True, False, False]
    assert drawn[1] == [True, True, True, True, False, True] and all(drawn[2])
    assert easiest(scenes, 0, 1).all() and easiest(np.zeros(4, int), 0, 3).all()
    first, second = (states(T, 3, 2, 0) | {"scene": np.full(T, level)} for T, level in ((20, 3), (21, 1)))
    dataset(tmp_path, [first, second])
    store = open_frames(tmp_path, workers=1)
    assert read_scenes(tmp_path, store).tolist() == [3, 1]
    easy = dataclasses.replace(store, drawn=easiest(read_scenes(tmp_path, store), 0, 2))
    for index in range(20):
        assert (clip_starts(easy, 8, 4, 0, index) >= 20).all(), "the second episode alone"
        assert (clip_starts(easy, 8, 4, 0, index, rare=0.5) >= 20).all()
    with pytest.raises(MlxworldError, match="no episode has 21 frames"):
        clip_starts(dataclasses.replace(store, drawn=np.array([True, False])), 21, 1, 0, 0)
