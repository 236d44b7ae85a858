"""Writing words on a GPU: one recorded step a token, the same words as on the CPU. Needs MLXWORLD_TEST_DEVICE=gpu."""

import numpy as np
import pytest

import mlxworld
from mlxworld.text.beams import BeamConfig
from mlxworld.text.generate import Generator, Options
from tests.models.vision_language.oracle_models import cases, load

pytestmark = [
    pytest.mark.platform,
    pytest.mark.skipif(
        mlxworld.on("torch").engine.device() != "cuda", reason="needs CUDA and MLXWORLD_TEST_DEVICE=gpu"
    ),
]
FAMILIES = ["llava", "qwen2_vl", "gemma3", "mllama", "phi3", "cohere"]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_recorded_step_writes_the_published_words(family):
    """Twice: the second time the graph is there. And beams, whose rows change places between replays."""
    package, (case,) = mlxworld.on("torch"), cases(family)
    generator = Generator(package, load(package, family))
    for _ in range(2):
        tokens = generator.tokens(case.prompt, case.pictures, Options(64))
        assert np.mean(np.array(tokens) == case.greedy) > 0.9  # a near tie may fall otherwise on a GPU
    options = Options(16, (case.end,), beams=BeamConfig(3))
    beams = generator.beams(case.prompt, case.pictures, options)
    assert case.beam_scores is not None
    assert np.allclose([score for row in beams for score, _ in row], case.beam_scores, atol=2e-2)


def test_a_compiled_step_writes_the_same_words():
    package, (case,) = mlxworld.on("torch"), cases("qwen2_vl")
    generator = Generator(package, load(package, "qwen2_vl"), compile=True)
    first = generator.tokens(case.prompt, case.pictures, Options(64))
    for loop in generator._loops.values():
        loop.settle()
    again = generator.tokens(case.prompt, case.pictures, Options(64))
    assert np.mean(np.array(first) == np.array(again)) > 0.9
    assert all(loop._compiled.ready is not None for loop in generator._loops.values())


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_is_near(precision):
    package, (case,) = mlxworld.on("torch"), cases("qwen2_vl")
    generator = Generator(package, load(package, "qwen2_vl", precision))
    ours = generator.logits(case.prompt, case.pictures)[case.mask == 1]
    theirs = case.logits[case.mask == 1]
    assert np.abs(ours - theirs).max() < {"bfloat16": 0.3, "float16": 0.05}[precision]
    assert len(generator.tokens(case.prompt, case.pictures, Options(8))[0]) == 8
