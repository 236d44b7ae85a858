"""Latent hooks on a decoder of language: rows, steps with a cache, beams, talks, layers of every kind."""

import dataclasses

import numpy as np
import pytest

import mlxworld
from mlxworld.configs.block import BlockConfig
from mlxworld.configs.hook import HookConfig
from mlxworld.configs.vision_language import DecoderConfig, RopeConfig, VisionLanguageConfig
from mlxworld.text.beams import BeamConfig
from mlxworld.text.generate import Generator, Options, Pictures
from mlxworld.text.prompt import prompt, tiled
from tests.models.small import gradients, module
from tests.models.vision_language.test_crossed import ROW, SIZE, TAGS, X, model, tiles

BLOCK = BlockConfig(32, 4, hidden=64, kv_heads=2)
FULL = VisionLanguageConfig(DecoderConfig(BLOCK, ("full",) * 3, vocab=64))
SLIDING = dataclasses.replace(
    FULL,
    decoder=DecoderConfig(
        dataclasses.replace(BLOCK, order="sandwich", norm="rms_plus_one", qk_norm="shared"),
        ("sliding", "full", "sliding"),
        vocab=64,
        window=4,
        attention_scale=0.5,
        embed_scale=5.6,
        rope=RopeConfig(interleaved=True),
    ),
)
CASES = {"full": FULL, "sliding": SLIDING}
ROWS = [[1, 50, 12, 33, 7, 9, 20, 41], [1, 33, 44], [5, 6, 7, 8, 9]]


@pytest.fixture(params=CASES, scope="module")
def cfg(request):
    return CASES[request.param]


def hook(backend, name="night", layers=(0, 2), bias=0.0, seed=5):
    """A hook whose tokens are large and whose transforms do something, the same on both backends."""
    net = module(backend, "blocks.hooks").LatentNeuralHook(HookConfig(name, 3, 32, layers, bias))
    rng, shapes = np.random.default_rng(seed), {n: x.shape for n, x in backend.nn.parameters(net).items()}
    arrays = {n: rng.normal(size=shape).astype(np.float32) for n, shape in sorted(shapes.items()) if n != "gate_bias"}
    backend.nn.assign(net, backend.engine.array(arrays))
    return net


def said(generator, rows=ROWS):
    return generator.logits(prompt(rows))


def test_a_hook_moves_what_is_said_and_one_that_is_gone_or_shut_does_not(backend, cfg):
    generator = model(backend, cfg)
    decoder, plain, words = generator.model.decoder, said(generator), generator.tokens(prompt(ROWS), None, Options(12))
    decoder.register_hook(hook(backend))
    assert np.abs(said(generator) - plain).max() > plain.std()
    hooked = generator.tokens(prompt(ROWS), None, Options(12))
    assert hooked != words
    decoder.remove_hook("night")
    assert said(generator).tobytes() == plain.tobytes()
    assert generator.tokens(prompt(ROWS), None, Options(12)) == words
    decoder.register_hook(hook(backend, "shut", bias=-np.inf))
    assert said(generator).tobytes() == plain.tobytes()
    assert generator.tokens(prompt(ROWS), None, Options(12)) == words


def test_a_nearly_silent_hook_moves_little(backend, cfg):
    generator = model(backend, cfg)
    plain, moved = said(generator), []
    for bias in (0.0, -12.0):
        generator.model.decoder.register_hook(hook(backend, bias=bias))
        moved.append(np.abs(said(generator) - plain).max())
        generator.model.decoder.remove_hook("night")
    assert moved[1] < 1e-3 * moved[0]


def test_steps_with_a_cache_are_whole_rows(backend, cfg):
    """Logits after each written token, by the cache, and of the whole row at once; windows and padding included."""
    generator = model(backend, cfg)
    net, engine = generator.model, backend.engine
    net.decoder.register_hook(hook(backend))
    net.decoder.register_hook(hook(backend, "day", (1, 2), -1.0, 6))
    written = np.random.default_rng(0).integers(3, 64, (len(ROWS), 9)).astype(np.int32)
    with engine.inference():
        logits, state = net.prefill(engine.array(prompt(ROWS)), slots=20)
        stepped = [engine.numpy(logits)]
        for t in range(written.shape[1]):
            logits, state = net.step(state, engine.array(written[:, t]))
            stepped.append(engine.numpy(logits))
    for b, row in enumerate(ROWS):
        whole = generator.logits(prompt([[*row, *written[b].tolist()]]))[0]
        for t, found in enumerate(stepped):
            np.testing.assert_allclose(found[b], whole[len(row) - 1 + t], atol=2e-6, rtol=2e-5)


def test_generation_is_greedy_over_whole_rows(backend):
    """Batches, beams and talks that go on have the hook: each token is the likeliest after the whole row before it."""
    generator = model(backend, FULL)
    generator.model.decoder.register_hook(hook(backend))
    for row, new in zip(ROWS, generator.tokens(prompt(ROWS), None, Options(6)), strict=True):
        whole = [*row, *new]
        assert generator.logits(prompt([whole]))[0, len(row) - 1 : -1].argmax(-1).tolist() == new
    first = generator.tokens(prompt(ROWS[:1]), None, Options(6))[0]
    talk = [*ROWS[0], *first, 11]
    assert generator._past is not None and generator._past.shared(prompt([talk]), None)
    resumed = generator.tokens(prompt([talk]), None, Options(6))
    generator.forget()
    assert resumed == generator.tokens(prompt([talk]), None, Options(6))
    best = generator.beams(prompt(ROWS[:1]), None, Options(4, beams=BeamConfig(3, length_penalty=0.0)))[0]
    for score, new in best:
        logits = generator.logits(prompt([[*ROWS[0], *new]]))[0, len(ROWS[0]) - 1 : -1].astype(np.float64)
        chance = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        assert sum(row[n] for row, n in zip(chance, new, strict=True)) == pytest.approx(score, abs=1e-3)


def test_no_later_token_leaks_through_a_hook(backend, cfg):
    """A hook that read content would tell a token of what comes after it."""
    generator = model(backend, cfg)
    generator.model.decoder.register_hook(hook(backend, bias=3.0))
    row = ROWS[0]
    first, second = said(generator, [row])[0], said(generator, [[*row[:5], 60, 61, 62]])[0]
    assert np.array_equal(first[:5], second[:5])
    assert np.abs(first[5:] - second[5:]).max() > 1e-2


def test_a_talk_with_another_hook_is_read_anew(backend):
    """Keys that were kept were those of other hooks; a compiled step has the hooks that it was made with."""
    generator, talk = model(backend, FULL), [ROWS[0]]
    talk.append([*ROWS[0], *generator.tokens(prompt(talk), None, Options(6))[0], 11])
    generator.model.decoder.register_hook(hook(backend))
    hooked = generator.tokens(prompt(talk[1:]), None, Options(6))
    fresh = Generator(backend, generator.model)
    assert hooked == fresh.tokens(prompt(talk[1:]), None, Options(6))


def test_both_backends_say_the_same_with_several_hooks(cfg):
    answers = []
    for backend in map(mlxworld.on, mlxworld.BACKENDS):
        generator = model(backend, cfg)
        for each in (hook(backend), hook(backend, "day", (1, 2), -1.0, 6)):
            generator.model.decoder.register_hook(each)
        answers.append(said(generator))
    assert np.abs(answers[0] - answers[1]).max() / np.abs(answers[0]).max() < 1e-5


def test_layers_that_attend_to_pictures_have_no_hooks_and_the_others_do(backend):
    generator, x = model(backend, X), tiles(3)
    assert X.decoder.layers.index("cross") == 0
    for wrong in (hook(backend, layers=(0, 1)), hook(backend, layers=(1, 9))):
        with pytest.raises(ValueError, match="another model"):
            generator.model.decoder.register_hook(wrong)
    plain = generator.logits(tiled([ROW], TAGS, SIZE), Pictures({"pixels": x}))
    generator.model.decoder.register_hook(hook(backend, layers=(1, 4)))
    hooked = generator.logits(tiled([ROW], TAGS, SIZE), Pictures({"pixels": x}))
    assert (np.abs(hooked - plain).max(-1) > 1e-3).all()


def test_a_gradient_reaches_every_part_of_a_hook(backend):
    net = model(backend, FULL).model
    net.decoder.register_hook(hook(backend))

    def loss(net, batch, key):
        return backend.ops.square(net(batch)).mean(), {}

    found = gradients(backend, net, loss, prompt(ROWS))
    own = {name: x for name, x in found.items() if name.startswith("decoder.hooks.")}
    assert "decoder.hooks.0.gate_bias" in own and all(np.abs(x).max() > 0 for x in own.values())


def test_the_attention_that_a_hook_gets(backend):
    generator = model(backend, FULL)
    generator.model.decoder.register_hook(hook(backend))
    with generator.model.hooked().probed() as probe:
        said(generator)
    found = backend.engine.numpy(probe.mean())["night"]
    assert sorted(found) == [0, 2] and all(0 < x < 1 for row in found.values() for x in row)
