"""`mlxworld bench hooks`: attention mass on hooks of a world, as numbers and as a picture."""

import json

import numpy as np
import pytest
from PIL import Image

from mlxworld import bench
from mlxworld.errors import MlxworldError
from mlxworld.evaluate.heat import heat
from mlxworld.play.masses import of_world
from tests.models.small import SMALL, latents, lively
from tests.models.test_world_hooks import hook as fresh_hook
from tests.play.played import write
from tests.play.test_hooks import hook


@pytest.mark.parametrize("backend", ["torch", "mlx"])
def test_a_layer_that_a_hook_does_not_join_has_mass_0(tmp_path, capsys, backend):
    world, picture = write(tmp_path / "small"), tmp_path / "mass.png"
    paths = [hook(tmp_path, "loud"), hook(tmp_path, "one", 6, target_layers=(1,))]
    flags = ["hooks", "--world", str(world), "--backend", backend, "--picture", str(picture), "--hook"]
    bench.main([*flags, *map(str, paths), "--json"])
    figures = json.loads(capsys.readouterr().out)
    mass = {name: np.array(x) for name, x in figures["mass"].items()}
    assert figures["clips"] == 3 and figures["frames"] == 4 and mass["loud"].shape == (2, 2)
    assert mass["loud"].min() > 0 and (mass["one"][0] == 0).all() and mass["one"][1].min() > 0
    assert (mass["loud"] + mass["one"]).max() < 1
    with Image.open(picture) as shown:
        assert shown.size[0] > 2 * 3 * 46
    bench.main([*flags, *map(str, paths)])
    assert "one              layer 0    0.00%" in capsys.readouterr().out


def test_a_shut_hook_has_mass_0(backend):
    net, clip = lively(backend, SMALL), latents(SMALL, frames=4)
    net.dynamics.register_hook(fresh_hook(backend, "shut", (0, 1), bias=-np.inf, cfg=SMALL))
    assert (of_world(backend, net, clip["z"], clip["actions"])["shut"] == np.zeros((2, 2))).all()
    net.dynamics.register_hook(fresh_hook(backend, "open", (0, 1), cfg=SMALL))
    both = of_world(backend, net, clip["z"], clip["actions"])
    assert both["open"].min() > 0 and (both["shut"] == 0).all()


def test_the_greatest_share_is_the_darkest():
    picture = heat("a world", {"a": np.array([[0.1, 0.4], [0.0, 0.2]]), "b": np.array([[0.8]])}).astype(int)
    darkest = np.argwhere((picture == (18, 76, 140)).all(-1))
    assert len(darkest) and darkest[:, 1].min() > 64 + 3 * 46  # in the panel of b
    assert (heat("a", {"a": np.zeros((2, 2))}) != 0).any()


@pytest.mark.parametrize(("flags", "line"), [(["--frames", "0"], "--frames"), ([], "no latent hook")])
def test_what_cannot_be_measured_is_one_line(tmp_path, flags, line):
    world = write(tmp_path / "small")
    path = world / "model.safetensors"
    with pytest.raises(MlxworldError, match=line):
        bench.main(["hooks", "--world", str(world), "--hook", str(path), "--backend", "torch", *flags])
