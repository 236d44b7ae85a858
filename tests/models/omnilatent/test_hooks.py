"""Latent hooks: gates that weigh what they say, shut ones that cost nothing, state over layers, several at once."""

import numpy as np
import pytest

from mlxworld.configs.hook import HookConfig
from mlxworld.errors import MlxworldError
from tests.models.omnilatent import tiny


@pytest.fixture(params=tiny.BOTH)
def made(request):
    return tiny.model(request.param)


def picture(package, model):
    arrays = package.engine.array(tiny.data())
    return package.engine.numpy(model("text", arrays["text"], "image")["output"])


def test_a_shut_hook_is_bit_equal_to_none(made):
    package, model = made
    before = picture(package, model)
    model.register_hook(tiny.hook(package))
    assert np.abs(picture(package, model) - before).max() > 1e-3
    model.remove_hook("h")
    assert picture(package, model).tobytes() == before.tobytes()
    shut = tiny.hook(package, bias=-np.inf)
    model.register_hook(shut)
    assert picture(package, model).tobytes() == before.tobytes()
    assert "hooks.0.tokens" in package.nn.parameters(model)
    model.remove_hook("h")
    assert not any(name.startswith("hooks") for name in package.nn.parameters(model))


def test_a_gate_weighs_what_it_says(made):
    """A fault of the ancestor: the gate stood before a norm, so a nearly silent hook was not. With equal scores, a
    hook's key gets sigmoid(b) of what a content key gets."""
    package, _ = made
    ops, engine = package.ops, package.engine
    hook = tiny.hook(package, bias=-4.0, tokens=1)
    gate = hook.gate(0)
    k = np.zeros((1, 1, 5, 4), np.float32)
    v = np.zeros((1, 1, 5, 4), np.float32)
    v[0, 0, 4] = 1.0  # the hook's
    mask = ops.concat([ops.zeros((4,)), gate])[None, None, None]
    y = engine.numpy(ops.attention(engine.array(k[:, :, :1]), engine.array(k), engine.array(v), mask))
    share = y[0, 0, 0, 0]
    sigmoid = 1 / (1 + np.exp(4.0))
    assert share == pytest.approx(sigmoid / (4 + sigmoid), rel=1e-5)


def test_a_nearly_silent_hook_moves_little_however_large_its_tokens(made):
    package, model = made
    before, moved = picture(package, model), []
    for bias in (0.0, -4.0, -8.0):
        model.register_hook(tiny.hook(package, bias=bias))
        moved.append(np.abs(picture(package, model) - before).max())
        model.remove_hook("h")
    assert moved[1] < 0.1 * moved[0] and moved[2] < 0.05 * moved[1]


def test_several_hooks_see_each_other(made):
    package, model = made
    alone = {}
    for name in ("a", "b"):
        model.register_hook(tiny.hook(package, name, (0, 1, 2), seed=len(alone) + 1))
        alone[name] = picture(package, model)
        model.remove_hook(name)
    model.register_hook(tiny.hook(package, "a", (0, 1, 2), seed=1))
    model.register_hook(tiny.hook(package, "b", (0, 1, 2), seed=2))
    both = picture(package, model)
    assert all(np.abs(both - x).max() > 1e-4 for x in alone.values())
    model.remove_hook("a")
    np.testing.assert_allclose(picture(package, model), alone["b"], atol=1e-6)


def test_state_is_carried_by_a_transform_that_is_nothing_at_first(made):
    package, _ = made
    hook = tiny.hook(package, layers=(0, 1))
    h = hook.start(2)
    to = package.engine.numpy
    assert to(hook.carried(h, 0)).tobytes() == to(h).tobytes()
    weight = hook.transforms[0].mlp.down.weight
    package.nn.assign(hook.transforms[0].mlp.down, {"weight": weight + 0.1})
    assert np.abs(to(hook.carried(h, 0)) - to(h)).max() > 1e-3


def test_a_hook_for_another_model_is_refused(made):
    package, model = made
    model.register_hook(tiny.hook(package))
    for wrong in (tiny.hook(package), tiny.hook(package, "x", layers=(7,))):
        with pytest.raises(ValueError, match=r"already|another model"):
            model.register_hook(wrong)
    with pytest.raises(KeyError):
        model.remove_hook("nobody")


def test_layers_must_rise():
    with pytest.raises(MlxworldError, match="must rise"):
        HookConfig("h", 1, 8, (2, 0))
