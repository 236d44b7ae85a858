"""One model source, two backends: the same numbers forward, in training and in fresh weights."""

import numpy as np
import pytest

import mlxworld
from mlxworld.configs.optim import OptimConfig
from mlxworld.training.turn import Turn
from tests.models.small import SMALL, changed, clip, encode, fresh, latents, lively, module

PAIR = [mlxworld.on(name) for name in ("mlx", "torch")]
MODELS = {
    "flow, grid": SMALL,
    "regression, queries": changed(dynamics={"head": "regression"}, latent={"layout": "queries"}),
    "fixed encoding": changed(vision={"encoding": "fixed"}),
    "630 samples": changed(audio={"bands": 8}).fitted(("noop", "left"), 35, 22050, 630),
}


def relative(a, b):
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return np.abs(a - b).max() / np.abs(b).max()


def outputs(backend, cfg):
    """Everything that the whole model computes, by name."""
    engine, net, given = backend.engine, lively(backend, cfg), clip(cfg)
    video = engine.array(given["video"].astype(np.float32) / 255)
    actions = engine.array(np.tile(given["actions"], 2)[:, :7])
    with engine.inference():
        out = net(video, engine.array(given["audio"]), actions, 2, backend.random.key(3), intermediates=True)
        again = engine.array(latents(cfg)["z"])
        level = engine.array(np.arange(10, dtype=np.int32).reshape(2, 5) % (cfg.dynamics.noise_levels + 1))
        out["forward"] = net.dynamics(again, actions[:, :5], level, level * 0 + 1)
        out["picture"], out["sound"], _ = net.decode(again)
        heard = net.tokenizer.audio_processor(again)[1]
        out["loudness"], out["pitch"], _ = net.tokenizer.audio_decoder.controls(
            heard, net.init_state(2)["sound"]["history"]
        )
        out["blind"] = net.encode(video, engine.array(given["audio"]), engine.array(np.eye(2, 5, dtype=np.float32)))
    return engine.numpy(out | out.pop("reconstruction"))


@pytest.mark.parametrize("cfg", MODELS.values(), ids=MODELS)
def test_forward_is_the_same(cfg):
    ours, theirs = (outputs(backend, cfg) for backend in PAIR)
    assert set(ours) == set(theirs) and len(ours) == 13
    for name in ours:
        assert np.abs(theirs[name]).max() > 1e-3, f"{name} shows nothing"
        phase = name in ("audio", "sound", "future_audio")  # sums a rounded frequency over hundreds of samples
        assert relative(ours[name], theirs[name]) < (1e-4 if phase else 1e-5), name


def test_fresh_weights_are_the_same():
    ours, theirs, other = (
        backend.engine.numpy(backend.engine.parameters(fresh(backend, seed=seed)))
        for backend, seed in zip([*PAIR, PAIR[0]], (5, 5, 6), strict=True)
    )
    assert set(ours) == set(theirs)
    for name in ours:
        np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-6, atol=1e-7, err_msg=name)
    same = {name for name in ours if np.array_equal(ours[name], other[name])}
    constant = (
        "bias",
        "qk_gain",
        "channel_gate",
        "log_variance",
    )  # and norms
    assert all(n.split(".")[-1] in constant or ".norm" in n for n in same), same


def test_fresh_weights_have_the_sizes_of_their_table(backend):
    made = backend.engine.numpy(backend.engine.parameters(fresh(backend)))
    std = {name: float(x.std()) for name, x in made.items()}
    depth, dim = SMALL.dynamics.depth, SMALL.dynamics.dim
    assert std["dynamics.embed.weight"] == pytest.approx(SMALL.latent.dim**-0.5, rel=0.1)
    assert std["dynamics.blocks.0.attn.qkv.weight"] == pytest.approx(dim**-0.5, rel=0.1)
    assert std["dynamics.blocks.0.attn.out.weight"] == pytest.approx((2 * depth * dim) ** -0.5, rel=0.1)
    assert std["tokenizer.audio_encoder.conv2.weight"] == pytest.approx((3 * 64) ** -0.5, rel=0.1)
    assert std["dynamics.head.weight"] == pytest.approx(0.02 * dim**-0.5, rel=0.1)
    assert std["dynamics.embed_action.weight"] == pytest.approx(0.02, rel=0.2)
    assert std["dynamics.tokens"] == pytest.approx(0.02, rel=0.2)
    for name, x in made.items():
        if name.endswith(".bias"):
            assert not x.any(), name
        elif "norm" in name.split(".")[-2:][0]:
            assert (x == 1).all(), name
    assert (made["tokenizer.fusion.levels.0.video_cross.channel_gate"] == 0.5).all()


@pytest.mark.parametrize("part", ["tokenizer", "dynamics"])
def test_ten_steps_of_training_are_the_same(part):
    found = []
    for backend in PAIR:
        losses = module(backend, "openworld.losses")
        loss = losses.tokenizer_loss if part == "tokenizer" else losses.dynamics_loss
        given = clip if part == "tokenizer" else latents
        trainer = backend.engine.Trainer(getattr(fresh(backend), part), (Turn(part, loss, OptimConfig(lr=1e-3)),))
        steps = [trainer.step(given(frames=3, count=4, seed=s), seed=s) for s in range(10)]
        found.append([{name: float(x) for name, x in m.items()} for m in steps])
    ours, theirs = found
    assert {"loss", "grad_norm", "finite"} < set(ours[0]) == set(theirs[0])
    for a, b in zip(ours, theirs, strict=True):
        assert a["finite"] == 1
        for name in set(a) - {"grad_norm"}:
            assert a[name] == pytest.approx(b[name], rel=1e-4, abs=1e-4), name
    assert ours[-1]["loss"] < ours[0]["loss"]


def test_encode_is_the_same_alone_or_in_a_batch(backend):
    net, given = lively(backend), clip()
    whole = encode(backend, net, given)
    alone = encode(backend, net, {n: x[1:] for n, x in given.items()})
    np.testing.assert_allclose(whole[1:], alone, atol=1e-5)
