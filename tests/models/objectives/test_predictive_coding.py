"""Predictive coding against its own equations in numpy, against backprop where theory says they meet, and learning."""

from dataclasses import replace

import numpy as np
import pytest

from docs.predictive_coding import cross_entropy, digits, mlp, objective, taught
from mlxworld import on
from mlxworld.configs.predictive_coding import PredictiveCodingConfig
from tests.models.small import gap, gradients, module

WIDTHS = (6, 5, 4, 3)
RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(7, 6)).astype(np.float32), RNG.normal(size=(7, 3)).astype(np.float32)
PC = PredictiveCodingConfig("pc", nudge=0.5, precisions=(2.0, 0.5), inference_steps=6)


def squared(package, model, batch, relay=None):
    """Half the squared distance of the outputs from what is wanted, the mean over rows."""
    coding = module(package, "objectives.predictive_coding")
    layers = [lambda x, layer=layer: package.ops.tanh(layer(x)) for layer in model.layers[:-1]]
    z = model.layers[-1](coding.chain(layers, batch["x"], relay))
    return 0.5 * package.ops.square(z - batch["y"]).sum(axis=-1).mean(), {}


def learnt(backend, cfg, loss=squared, batch=None, widths=WIDTHS):
    """Gradients of all weights, by backprop where there is no cfg."""
    return gradients(backend, mlp(backend, widths), objective(backend, loss, cfg), batch or {"x": X, "y": Y})


@pytest.mark.parametrize("act", ["gelu", "silu", "relu"])
@pytest.mark.parametrize("how", [{}, {"analytical": True}, {"fixed_prediction": True}])
def test_every_activation_learns_as_trainings_run(act, how):
    """Where MLX compiles, as it does outside of these tests, too."""
    core = pytest.importorskip("mlx.core")

    def activated(package, model, batch, relay=None):
        coding = module(package, "objectives.predictive_coding")
        layers = [lambda x, layer=layer: getattr(package.ops, act)(layer(x)) for layer in model.layers]
        return package.ops.square(coding.chain(layers, batch["x"], relay)).mean(), {}

    core.enable_compile()
    try:
        found = learnt(on("mlx"), replace(PC, precisions=(1.0,), **how), activated)
    finally:
        core.disable_compile()
    assert all(np.isfinite(x).all() for x in found.values()) and any(x.any() for x in found.values())


def by_hand(weights: dict, cfg: PredictiveCodingConfig) -> dict[str, np.ndarray]:
    """The gradients that the paper's equations give for `squared`, in float64: errors times inputs, layer by layer."""
    w, b = ([weights[f"layers.{n}.{kind}"].astype(np.float64) for n in range(3)] for kind in ("weight", "bias"))
    predict = lambda n, v: np.tanh(v @ w[n].T + b[n])  # noqa: E731
    slope = lambda n, v: 1 - predict(n, v) ** 2  # noqa: E731
    start = [predict(0, X)]
    start.append(predict(1, start[0]))
    pi = [p / ((v**2).mean(axis=1, keepdims=True) + 1e-6) for p, v in zip(cfg.precisions, start, strict=True)]
    scale = cfg.nudge * len(X)
    output = lambda v: scale / len(X) * (v @ w[2].T + b[2] - Y)  # noqa: E731

    def pull(v):  # dF/dv: a value's own error, less what the layer above hands down
        e = [v[0] - predict(0, X), v[1] - predict(1, v[0])]
        return [pi[0] * e[0] - (pi[1] * e[1] * slope(1, v[0])) @ w[1], pi[1] * e[1] + output(v[1]) @ w[2]]

    if cfg.analytical:
        e1 = -output(start[1]) @ w[2] / pi[1]
        e0 = (pi[1] * e1 * slope(1, start[0])) @ w[1] / pi[0]
        v = [start[0] + e0]
        v.append(predict(1, v[0]) + e1)
    else:
        v, rate, before, move = start, cfg.inference_rate, [], []
        for _ in range(cfg.inference_steps):
            g = pull(v)
            if before:
                change = [a - b for a, b in zip(g, before, strict=True)]
                along = sum((m * c).sum() for m, c in zip(move, change, strict=True))
                rate = sum((c**2 / p).sum() for c, p in zip(change, pi, strict=True))
                rate = min(1.0, abs(along) / (rate + 1e-30))
            move, before = [-rate * x / p for x, p in zip(g, pi, strict=True)], g
            v = [a + m for a, m in zip(v, move, strict=True)]
    made, below = {}, [X, v[0]]
    for n in (0, 1):
        error = pi[n] * (v[n] - predict(n, below[n])) * slope(n, below[n]) / scale
        made |= {f"layers.{n}.weight": -error.T @ below[n], f"layers.{n}.bias": -error.sum(axis=0)}
    top = output(v[1]) / scale
    return made | {"layers.2.weight": top.T @ v[1], "layers.2.bias": top.sum(axis=0)}


def flat(arrays) -> np.ndarray:
    return np.concatenate([arrays[name].ravel() for name in sorted(arrays)]).astype(np.float64)


def cosine(a, b) -> float:
    a, b = flat(a), flat(b)
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


@pytest.mark.parametrize("cfg", [PC, replace(PC, nudge=1.0, inference_steps=10), replace(PC, analytical=True)])
def test_weights_learn_from_their_own_layers_error_and_input_alone(backend, cfg):
    """By the equations of Whittington and Bogacz, with T steps of the values; and `analytical` by its definition."""
    ours = learnt(backend, cfg)
    wanted = by_hand(backend.engine.numpy(backend.nn.parameters(mlp(backend, WIDTHS))), cfg)
    assert gap(flat(ours), flat(wanted)) < 1e-4 * np.abs(flat(wanted)).max()
    assert all(np.abs(g).max() > 1e-4 for g in ours.values()), "a fault of the ancestor: updates that are none"


def test_it_is_backprop_as_the_nudge_goes_to_nothing(backend):
    data = digits(32, 0)
    backprop = learnt(backend, None, cross_entropy, data, (144, 64, 64, 10))
    near, far = (
        learnt(
            backend, PredictiveCodingConfig("pc", nudge=n, inference_steps=50), cross_entropy, data, (144, 64, 64, 10)
        )
        for n in (0.01, 3.0)
    )
    assert cosine(near, backprop) > 0.999 > cosine(far, backprop)
    assert np.linalg.norm(flat(near)) == pytest.approx(np.linalg.norm(flat(backprop)), rel=0.02)


def test_fixed_predictions_are_backprop_after_as_many_steps_as_layers(backend):
    """Millidge et al. 2020, whatever the nudge and the precisions; a step fewer leaves the first layer as it was."""
    backprop = learnt(backend, None)
    for nudge in (1e-4, 3.0):
        cfg = replace(PC, nudge=nudge, fixed_prediction=True, inference_steps=2)
        assert gap(flat(learnt(backend, cfg)), flat(backprop)) < 1e-5
    early = learnt(backend, replace(cfg, inference_steps=1))
    assert np.abs(early["layers.0.weight"]).max() == 0 < gap(early["layers.1.weight"], 0)


def test_analytical_is_half_way_from_backprop_to_values_at_rest(backend):
    """It moves the values and leaves out that slopes change with them: both are of first order in the nudge."""
    weights = backend.engine.numpy(backend.nn.parameters(mlp(backend, WIDTHS)))
    backprop = flat(learnt(backend, None))
    for nudge in (0.4, 0.05):
        rest = flat(by_hand(weights, replace(PC, nudge=nudge, inference_steps=1000)))
        ours = flat(learnt(backend, replace(PC, nudge=nudge, analytical=True)))
        assert 0.4 < np.linalg.norm(ours - rest) / np.linalg.norm(backprop - rest) < 0.6


CHANGES = [{"inference_steps": 7}, {"inference_rate": 0.02}, {"nudge": 0.6}, {"precisions": (2.0, 0.6)}, {"blend": 0.5}]


@pytest.mark.parametrize("change", [*CHANGES, {"fixed_prediction": True}, {"analytical": True}])
def test_every_setting_changes_what_is_learnt(change):
    from mlxworld import on

    assert gap(flat(learnt(on("torch"), PC)), flat(learnt(on("torch"), replace(PC, **change)))) > 1e-5


def test_a_blend_is_between_both(backend):
    pure, backprop = flat(learnt(backend, PC)), flat(learnt(backend, None))
    mixed = flat(learnt(backend, replace(PC, blend=0.25)))
    assert gap(mixed, 0.25 * pure + 0.75 * backprop) < 1e-5 < gap(mixed, backprop)
    shares = [replace(PC, blend=0.8, blend_anneal=4).share(n) for n in (0, 2, 4, 9)]
    assert shares == pytest.approx([0, 0.4, 0.8, 0.8])


def test_its_value_is_the_loss_and_free_energy_lies_below(backend):
    model, batch = mlp(backend, WIDTHS), backend.engine.array({"x": X, "y": Y})
    plain = float(backend.engine.numpy(squared(backend, model, batch)[0]))
    for cfg in (PC, replace(PC, blend=0.3)):
        loss, parts = objective(backend, squared, cfg)(model, batch, None)
        assert float(backend.engine.numpy(loss)) == pytest.approx(plain, rel=1e-6)
        assert 0 < float(backend.engine.numpy(parts["free_energy"])) < 0.98 * plain


def test_digits_are_learnt_as_well_as_by_backprop(backend):
    cfg = PredictiveCodingConfig("pc", inference_steps=12, inference_rate=0.1)
    (ours, _), (backprop, _) = (taught(backend, c, steps=40, test=8000) for c in (cfg, None))
    assert backprop > 0.7 and ours > backprop - 0.005


def test_a_loss_that_forgets_the_relay_is_no_silent_backprop(backend):
    with pytest.raises(ValueError, match="relay"):
        learnt(backend, PC, lambda package, model, batch, relay=None: squared(package, model, batch))
    with pytest.raises(ValueError, match="3 precisions do not fit 2 layers"):
        learnt(backend, replace(PC, precisions=(1.0, 1.0, 1.0)))
