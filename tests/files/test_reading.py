"""Files of others: read when they are regular, small and flat enough, else one printable line."""

import codecs
import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlxworld import MlxworldError, cli
from mlxworld.files.reading import MOST_BYTES, MOST_LEVELS, parse_json, read_json, shown
from mlxworld.play.folder import read_config

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 24137646\n"


def refuses(path, *words, read=read_json):
    with pytest.raises(MlxworldError) as failure:
        read(path)
    message = str(failure.value)
    assert message.isprintable() and all(word in message for word in words), message


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_what_editors_write_before_the_text_is_no_matter(tmp_path, encoding):
    (tmp_path / "x.json").write_bytes('{"a": ["ä", 1]}'.encode(encoding))
    assert read_json(tmp_path / "x.json") == {"a": ["ä", 1]}


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 50_000, "[" * 5000 + "]" * 5000, "[" * 200 + "]" * 200])
def test_depth(tmp_path, text):
    (tmp_path / "x.json").write_text(text)
    refuses(tmp_path / "x.json", "x.json", "nested too deep")


def test_the_deepest_that_is_read():
    deep = "[" * MOST_LEVELS + "1" + "]" * MOST_LEVELS
    assert json.dumps(parse_json(deep, "x")) == deep
    with pytest.raises(MlxworldError, match="nested too deep"):
        parse_json(f"[{deep}]", "x")


def test_size(tmp_path):
    path = tmp_path / "x.json"
    path.write_text('"' + "x" * (MOST_BYTES - 2) + '"')
    assert len(read_json(path)) == MOST_BYTES - 2
    path.write_text('"' + "x" * (MOST_BYTES - 1) + '"')
    refuses(path, "too large", "4,194,304")
    with path.open("r+b") as file:
        file.truncate(40 << 30)
    refuses(path, "too large")


def test_only_regular_files_are_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for name, word in {
        "pipe": "no regular file",
        "zero": "no regular file",
        "loop": "symbolic links",
        ".": "directory",
        "absent": "No such file",
        "a\0b": "null",
    }.items():
        with pytest.raises(MlxworldError, match=word):
            read_json(tmp_path / name)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "no readable JSON"),
        ("{", "no readable JSON"),
        ('{"a": 1} x', "Extra data"),
        ('{"a": 1, "b": 2, "a": 3}', "the name 'a' is there twice"),
        ('{"\\u001b[31m": 1, "\\u001b[31m": 2}', r"'\x1b[31m' is there twice"),
        ("1" * 5000, "no readable JSON"),
        (b"\xff\xfe\xff", "no readable JSON"),
        (b"\x80abc", "no readable JSON"),
    ],
)
def test_what_is_no_json(tmp_path, text, word):
    (tmp_path / "x.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    refuses(tmp_path / "x.json", "x.json", word)


def test_a_git_lfs_pointer_is_named(tmp_path):
    (tmp_path / "x.json").write_bytes(POINTER)
    refuses(tmp_path / "x.json", "is a Git LFS pointer", "git lfs pull")


@given(st.text() | st.lists(st.text()) | st.dictionaries(st.text(), st.text()) | st.integers() | st.binary())
def test_what_is_shown_is_short_and_printable(value):
    text = shown(value)
    assert text.isprintable() and len(text) <= 80
    if len(repr(value)) < 80 and repr(value).isprintable():
        assert text == repr(value)


CONFIG = {"format": 1, "name": "x", "model": {}}


@pytest.mark.parametrize(
    ("about", "word"),
    [
        ([CONFIG], "no settings of a model"),
        (CONFIG | {"format": 99}, "not 99"),
        (CONFIG | {"format": True}, "not True"),
        (CONFIG | {"format": "1\x1b"}, r"not '1\x1b'"),
        (CONFIG | {"name": "\x1b[31mred\n"}, r"'\x1b[31mred\n' cannot be printed"),
    ],
)
def test_a_worlds_config_of_others(tmp_path, about, word):
    (tmp_path / "config.json").write_text(json.dumps(about))
    refuses(tmp_path, word, read=read_config)


def test_a_worlds_config_with_a_byte_order_mark(tmp_path):
    (tmp_path / "config.json").write_bytes(codecs.BOM_UTF8 + json.dumps(CONFIG).encode())
    assert read_config(tmp_path)[1] == CONFIG


def test_the_last_line_of_a_verb_moves_no_cursor(capsys):
    """Whatever a message holds, a terminal shows it as text."""

    def fails():
        raise MlxworldError("a \x1b[31mred\x07\nname\u202e")

    with pytest.raises(SystemExit) as left:
        cli.entry(fails)
    assert left.value.code == 2
    assert capsys.readouterr().err == "mlxworld: a \\x1b[31mred\\x07 name\\u202e\n"
