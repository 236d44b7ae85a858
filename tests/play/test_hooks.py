"""Latent hooks on a world: files that join as it is loaded, on either backend, and nothing where there are none."""

import numpy as np
import pytest

import mlxworld
from mlxworld import MlxworldError
from mlxworld.configs.hook import HookConfig
from mlxworld.files import hook_file
from tests.models.small import SMALL, gap, module
from tests.play.played import load, play, same, write


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write(tmp_path_factory.mktemp("worlds") / "small")


def hook(folder, name="night", seed=5, **changed):
    """A file of a loud hook."""
    facts = {"num_tokens": 3, "dim": SMALL.dynamics.dim, "target_layers": (0, 1), "gate_bias_init": 2.0} | changed
    torch, cfg = mlxworld.on("torch"), HookConfig(name, **{"family": SMALL.family, "depth": 2} | facts)
    net = module(torch, "blocks.hooks").LatentNeuralHook(cfg)
    rng, shapes = np.random.default_rng(seed), {n: tuple(x.shape) for n, x in torch.nn.parameters(net).items()}
    arrays = {n: rng.normal(size=shape).astype(np.float32) for n, shape in sorted(shapes.items())}
    path = folder / f"{name}.safetensors"
    hook_file.save(path, cfg, arrays)
    return path


def dreamt(folder, backend, **options):
    world = load(folder, backend, **options)
    world.reset(seed=2)
    return play(world)


def test_hooks_join_and_are_no_part_of_the_world(folder, backend, tmp_path):
    plain, paths = dreamt(folder, backend), [hook(tmp_path), hook(tmp_path, "day", 6)]
    one, two = (dreamt(folder, backend, hooks=paths[:n]) for n in (1, 2))
    assert not same(plain, one) and not same(one, two)
    assert same(plain, dreamt(folder, backend)) and same(plain, dreamt(folder, backend, hooks=[]))
    world = load(folder, backend, hooks=paths)
    assert world.hooks == ("night", "day") and world.digest != load(folder, backend).digest
    assert paths[0].stat().st_size < 300_000


def test_both_backends_hear_a_hook_alike(folder, tmp_path):
    path = hook(tmp_path)
    mlx, torch = (dreamt(folder, mlxworld.on(b), hooks=[str(path)]) for b in ("mlx", "torch"))
    assert gap(mlx[0], torch[0]) <= 2 and gap(mlx[1], torch[1]) < 1e-3


def test_moments_streams_and_rollouts_have_the_hook(folder, backend, tmp_path):
    world, actions = load(folder, backend, hooks=[hook(tmp_path)]), [1, 2, 0, 1]
    world.reset(seed=2)
    moment = world.snapshot()
    first = play(world, actions)
    world.restore(moment)
    assert same(first, play(world.fork(), actions))
    streamed = list(world.stream(actions))
    assert same(first, (np.stack([f.video for f in streamed]), np.stack([f.audio for f in streamed])))
    dreams = [load(folder, backend, hooks=h).rollouts([actions], worlds=1)[0] for h in ([], [hook(tmp_path)])]
    assert gap(dreams[0].video, dreams[1].video) > 2


def test_compiled_and_in_other_numbers(folder, tmp_path):
    torch, path = mlxworld.on("torch"), hook(tmp_path)
    exact = dreamt(folder, torch, hooks=[path])
    for options in ({"precision": "bfloat16"}, {"kv_cache": "int8"}):
        assert gap(dreamt(folder, torch, hooks=[path], **options)[0][0], exact[0][0]) < 40


MISFITS = {
    "width": {"dim": 32},
    "layers": {"depth": 7},
    "layer": {"target_layers": (0, 9), "depth": 0},
    "family": {"family": "omnilatent"},
}


@pytest.mark.parametrize("wrong", MISFITS.values(), ids=MISFITS)
def test_a_hook_of_another_model_is_one_line(folder, tmp_path, wrong):
    with pytest.raises(MlxworldError, match=r"fits|another model") as caught:
        load(folder, mlxworld.on("torch"), hooks=[hook(tmp_path, **wrong)])
    assert "\n" not in str(caught.value)


def test_what_is_no_hook_is_one_line(folder, tmp_path):
    torch, path = mlxworld.on("torch"), hook(tmp_path)
    for hooks, line in (
        ([folder / "model.safetensors"], "no latent hook"),
        (str(path), "list of paths"),
        ([path, path], "already"),
        ([tmp_path / "none"], "none"),
    ):
        with pytest.raises(MlxworldError, match=line):
            load(folder, torch, hooks=hooks)
