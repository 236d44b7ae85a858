"""The losses of OmniLatent against their definitions; weights of tasks that learn."""

import importlib
from dataclasses import replace

import numpy as np
import pytest

from mlxworld.configs.optim import OptimConfig
from mlxworld.training.turn import Turn
from tests.models.omnilatent import tiny


@pytest.fixture(params=tiny.BOTH)
def made(request):
    package, model = tiny.model(request.param)
    return package, model, importlib.import_module(f"{package.__name__}.models.omnilatent.losses")


def test_spectra_of_pictures_are_numpy_s(made):
    package, _, losses = made
    a, b = np.random.default_rng(0).random((2, 2, 8, 8, 3)).astype(np.float32)
    ours = float(losses.image_loss(*package.engine.array([a, b])))
    whole = [np.abs(np.fft.fft2(np.moveaxis(x, 3, 1))) / 8 for x in (a, b)]
    up, rows = list(range(5)), [0, 7, 6, 5, 4]
    both = [np.stack([x[..., up, :5], x[..., rows, :5]]) for x in whole]
    assert ours == pytest.approx(np.abs(a - b).mean() + 0.1 * np.abs(both[0] - both[1]).mean(), rel=1e-4)


def test_padding_is_not_asked_for(made):
    package, _, losses = made
    logits = np.random.default_rng(0).normal(size=(1, 4, 30)).astype(np.float32)
    ids = np.array([[5, 6, 0, 0]], np.int32)
    p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    wanted = -(p[0, 0, 5] + p[0, 1, 6]) / 2
    assert float(losses.text_loss(*package.engine.array([logits, ids]))) == pytest.approx(wanted, rel=1e-5)


def test_weights_of_tasks_are_in_the_optimizer_and_go_to_ln_l(made):
    """A fault of the ancestor: they were in none."""
    package, model, losses = made
    pairs, data = (("image", "image"), ("image", "text")), tiny.data()
    batch = data | {name: (255 * data[name]).astype(np.uint8) for name in ("image", "video")}
    turn = Turn(
        "t",
        lambda m, b, key: losses.pairs_loss(m, b, pairs, 0.1),
        replace(OptimConfig(name="adamw"), lr=0.1, weight_decay=0.0),
        ("objective.",),
    )
    package.engine.place(model)
    trainer = package.engine.Trainer(model, (turn,))
    for step in range(60):
        metrics = package.engine.numpy(trainer.step(batch, step))
    s = package.engine.numpy(package.nn.parameters(model))["objective.log_variance"]
    assert s[0] == pytest.approx(np.log(metrics["text"]), abs=0.1)
    assert s[2] == pytest.approx(np.log(metrics["image"]), abs=0.1)
    assert s[1] == s[3] == 0, "tasks that are not there stay"
