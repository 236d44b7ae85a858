"""OmniLatent's layers learn from their own errors, hooks among them, and the relay is nothing where it does nothing."""

import importlib
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from mlxworld.configs.optim import OptimConfig
from mlxworld.configs.predictive_coding import PredictiveCodingConfig
from mlxworld.training.turn import Turn
from tests.models.omnilatent import tiny
from tests.models.small import gap, gradients

PAIRS, PC = (
    (("image", "text"), ("text", "image")),
    PredictiveCodingConfig("pc", inference_steps=tiny.CONFIG.num_layers + 1),
)
DATA = tiny.data()
BATCH = DATA | {name: (255 * DATA[name]).astype(np.uint8) for name in ("image", "video")}
BATCH |= {"time": np.array([0, 8], np.float32), "scene": np.array([0, 0], np.int32)}  # two clips of a film


def parts(package):
    rooms = f"{package.__name__}.models"
    coding = importlib.import_module(f"{rooms}.objectives.predictive_coding").predictive_coding
    losses, temporal = (importlib.import_module(f"{rooms}.omnilatent.{name}") for name in ("losses", "temporal"))

    def coded(cfg, loss):
        return lambda m, b, key: coding(lambda relay: loss(m, b, PAIRS, 0.1, relay=relay), cfg, cfg.blend)

    return losses, partial(temporal.temporal_loss, clips=2), coded


@pytest.mark.parametrize("backend_name", tiny.BOTH)
def test_fixed_predictions_are_backprop_in_all_weights_hooks_and_heads_too(backend_name):
    """Hooks learn through the layers that they pass by, too: an error comes down every way that a value goes up."""
    package, model = tiny.model(backend_name, config=replace(tiny.CONFIG, timeline=True))
    model.register_hook(tiny.hook(package))
    _, loss, coded = parts(package)
    backprop = gradients(package, model, lambda m, b, key: loss(m, b, PAIRS, 0.1), BATCH)
    layers = tiny.CONFIG.num_layers + 1
    cfg = replace(PC, fixed_prediction=True, precisions=(1.0, 2.0, 0.5, 1.0), inference_steps=layers)
    ours = gradients(package, model, coded(cfg, loss), BATCH)
    assert any("hooks" in name for name in ours) and any("timeline" in name for name in ours)
    for name, wanted in backprop.items():
        assert gap(ours[name], wanted) <= 1e-4 * np.abs(wanted).max() + 1e-7, name
    early = gradients(package, model, coded(replace(cfg, inference_steps=layers - 1), loss), BATCH)
    assert gap(early["image.inward.weight"], backprop["image.inward.weight"]) > 1e-4, "it takes a step a layer"


@pytest.mark.parametrize("backend_name", tiny.BOTH)
def test_every_weight_of_a_training_moves_and_what_is_shown_is_the_loss(backend_name):
    """A fault of the ancestor: its updates were exact no-ops."""
    package, model = tiny.model(backend_name)
    losses, _, coded = parts(package)
    turn = Turn("t", coded(PC, losses.pairs_loss), replace(OptimConfig(name="adamw"), lr=1e-3, weight_decay=0.0))
    package.engine.place(model)
    plain = float(package.engine.numpy(losses.pairs_loss(model, package.engine.array(BATCH), PAIRS, 0.1)[0]))
    before = {n: x.copy() for n, x in package.engine.numpy(package.nn.parameters(model)).items()}
    metrics = package.engine.numpy(package.engine.Trainer(model, (turn,)).step(BATCH, 0))
    after = package.engine.numpy(package.nn.parameters(model))
    others = ("audio", "video", "objective")  # no pair has them
    still = [n for n in before if not n.startswith(others) and gap(before[n], after[n]) < 1e-5]
    assert not still, still
    assert metrics["loss"] == pytest.approx(plain, rel=1e-5) and metrics["free_energy"] < plain


@pytest.mark.parametrize("backend_name", tiny.BOTH)
def test_a_relay_sees_every_value_hooks_too_and_changes_no_bit_if_it_gives_it_back(backend_name):
    """A hook's state that went by it from layer to layer would learn from other layers' errors."""
    package, model = tiny.model(backend_name)
    model.register_hook(tiny.hook(package, layers=(0, 2)))
    given, seen = package.engine.array(DATA["image"]), []
    plain = package.engine.numpy(model("image", given, "audio"))
    same = package.engine.numpy(model("image", given, "audio", relay=lambda x: seen.append(x.shape) or x))
    assert all(plain[name].tobytes() == same[name].tobytes() for name in plain)
    assert [tokens - seen[0][1] for _, tokens, *_ in seen] == [0, 3, 0, 3], "before the first layer, and after each"
