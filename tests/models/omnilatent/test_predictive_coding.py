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
CLIPS, ONE = 3, replace(tiny.CONFIG, num_layers=1, memory_tokens=2)
LONGEST = (ONE.num_layers + 1) + CLIPS * (ONE.num_layers + 2)  # telling the first; each clip, and what it writes


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


def streams(backend_name):
    """What streams cost, of a model with a memory and one layer, and that coded; a hook joins."""
    package, model = tiny.model(backend_name, config=ONE)
    model.register_hook(tiny.hook(package, layers=(0,)))
    memory = importlib.import_module(f"{package.__name__}.models.omnilatent.memory")
    coding = importlib.import_module(f"{package.__name__}.models.objectives.predictive_coding").predictive_coding
    loss = partial(memory.streams_loss, pairs=(("image", "text"),), contrast=0.0, clips=CLIPS, source="image")
    loss = partial(loss, target="text", bptt=CLIPS)
    rng = np.random.default_rng(0)
    batch = {"image": rng.integers(0, 256, (2 * CLIPS, 16, 16, 3), np.uint8)}
    batch["text"] = rng.integers(3, 30, (2 * CLIPS, 4)).astype(np.int32)

    def coded(cfg):
        return lambda m, b, key: coding(lambda relay: loss(m, b, relay=relay), cfg, cfg.blend)

    return package, model, loss, batch, coded


@pytest.mark.parametrize("backend_name", tiny.BOTH)
def test_through_memory_fixed_predictions_are_backprop_in_all_weights(backend_name):
    """An error goes from what is told last down to the first clip, memory by memory, a value a step."""
    package, model, loss, batch, coded = streams(backend_name)
    backprop = gradients(package, model, lambda m, b, key: loss(m, b), batch)
    cfg = replace(PC, fixed_prediction=True, inference_steps=LONGEST)
    ours = gradients(package, model, coded(cfg), batch)
    assert np.abs(backprop["memory.gate.weight"]).max() > 1e-5
    for name, wanted in backprop.items():
        assert gap(ours[name], wanted) <= 1e-4 * np.abs(wanted).max() + 1e-7, name
    early = gradients(package, model, coded(replace(cfg, inference_steps=LONGEST - 1)), batch)
    assert gap(early["image.inward.weight"], backprop["image.inward.weight"]) > 1e-7, "it takes a step a value"
    layers, name = ONE.num_layers + 1, "memory.content.weight"  # a first write's error has come by when it is asked
    few = gradients(package, model, coded(replace(cfg, inference_steps=2 * layers + 2)), batch)
    assert (few[name] * backprop[name]).sum() > 0.5 * np.square(backprop[name]).sum()


@pytest.mark.parametrize("backend_name", tiny.BOTH)
def test_each_memory_that_is_written_is_a_value(backend_name):
    package, model, loss, batch, _ = streams(backend_name)
    model.remove_hook("h")
    seen, given = [], package.engine.array(batch)
    plain = float(package.engine.numpy(loss(model, given)[0]))
    same = float(package.engine.numpy(loss(model, given, relay=lambda x: seen.append(tuple(x.shape)) or x)[0]))
    layers = ONE.num_layers + 1
    assert plain == same and seen.count((2, ONE.memory_tokens, ONE.hidden_dim)) == CLIPS
    assert len(seen) == layers + CLIPS * (layers + 1) + (CLIPS - 1) * layers
