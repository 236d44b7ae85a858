"""Tokenizers against the packages' own ids, special tokens, and texts that come id by id."""

import json
import shutil
from pathlib import Path

import pytest

from mlxworld import MlxworldError
from mlxworld.text import tokenizer

ORACLES = Path(__file__).parents[1] / "oracles"
FAST = ["llava", "llava_next", "qwen2_vl", "gemma3", "mllama", "phi3", "nvlm_d", "molmo"]


@pytest.fixture
def pieces(tmp_path):
    """LLaVA's folder with the sentencepiece model alone."""
    shutil.copy(ORACLES / "llava" / "tokenizer.model", tmp_path)
    added = {"300": {"content": "<image>"}}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"added_tokens_decoder": added, "eos_token": "</s>"}))
    return tmp_path


@pytest.mark.parametrize("family", FAST)
def test_ids_are_those_of_the_package(family):
    said = json.loads((ORACLES / family / "reference" / "tokenizer.json").read_text())
    words = tokenizer.load(ORACLES / family)
    assert [words.encode(text) for text in said["texts"]] == said["tokenizer.json"]
    plain = said["texts"][:4]  # without special tokens
    assert [words.decode(words.encode(text)) for text in plain] == plain


def test_ids_of_a_sentencepiece_model(pieces):
    said = json.loads((ORACLES / "llava" / "reference" / "tokenizer.json").read_text())
    words = tokenizer.load(pieces)
    assert [words.encode(text) for text in said["texts"][:4]] == said["tokenizer.model"][:4]
    ids = words.encode("a ball<image>hits", special=True)
    assert ids == [1, *words.encode("a ball"), 300, *words.encode("hits")]
    assert words.decode([*ids, 2]) == "a ball hits"
    assert (words.id("<image>"), words.token(300), words.id("</s>"), words.id("<nothing>")) == (300, "<image>", 2, None)


@pytest.mark.parametrize("family", ["llava", "gemma3"])
def test_a_stream_shows_whole_characters_and_all_of_them(family):
    words, text = tokenizer.load(ORACLES / family), "Füße, 球, 🏀! a red ball hits the blue wall; " * 5
    stream = tokenizer.Stream(words)
    shown = [stream.add(number) for number in words.encode(text)]
    assert "".join(shown) == text and all(tokenizer.UNFINISHED not in part for part in shown)
    assert "" in shown  # half of a character waits


def test_a_stream_of_pieces_keeps_its_spaces(pieces):
    words, text = tokenizer.load(pieces), "where will the ball be next? " * 10 + "there"
    stream = tokenizer.Stream(words)
    assert "".join(stream.add(number) for number in words.encode(text)) == text


def test_the_first_token_is_added_once_where_a_text_asks_for_it(tmp_path):
    shutil.copy(ORACLES / "phi3" / "tokenizer.json", tmp_path)
    (tmp_path / "tokenizer_config.json").write_text(
        json.dumps({"bos_token": {"content": "<s>"}, "add_bos_token": True})
    )
    words = tokenizer.load(tmp_path)
    assert words.encode("a", special=True)[0] == 1 and words.encode("a")[0] != 1
    assert words.encode("<s>a", special=True).count(1) == 1


def test_what_is_no_tokenizer(tmp_path):
    with pytest.raises(MlxworldError, match=r"neither tokenizer\.json nor tokenizer\.model"):
        tokenizer.load(tmp_path)
    (tmp_path / "tokenizer.model").write_bytes(b"no model")
    with pytest.raises(MlxworldError, match="no sentencepiece model"):
        tokenizer.load(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(MlxworldError, match="no tokenizer that is read"):
        tokenizer.load(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text("[]")
    with pytest.raises(MlxworldError, match="holds no settings"):
        tokenizer.load(tmp_path)
