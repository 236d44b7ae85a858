"""Where the data has a simulator's state, the recipe's last stage teaches the physics modules; else there are none."""

import numpy as np
import pytest

import mlxworld
from mlxworld import families, train
from mlxworld.data import DatasetInfo, Episode, write_episode, write_info
from mlxworld.files import checkpoint
from mlxworld.play.folder import model_config, read_config
from tests.training import tiny

SHORT = {"tokenizer.steps": 2, "dynamics.steps": 2, "forcing.steps": 0, "physics.steps": 4, "dynamics.frames": 4}
SHORT |= {"physics.batch": 4, "physics.frames": 16, "config.physics.dim": 16, "config.physics.heads": 1}


@pytest.fixture(scope="module")
def balls(tmp_path_factory):
    """One bright square that moves to the right, its state beside it."""
    folder = tmp_path_factory.mktemp("data") / "balls"
    info = DatasetInfo(tiny.FPS, tiny.S, (tiny.SIZE, tiny.SIZE), tiny.ACTIONS, "balls", "CC0-1.0")
    write_info(folder, info)
    for i, T in enumerate((40, 30)):
        x = (3 * i + np.arange(T)) % (tiny.SIZE - 4)
        video = np.full((T, tiny.SIZE, tiny.SIZE, 3), 60, np.uint8)
        for frame, place in zip(video, x, strict=True):
            frame[10:14, place : place + 4] = 230
        position = np.stack([x + 2.0, np.full(T, 12.0)], -1)[:, None]
        velocity = np.broadcast_to([10.0, 0.0], (T, 1, 2))
        one = np.ones((T, 1))
        state = {"position": position, "velocity": velocity, "mass": one, "kinetic": 50 * one, "potential": 0 * one}
        sound, actions = np.zeros((T, tiny.S), np.float32), np.zeros(T, np.int32)
        write_episode(folder, f"{i:03d}", Episode(video, sound, actions, state), info)
    return folder


def argv(data, out, backend, **changed):
    return ["--data", str(data), "--out", str(out), "--backend", backend, *tiny.argv(**(SHORT | changed))]


@pytest.mark.parametrize("backend", ["mlx", "torch"])
def test_a_world_with_a_state_is_read_after_training(backend, balls, tmp_path):
    train.main(argv(balls, tmp_path / "run", backend))
    arrays, _ = checkpoint.load(tmp_path / "run/model.safetensors")
    np.testing.assert_allclose(arrays["physics.predictor.extent"][1:], [1, 1], err_msg="no spread, no division")
    assert arrays["physics.predictor.energy"][0] == 50 and arrays["physics.predictor.extent"].dtype == np.float32
    state, _ = checkpoint.load(tmp_path / "run/checkpoint.safetensors")
    assert "done.physics.objective.log_variance" in state
    package = mlxworld.on(backend)
    folder, about = read_config(tmp_path / "run")
    model = families.model(package, "openworld")(model_config(folder, about))
    package.engine.load_parameters(model, arrays, "the run")
    z = package.engine.array(np.random.default_rng(0).normal(size=(1, 4, *model.cfg.latent_shape)))
    assert package.engine.numpy(model.read_physics(z))["position"].shape == (1, 4, 1, 3)


def test_the_stage_moves_the_physics_modules_alone(balls, tmp_path):
    finals = []
    for name, steps in (("none", 1), ("some", 4)):
        train.main(argv(balls, tmp_path / name, "torch", **{"physics.steps": steps}))
        finals.append(checkpoint.load(tmp_path / name / "model.safetensors")[0])
    differ = {n for n in finals[0] if finals[0][n].tobytes() != finals[1][n].tobytes()}
    assert differ and all(name.startswith("physics.") for name in differ)
    assert "physics.objective.log_variance" in differ, "the weights of the tasks are trained"


@pytest.mark.parametrize(("state", "steps"), [(False, 4), (True, 0)])
def test_without_a_state_or_a_step_there_are_no_modules(state, steps, balls, tmp_path):
    data = balls if state else tiny.dots(tmp_path / "dots")
    train.main(argv(data, tmp_path / "run", "torch", **{"physics.steps": steps}))
    arrays, _ = checkpoint.load(tmp_path / "run/model.safetensors")
    assert not [name for name in arrays if name.startswith("physics.")]
