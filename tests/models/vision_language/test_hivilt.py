"""HiViLT has no published peer: its definition in numpy, and what must and must not change its answers."""

import importlib
from dataclasses import replace

import numpy as np
import pytest

import mlxworld
from mlxworld.configs.block import BlockConfig
from mlxworld.configs.hivilt import HiViLTConfig
from mlxworld.configs.vision import TextEncoderConfig, TowerConfig
from tests.models.small import gradients, weights

BLOCK = BlockConfig(32, 2)
TOWER = TowerConfig(BLOCK, 1, patch=7, size=56)
CFG = HiViLTConfig(TOWER, TextEncoderConfig(BLOCK, 1, 30, 12, padding=0), BLOCK, levels=3, classes=5)
RNG = np.random.default_rng(0)
PIXELS = RNG.normal(size=(3, 56, 56, 3)).astype(np.float32)
IDS = np.pad(RNG.integers(1, 30, (3, 6)), ((0, 0), (0, 2))).astype(np.int32)


def module(backend):
    return importlib.import_module(f"{backend.__name__}.models.vision_language.hivilt")


def filled(backend, net):
    backend.engine.place(net)
    backend.engine.load_parameters(net, weights(backend, net), "the test")
    return net


def answers(backend, net, pixels=PIXELS, ids=IDS):
    with backend.engine.inference():
        return backend.engine.numpy(net(backend.engine.array(pixels), backend.engine.array(ids)))


def near(a, b, limit=1e-5):
    return all(np.abs(a[name] - b[name]).max() < limit for name in a)


def test_both_backends_give_the_same():
    ours, theirs = (
        answers(backend, filled(backend, module(backend).HiViLT(CFG))) for backend in map(mlxworld.on, ("mlx", "torch"))
    )
    assert {name: x.shape for name, x in ours.items()} == {"match": (3,), "answer": (3, 5), "levels": (3, 3, 32)}
    assert near(ours, theirs) and min(np.abs(x).max() for x in ours.values()) > 0.05


def test_a_gradient_reaches_every_parameter(backend):
    net = filled(backend, module(backend).HiViLT(CFG))

    def loss(net, batch, key):
        out = net(batch["pixels"], backend.ops.int32(batch["ids"]))
        return (backend.ops.cos(out["match"]) + backend.ops.cos(out["answer"]).sum(1)).mean(), {}

    slopes = gradients(backend, net, loss, {"pixels": PIXELS, "ids": IDS.astype(np.float32)})
    assert set(slopes) == set(backend.engine.parameters(net))
    assert all(np.abs(g).max() > 1e-9 for g in slopes.values()), [n for n, g in slopes.items() if not g.any()]


def test_a_level_is_its_definition(backend):
    """F = MLP[V; T; V * attended T; T * attended V], from what the parts themselves give."""
    level = filled(backend, module(backend).Level(BLOCK))
    engine, v, t = backend.engine, RNG.normal(size=(2, 6, 32)), RNG.normal(size=(2, 4, 32))
    v, t, is_word = (x.astype(np.float32) for x in (v, t, np.array([[1, 1, 1, 1], [1, 1, 0, 0]])))
    w = engine.numpy(engine.parameters(level))
    with engine.inference():
        after_v, after_t, f = engine.numpy(list(level(*map(engine.array, (v, t, is_word)))))

    def rms(x):
        return x / np.sqrt(np.square(x).mean(-1, keepdims=True) + BLOCK.eps)

    def attended(name, queries, source, seen):
        """What each query reads, token by token: two heads of 16."""
        gain = w[f"{name}.qk_gain"].reshape(4, 16)
        q = (queries @ w[f"{name}.q.weight"].T).reshape(-1, 2, 16)
        k, values = np.split((source @ w[f"{name}.kv.weight"].T).reshape(-1, 4, 16), 2, axis=1)
        q, k = rms(q) * gain[:2], rms(k) * gain[2:]
        scores = np.einsum("qhe,khe->hqk", q, k) / 4
        scores = np.where(seen, scores, -np.inf)
        scores = np.exp(scores - scores.max(-1, keepdims=True))
        read = np.einsum("hqk,khe->qhe", scores / scores.sum(-1, keepdims=True), values)
        return read.reshape(-1, 32) @ w[f"{name}.out.weight"].T

    gelu = importlib.import_module("tests.models.test_blocks").ACTS["gelu"]
    for i in range(2):
        words = is_word[i] > 0
        a = rms(after_v[i]) * w["picture_norm.weight"]
        b = rms(after_t[i]) * w["text_norm.weight"]
        of_text = attended("to_text", a, b, words)
        of_picture = attended("to_picture", b, a, True)
        parts = [a.mean(0), b[words].mean(0), (a * of_text).mean(0), (b * of_picture)[words].mean(0)]
        hidden = gelu(np.concatenate(parts) @ w["up.weight"].T + w["up.bias"])
        assert np.abs(hidden @ w["down.weight"].T + w["down.bias"] - f[i]).max() < 1e-4


def test_what_must_not_matter(backend):
    net = filled(backend, module(backend).HiViLT(CFG))
    whole = answers(backend, net)
    assert near(answers(backend, net, ids=IDS[:, :6]), whole)  # padding
    assert near(answers(backend, net, ids=np.pad(IDS, ((0, 0), (0, 3)))), whole)
    order = [2, 0, 1]
    assert near(answers(backend, net, PIXELS[order], IDS[order]), {name: x[order] for name, x in whole.items()})
    assert near(answers(backend, net, PIXELS[1:2], IDS[1:2]), {name: x[1:2] for name, x in whole.items()})


def test_a_level_knows_no_order(backend):
    """Of patches, nor of words: places are told before, by the tower and the words' positions."""
    level, engine = filled(backend, module(backend).Level(BLOCK)), backend.engine
    v, t, is_word = RNG.normal(size=(1, 6, 32)), RNG.normal(size=(1, 4, 32)), np.array([[1, 1, 1, 0]])
    p, q = RNG.permutation(6), RNG.permutation(4)

    def run(*given):
        with engine.inference():
            return engine.numpy(list(level(*(engine.array(x.astype(np.float32)) for x in given))))

    (v1, t1, f1), (v2, t2, f2) = run(v, t, is_word), run(v[:, p], t[:, q], is_word[:, q])
    assert np.abs(v1[:, p] - v2).max() < 1e-5 and np.abs(f1 - f2).max() < 1e-5
    assert np.abs(t1[:, q] - t2)[:, is_word[0, q] > 0].max() < 1e-5


def test_what_must_matter(backend):
    """A word, the order of words, a patch, the places of patches: each moves every level and every head."""
    net = filled(backend, module(backend).HiViLT(CFG))
    whole = answers(backend, net)
    word, swapped, patch = IDS.copy(), IDS.copy(), PIXELS.copy()
    word[0, 2], patch[0, :7, :7] = word[0, 2] % 29 + 1, 1.0
    swapped[0, [0, 5]] = swapped[0, [5, 0]]
    for other in (
        answers(backend, net, ids=word),
        answers(backend, net, ids=swapped),
        answers(backend, net, patch),
        answers(backend, net, PIXELS[:, ::-1].copy()),
    ):
        for name, x in whole.items():
            moved = np.abs(other[name] - x)
            assert moved[0].max() > 1e-5
            assert (moved[0].reshape(-1, 32).max(1) > 1e-6).all() if name == "levels" else True


def test_each_level_has_a_quarter_of_the_patches(backend, monkeypatch):
    file, sizes = module(backend), []
    forward = file.Level.forward
    monkeypatch.setattr(
        file.Level, "forward", lambda self, v, *rest: (sizes.append(v.shape[1]), forward(self, v, *rest))[1]
    )
    answers(backend, filled(backend, file.HiViLT(CFG)))
    assert sizes == [64, 16, 4]


@pytest.mark.parametrize(
    ("change", "message"),
    [({"levels": 5}, "must halve"), ({"levels": 0}, "at least 1"), ({"block": BlockConfig(48, 2)}, "one width")],
)
def test_settings_that_cannot_be_are_refused(change, message):
    with pytest.raises(mlxworld.MlxworldError, match=message):
        replace(CFG, **change)
