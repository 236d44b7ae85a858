"""A talk that goes on: what was read is not read again, and the answer is as if it were."""

from pathlib import Path

import numpy as np
import pytest

import mlxworld
from mlxworld.text.assistant import Assistant, Talk
from mlxworld.text.generate import CHUNK, Generator, Options
from mlxworld.text.prompt import prompt
from tests.models.vision_language.oracle_models import load
from tests.models.vision_language.oracle_vision import reference

ORACLES = Path(__file__).parents[1] / "oracles"
BEGINNING = "here is a picture of a room with a red ball in its corner; what do you see in it, and where does it go?"
QUESTION = "and what of the red ball in the corner?"
OPTIONS = Options(20, (0,))


def counted(generator: Generator) -> list[int]:
    """The lengths of the prompts that a generator reads from their beginning, as they come."""
    lengths, prefill = [], generator._prefill

    def counting(prompt, pictures, slots):
        lengths.append(prompt["ids"].shape[1])
        return prefill(prompt, pictures, slots)

    generator._prefill = counting
    return lengths


@pytest.mark.parametrize("family", ["llava", "mllama", "gemma3", "phi3"])
def test_a_talk_reads_what_is_new(backend, family):
    """All is read again where a window is full, as Gemma's is after a few tokens here, or LongRoPE's factors change."""
    it, fresh = (Assistant.load(ORACLES / family, backend, "float32") for _ in range(2))
    lengths, pictures = counted(it.generator), [] if family == "phi3" else [reference("llava")["image.0"]]
    talk = Talk()
    "".join(it.stream(BEGINNING, pictures, OPTIONS, talk=talk))
    begun = len(lengths)
    until_then = Talk(list(talk.messages), list(talk.pictures))
    said = "".join(it.stream(QUESTION, [], OPTIONS, talk=talk))
    assert said == "".join(fresh.stream(QUESTION, [], OPTIONS, talk=until_then))
    assert len(lengths) - begun == (family in ("gemma3", "phi3"))


@pytest.fixture(scope="module")
def models():
    packages = [mlxworld.on(name) for name in mlxworld.BACKENDS]
    return {package.__name__: (package, load(package, "cohere")) for package in packages}


FIRST = [1, *range(50, 210, 4)]


def walked(models, backend, then, count=10):
    """(Logits of a prompt that follows the first and its continuation, those of a generator that knows nothing of it,
    lengths of what was read from the beginning). then: of the continuation."""
    package, model = models[backend.__name__]
    generator, fresh = Generator(package, model), Generator(package, model)
    lengths = counted(generator)
    tokens = [int(row[0]) for row in generator.stream(prompt([FIRST]), None, Options(count))]
    after = prompt([then(tokens)])
    return generator._begun(after, None, 8)[1], fresh._begun(after, None, 8)[1], lengths


@pytest.mark.parametrize(
    "then",
    [
        lambda tokens: [*FIRST, *tokens, *range(40, 40 + CHUNK - 1)],  # with the last token, a chunk
        lambda tokens: [*FIRST, *tokens, 5],
        lambda tokens: [*FIRST, *tokens[:4], 7, 8, 9],  # an answer that was cut
        lambda tokens: [*FIRST, *tokens],  # nothing new
        lambda tokens: FIRST,
        lambda tokens: [*FIRST[:-2], 44],  # another end of the same question
    ],
)
def test_logits_are_those_of_reading_anew(models, backend, then):
    logits, anew, lengths = walked(models, backend, then)
    assert np.abs(logits - anew).max() < 1e-5 and len(lengths) == 1


@pytest.mark.parametrize(
    "then", [lambda tokens: [1, 2, *FIRST[2:], *tokens], lambda tokens: [*FIRST, *tokens, *range(5, 90)]]
)
def test_what_is_mostly_new_is_read_anew(models, backend, then):
    logits, anew, lengths = walked(models, backend, then)
    assert np.abs(logits - anew).max() < 1e-6 and len(lengths) == 2


def test_the_same_words_elsewhere_are_read_anew(models, backend):
    package, model = models[backend.__name__]
    generator, rotated = Generator(package, model), prompt([FIRST])
    generator.tokens(prompt([FIRST]), None, OPTIONS)
    rotated["positions"] = 2 * rotated["positions"]
    anew = Generator(package, model)._begun(rotated, None, 8)[1]
    assert np.abs(generator._begun(rotated, None, 8)[1] - anew).max() < 1e-6


def test_a_window_that_was_full_is_read_anew(backend):
    package, model = backend, load(backend, "gemma3")
    generator, window = Generator(package, model), model.cfg.decoder.window
    lengths, first = counted(generator), [2, *range(10, 10 + window)]
    tokens = [int(row[0]) for row in generator.stream(prompt([first], whole=True), None, Options(6))]
    after = prompt([[*first, *tokens, 7]], whole=True)
    anew = Generator(package, model)._begun(after, None, 8)[1]
    assert np.abs(generator._begun(after, None, 8)[1] - anew).max() < 1e-5 and len(lengths) == 2


def test_a_talk_that_outgrows_its_room(models, backend):
    """Is read once more, into twice the room, and then goes on."""
    package, model = models[backend.__name__]
    generator, said = Generator(package, model), list(FIRST)
    lengths = counted(generator)
    for _ in range(12):
        said += [int(row[0]) for row in generator.stream(prompt([said]), None, Options(40))]
        said += [17, 18]
    fresh = Generator(package, model)._begun(prompt([said]), None, 8)[1]
    assert np.abs(generator._begun(prompt([said]), None, 8)[1] - fresh).max() < 1e-5
    assert len(lengths) == 3  # 256, 512 and 1,024 tokens


def test_beams_and_batches_between_leave_no_trace(models, backend):
    package, model = models[backend.__name__]
    generator, other = Generator(package, model), prompt([FIRST, [1, 2, 3]])
    first = generator.tokens(prompt([FIRST]), None, OPTIONS)
    for options in (OPTIONS, Options(4, beams=mlxworld.text.beams.BeamConfig(2))):
        generator.tokens(other, None, options)
        assert generator.tokens(prompt([FIRST]), None, OPTIONS) == first


def test_other_pictures_are_other_words(backend):
    it = Assistant.load(ORACLES / "llava", backend, "float32")
    lengths, options = counted(it.generator), Options(4, (0,))
    said = [it.answer("what?", [reference("llava")[f"image.{i}"]], options) for i in (0, 1, 0)]
    assert said[0] == said[2] and len(lengths) == 3
