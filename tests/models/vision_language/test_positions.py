"""Learned positions at other sizes: the three published answers, against torch's own interpolation."""

import importlib

import numpy as np
import pytest

from mlxworld.configs.block import BlockConfig
from mlxworld.configs.vision import TowerConfig
from mlxworld.models.vision_language.positions import resampling
from tests.models.small import weights

torch = pytest.importorskip("torch")
INTERPOLATE = {
    "bicubic": lambda x, h, w: torch.nn.functional.interpolate(x, (h, w), mode="bicubic"),
    "antialias": lambda x, h, w: torch.nn.functional.interpolate(x, (h, w), mode="bicubic", antialias=True),
    "offset": lambda x, h, w: torch.nn.functional.interpolate(
        x, scale_factor=((h + 0.1) / x.shape[2], (w + 0.1) / x.shape[3]), mode="bicubic"
    ),
}


@pytest.mark.parametrize("kind", INTERPOLATE)
@pytest.mark.parametrize(("old", "h", "w"), [(4, 4, 6), (7, 3, 16), (16, 5, 5), (5, 12, 4)])
def test_resampling_is_torchs(kind, old, h, w):
    table = np.random.default_rng(0).normal(size=(old, old, 3))
    ours = np.einsum("hH,HWc,wW->hwc", resampling(old, h, kind), table, resampling(old, w, kind))
    theirs = INTERPOLATE[kind](torch.tensor(table).permute(2, 0, 1)[None], h, w)[0].permute(1, 2, 0).numpy()
    assert np.abs(ours - theirs).max() < 1e-6


def test_the_three_answers_differ(backend):
    models = importlib.import_module(f"{backend.__name__}.models.vision_language.tower")
    given = np.random.default_rng(1).normal(size=(1, 24, 588)).astype(np.float32)
    answers = []
    for kind in INTERPOLATE:
        net = models.Tower(TowerConfig(BlockConfig(32, 2), 1, size=56, resize=kind))
        backend.engine.place(net)
        backend.engine.load_parameters(net, weights(backend, net), "the test")
        answers.append(backend.engine.numpy(net(backend.engine.array(given), (4, 6))))
    assert all(np.abs(answers[i] - answers[i - 1]).max() > 1e-3 for i in range(3))


def test_a_tower_of_one_size_refuses_others(backend):
    models = importlib.import_module(f"{backend.__name__}.models.vision_language.tower")
    net = backend.engine.place(models.Tower(TowerConfig(BlockConfig(32, 2), 1, size=56)))
    with pytest.raises(ValueError, match="4 x 4 patches, not 4 x 6"):
        net(backend.engine.array(np.zeros((1, 24, 588), np.float32)), (4, 6))
