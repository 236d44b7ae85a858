"""Folders, questions and pictures that are wrong: one line each, and nothing that ends a talk."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import mlxworld
from mlxworld import MlxworldError
from mlxworld.files import checkpoint
from mlxworld.text import chat
from mlxworld.text.assistant import Assistant, Talk
from mlxworld.text.beams import BeamConfig
from mlxworld.text.generate import Options

ORACLES = Path(__file__).parents[1] / "oracles"
PICTURE = np.zeros((40, 60, 3), np.uint8)


def edited(name: str, **settings):
    """A change of a folder: settings of a JSON file."""

    def edit(folder: Path) -> None:
        path = folder / name
        about = json.loads(path.read_text()) if path.exists() else {}
        for key, value in settings.items():
            about[key] = about[key] | value if isinstance(about.get(key), dict) and value else value
        path.write_text(json.dumps(about))

    return edit


def written(name: str, content: str | bytes):
    return lambda folder: (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)


def pieces(edit):
    """The sentencepiece model alone, changed."""
    return lambda folder: ((folder / "tokenizer.json").unlink(), edit(folder))


def one_word_more(folder: Path) -> None:
    path = folder / "tokenizer.json"
    about = json.loads(path.read_text())
    about["added_tokens"].append({**about["added_tokens"][-1], "id": 320, "content": "what"})
    path.write_text(json.dumps(about))


def without_a_shard(folder: Path) -> None:
    arrays, _ = checkpoint.load(folder / "model.safetensors")
    checkpoint.save(folder / "model.safetensors", arrays, {}, shard_bytes=200_000)
    (folder / "model-00002-of-00004.safetensors").unlink()


CASES = {
    "an id beyond the table": (one_word_more, "says id 320, and the model has 320 words"),
    "a picture's id beyond it": (edited("config.json", image_token_index=10000), "says id 10000"),
    "a picture's id below": (edited("config.json", image_token_index=-5), "says id -5"),
    "a picture's id is a text": (edited("config.json", image_token_index="x"), "is no configuration of 'llava'"),
    "no number of positions": (edited("config.json", text_config={"max_position_embeddings": "x"}), "is 'x'"),
    "no positions": (edited("config.json", text_config={"max_position_embeddings": -5}), "is -5"),
    "an end that is none": (edited("generation_config.json", eos_token_id=["x"]), r"eos_token_id is \['x'\]"),
    "an end that is an object": (edited("generation_config.json", eos_token_id={}), "eos_token_id is"),
    "a first token of no text": (
        edited("tokenizer_config.json", bos_token=5),
        "settings cannot be read: '5 is no token'",
    ),
    "added tokens": (pieces(written("added_tokens.json", "[1, 2]")), "tokenizer's settings cannot be read"),
    "numbers of tokens": (
        pieces(edited("tokenizer_config.json", added_tokens_decoder={"x": "a"})),
        "tokenizer's settings cannot be read",
    ),
    "a template in another coding": (written("chat_template.jinja", b"\xff\xfe{{"), "is no text"),
    "a template that divides": (written("chat_template.jinja", "{{ 1 / 0 }}"), "does not take these messages"),
    "a template that calls itself": (
        written("chat_template.jinja", "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}"),
        "does not take these messages",
    ),
    "a shard that is missing": (without_a_shard, "model-00002-of-00004.safetensors: No such file"),
    "weights of another family": (
        lambda folder: shutil.copy(ORACLES / "phi3" / "model.safetensors", folder),
        "have no place here",
    ),
    "a pickle": (
        lambda folder: (folder / "model.safetensors").rename(folder / "pytorch_model.bin"),
        "pytorch_model.bin is a pickle",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_folder_is_refused_in_one_line(tmp_path, name):
    edit, said = CASES[name]
    shutil.copytree(ORACLES / "llava", tmp_path / "model", ignore=shutil.ignore_patterns("native", "reference"))
    edit(tmp_path / "model")
    with pytest.raises(MlxworldError, match=said) as error:
        Assistant.load(tmp_path / "model", mlxworld.on("torch"), "float32").answer("what?", [PICTURE], Options(2))
    assert "\n" not in str(error.value)


def test_a_list_of_templates_of_another_kind_is_left_out(tmp_path):
    edited("tokenizer_config.json", chat_template=[1, {"name": "default", "template": "hi"}])(tmp_path)
    assert chat.template(tmp_path) == "hi"


def test_what_a_model_is_too_small_for_names_the_folder(tmp_path):
    shutil.copytree(ORACLES / "llava", tmp_path / "model", ignore=shutil.ignore_patterns("native", "reference"))
    edited("config.json", text_config={"hidden_size": 48_000, "num_attention_heads": 4})(tmp_path / "model")
    with pytest.raises(MlxworldError, match="model: the configuration asks for more"):
        Assistant.load(tmp_path / "model", mlxworld.on("torch"), "float32")


@pytest.fixture(scope="module")
def llava() -> Assistant:
    return Assistant.load(ORACLES / "llava", mlxworld.on("torch"), "float32")


@pytest.mark.parametrize(
    ("question", "pictures", "said"),
    [
        ("a\udc80b", [], "no text in Unicode"),
        ("a <image> b", [PICTURE], "'<image>', which stands for a picture"),
        ("a <image> b", [], "'<image>', which stands for a picture"),
        ("what?", [np.zeros((0, 5, 3), np.uint8)], "a picture is uint8"),
        ("what?", [np.zeros((5, 5, 4), np.uint8)], "a picture is uint8"),
    ],
)
def test_questions_and_pictures_that_are_none(llava, question, pictures, said):
    talk = Talk()
    with pytest.raises(MlxworldError, match=said):
        list(llava.stream(question, pictures, Options(2), talk=talk))
    assert not talk.messages


def test_a_mark_that_a_model_spells_does_not_end_a_talk(llava, monkeypatch):
    talk = Talk()
    monkeypatch.setattr(Assistant, "_pieces", lambda *given: iter(["an <im", "age> and <image>"]))
    assert "".join(llava.stream("what?", [PICTURE], Options(2), talk=talk)) == "an <image> and <image>"
    assert talk.messages[1]["content"] == chat.parts("an < image> and < image>")
    list(llava.stream("and?", [], Options(2), talk=talk))
    assert len(talk.messages) == 4 and len(talk.pictures) == 1


def test_the_last_half_character_is_said_and_stops_hold_there_too(llava, monkeypatch):
    ids = llava.tokenizer.encode("x\N{BASKETBALL AND HOOP}")[:-1]
    monkeypatch.setattr(llava.generator, "stream", lambda *given: iter(np.array([[n] for n in ids])))
    assert "".join(llava._pieces(None, None, Options(9), ())) == llava.tokenizer.decode(ids) != "x"
    assert "".join(llava._pieces(None, None, Options(9), ("\ufffd",))) == "x"


def test_numbers_of_options_that_cannot_be():
    for make in (lambda: Options(0), lambda: BeamConfig(2, float("nan")), lambda: BeamConfig(2, -1e9)):
        with pytest.raises(MlxworldError):
            make()
