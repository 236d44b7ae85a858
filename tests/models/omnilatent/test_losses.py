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


def test_which_of_two_moments_came_first_is_learnt_from_their_videos(made):
    package, _, losses = made
    backend = "mlx" if package.__name__ == "mlxworld" else "torch"
    _, model = tiny.model(backend, config=replace(tiny.CONFIG, order=True))
    data, r = tiny.data(), np.random.default_rng(0)
    grey = np.sort(r.integers(0, 256, (4, 2)), axis=1).reshape(-1)  # the later one of two is the brighter one
    video = np.broadcast_to(grey.astype(np.uint8)[:, None, None, None, None], (8, *data["video"].shape[1:]))
    turn = Turn("t", lambda m, b, key: losses.moments_loss(m, b, ()), replace(OptimConfig(name="adamw"), lr=3e-3))
    package.engine.place(model)
    trainer = package.engine.Trainer(model, (turn,))
    rows = [package.engine.numpy(trainer.step({"video": video.copy()}, step)) for step in range(30)]
    assert rows[0]["order"] > 0.2 > 0.1 > rows[-1]["order"] and rows[-1]["in_order"] == 1
    arrays = package.engine.array({"video": video.reshape(4, 2, *video.shape[1:])[:, ::-1].reshape(video.shape).copy()})
    _, turned = losses.moments_loss(model, arrays, ())
    assert float(package.engine.numpy(turned["in_order"])) == 0


def test_order_is_learnt_by_the_last_layer_of_the_backbone(made):
    """A fault of the ancestor: its temporal tasks read the stems' patches, so the layers learnt nothing of time."""
    package, _, losses = made
    backend = "mlx" if package.__name__ == "mlxworld" else "torch"
    _, model = tiny.model(backend, config=replace(tiny.CONFIG, order=True))
    last = f"blocks.{tiny.CONFIG.num_layers - 1}."
    optim = replace(OptimConfig(name="adamw"), lr=1e-2, weight_decay=0.0)
    turn = Turn("t", lambda m, b, key: losses.moments_loss(m, b, ()), optim, ("blocks.", "order."))
    package.engine.place(model)
    start = {n: x.copy() for n, x in package.engine.numpy(package.nn.parameters(model)).items()}
    trainer = package.engine.Trainer(model, (turn,))
    video = np.random.default_rng(0).integers(0, 256, (4, *tiny.data()["video"].shape[1:])).astype(np.uint8)
    for step in range(2):
        trainer.step({"video": video}, step)
    end = package.engine.numpy(package.nn.parameters(model))
    still = [n for n in start if n.startswith(last) and (start[n] == end[n]).all()]
    assert any(n.startswith(last) for n in start) and not still, still
