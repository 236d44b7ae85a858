"""Pieces of words: taught from texts, kept in a file, refused where they do not fit."""

import pytest

from mlxworld.errors import MlxworldError
from mlxworld.text import pieces
from mlxworld.text.bytes import Bytes
from mlxworld.text.rows import printable, rows, texts

TEXTS = [f"a {c} {s} at the {p} left" for c in ("red", "green") for s in ("ball", "square") for p in ("top", "bottom")]


@pytest.fixture(scope="module")
def blob():
    return pieces.teach(TEXTS, 340)


def test_texts_come_back_and_are_shorter_than_bytes(blob):
    tokenizer = pieces.WordPieces(blob, "x")
    for text in (*TEXTS, "caf\u00e9 \u4e16"):
        assert tokenizer.decode(tokenizer.encode(text, special=True)) == text
    assert len(tokenizer.encode(TEXTS[0])) < 0.75 * len(Bytes().encode(TEXTS[0]))
    ids = rows(["a red ball", "a"], 20, tokenizer)
    assert (ids[:, -1] == 0).all() and set(ids[ids > 0]) - {2} and ids.max() < tokenizer.size <= 340
    assert (ids[ids > 0] >= 2).all(), "no id of the file's own is taken for padding or the end"
    assert texts(ids, tokenizer) == ["a red ball", "a"]
    assert tokenizer.id("<eos>") == 2 and tokenizer.token(2) == "<eos>" and tokenizer.token(9999) is None


def test_the_same_texts_give_the_same_file(blob):
    assert pieces.teach(TEXTS, 340) == blob


def test_a_run_s_folder_says_which_tokenizer(blob, tmp_path):
    assert isinstance(pieces.of_run(tmp_path), Bytes)
    (tmp_path / pieces.FILE).write_bytes(blob)
    assert pieces.of_run(tmp_path).encode(TEXTS[0]) == pieces.WordPieces(blob, "x").encode(TEXTS[0])


def test_what_does_not_fit_is_one_line(blob, tmp_path):
    with pytest.raises(MlxworldError, match=r"do not fit a vocabulary of 259"):
        pieces.require_fit(pieces.WordPieces(blob, "x"), 259, "x")
    with pytest.raises(MlxworldError, match="259 ids do not fit"):
        pieces.require_fit(Bytes(), 100, "bytes")
    with pytest.raises(MlxworldError, match="no room for pieces"):
        pieces.teach(TEXTS, 100)
    with pytest.raises(MlxworldError, match="no text"):
        pieces.teach(["", " \n"], 340)
    (tmp_path / "bad.model").write_bytes(b"nonsense")
    with pytest.raises(MlxworldError, match=r"bad\.model is no sentencepiece model"):
        pieces.load(tmp_path / "bad.model")


def test_ids_that_mean_nothing_are_left_out(blob):
    tokenizer = pieces.WordPieces(blob, "x")
    assert tokenizer.decode([999999, *tokenizer.encode("a red ball"), 1, 2, 50]) == "a red ball"
    assert printable("a\x1b[2Jb") == "a\ufffd[2Jb"
