"""Whole published models against their references, on both backends, with faults that must be seen."""

import dataclasses

import numpy as np
import pytest

import mlxworld
from mlxworld.configs.vision_language import VisionLanguageConfig
from mlxworld.text.beams import BeamConfig
from mlxworld.text.generate import Generator, Options
from tests.models.vision_language.oracle_models import FAMILIES, cases, load

LIMIT = 1e-4  # absolute, of logits of deviation 1


def logits(backend, family, change=lambda cfg: cfg):
    """(ours, the reference's), of real tokens."""
    generator, pairs = Generator(backend, load(backend, family, change=change)), []
    for case in cases(family):
        ours = generator.logits(case.prompt, case.pictures)
        pairs.append((ours[case.mask == 1], case.logits[case.mask == 1]))
    return tuple(np.concatenate(side) for side in zip(*pairs, strict=True))


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_are_the_published_ones(backend, family):
    """Ragged rows, several pictures of a row, films."""
    ours, theirs = logits(backend, family)
    assert 0.5 < theirs.std() < 3
    assert np.abs(ours - theirs).max() < LIMIT


@pytest.mark.parametrize("family", FAMILIES)
def test_the_likeliest_tokens_are_the_published_ones(backend, family):
    """With the cache, past the window, the padding and LongRoPE's trained length."""
    generator = Generator(backend, load(backend, family))
    for case in cases(family):
        tokens = generator.tokens(case.prompt, case.pictures, Options(most=case.greedy.shape[1]))
        assert np.array_equal(tokens, case.greedy)


@pytest.mark.parametrize("family", [family for family in FAMILIES if family not in ("phi3_v", "molmo")])
def test_beams_are_the_published_ones(backend, family):
    (case,) = cases(family)
    assert case.beam is not None and case.beam_scores is not None
    options = Options(most=16, ends=(case.end,), beams=BeamConfig(3))
    beams = Generator(backend, load(backend, family)).beams(case.prompt, case.pictures, options)
    found = [beam for row in beams for beam in row]
    width = case.beam.shape[1]
    assert [tokens + [case.end] * (width - len(tokens)) for _, tokens in found] == case.beam.tolist()
    assert np.allclose([score for score, _ in found], case.beam_scores, atol=1e-5)


def test_both_backends_give_the_same():
    for family in FAMILIES:
        ours, theirs = (logits(mlxworld.on(name), family)[0] for name in ("mlx", "torch"))
        assert np.abs(ours - theirs).max() / np.abs(theirs).max() < 1e-5, family


def in_decoder(**changes):
    return lambda cfg: dataclasses.replace(cfg, decoder=dataclasses.replace(cfg.decoder, **changes))


def in_rope(name="rope", **changes):
    def change(cfg: VisionLanguageConfig):
        rope = dataclasses.replace(getattr(cfg.decoder, name), **changes)
        return dataclasses.replace(cfg, decoder=dataclasses.replace(cfg.decoder, **{name: rope}))

    return change


def in_block(name="block", **changes):
    def change(cfg: VisionLanguageConfig):
        block = dataclasses.replace(getattr(cfg.decoder, name), **changes)
        return dataclasses.replace(cfg, decoder=dataclasses.replace(cfg.decoder, **{name: block}))

    return change


FAULTS = {
    "rope base": ("llava", in_rope(base=10500.0)),
    "rope base of films": ("qwen2_vl", in_rope(base=9e5)),
    "sections": ("qwen2_vl", in_rope(sections=(3, 3, 2))),
    "linear factor": ("gemma3", in_rope(factor=1.0)),
    "base of sliding layers": ("gemma3", in_rope("sliding_rope", base=1e6)),
    "norm plus one": ("gemma3", in_block(norm="rms")),
    "eps": ("llava", in_block(eps=1e-3)),
    "scale of embeddings": ("gemma3", in_decoder(embed_scale=1.0)),
    "scale of scores": ("gemma3", in_decoder(attention_scale=None)),
    "window": ("gemma3", in_decoder(window=9)),
    "mask over pictures": ("gemma3", lambda cfg: dataclasses.replace(cfg, whole_pictures=False)),
    "interleaved": ("cohere", in_rope(interleaved=False)),
    "scale of logits": ("cohere", in_decoder(logit_scale=0.0625)),
    "order": ("cohere", in_block(order="pre")),
    "long factors": ("phi3", in_rope(trained_length=10)),
    "scale of what is turned": ("phi3", in_rope(scale=1.0)),
    "llama 3's frequencies": ("mllama", in_rope(low_freq_factor=0.0)),
    "who sees no picture": ("mllama", in_block("cross", blind="attn")),
    "gates": ("idefics", in_block("cross", gate="scale")),
    "features are added": ("molmo", lambda cfg: dataclasses.replace(cfg, adds=False)),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_seen(fault):
    family, change = FAULTS[fault]
    if fault == "order":
        with pytest.raises(mlxworld.MlxworldError, match="norm2"):
            load(mlxworld.on("torch"), family, change=change)
        return
    if fault == "mask over pictures":
        seen = [dataclasses.replace(case, prompt=_without(case.prompt, "picture")) for case in cases(family)]
        generator = Generator(mlxworld.on("torch"), load(mlxworld.on("torch"), family))
        ours, theirs = generator.logits(seen[0].prompt, seen[0].pictures), seen[0].logits
        ours, theirs = ours[seen[0].mask == 1], theirs[seen[0].mask == 1]
    else:
        ours, theirs = logits(mlxworld.on("torch"), family, change)
    assert np.abs(ours - theirs).max() > 10 * LIMIT


def _without(arrays, name):
    return {key: x for key, x in arrays.items() if key != name}


@pytest.mark.parametrize("family", ["gemma3", "mllama", "qwen2_vl"])
def test_with_a_cache_and_without_is_the_same(backend, family):
    """Step by step against whole rows: windows as rings, pictures that are attended to, positions after pictures."""
    from mlxworld.text.prompt import extended

    model, (case,) = load(backend, family), cases(family)
    generator = Generator(backend, model)
    tokens = np.random.default_rng(0).integers(4, 250, (2, 24)).astype(np.int32)
    whole = generator.logits(extended(case.prompt, tokens), case.pictures)
    given = generator._given(case.prompt, case.pictures)
    T, steps = case.prompt["ids"].shape[1], []
    with backend.engine.inference():
        first, state = model.prefill(*given, T + 24)
        for column in tokens.T:
            steps.append(first)
            first, state = model.step(state, backend.engine.array(np.ascontiguousarray(column)))
    ours = np.stack(backend.engine.numpy(steps), axis=1)
    assert np.abs(ours - whole[:, T - 1 : -1]).max() < LIMIT


@pytest.mark.parametrize("kind", ["int8", "int4"])
def test_quantised_models_say_nearly_the_same(backend, kind):
    """Of layers whose rows are whole groups, which in so small a model are few."""
    pytest.importorskip("torchao") if kind == "int4" and backend.__name__ == "torch_backend" else None
    model, (case,) = load(backend, "qwen2_vl"), cases("qwen2_vl")
    exact = Generator(backend, model).logits(case.prompt, case.pictures)[case.mask == 1]
    assert backend.engine.packing(model, kind)
    model = backend.engine.quantize(model, kind)
    ours = Generator(backend, model).logits(case.prompt, case.pictures)[case.mask == 1]
    error = np.abs(ours - exact).std() / exact.std()
    assert 0 < error < {"int8": 0.05, "int4": 0.5}[kind]
