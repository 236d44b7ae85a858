"""`ask --check` beside a stand-in of transformers: what it is given, and what is said where it cannot read."""

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import mlxworld
from mlxworld import MlxworldError
from mlxworld.text.assistant import Assistant
from mlxworld.text.chat import parts
from mlxworld.text.check import check
from mlxworld.text.generate import Options

ORACLES = Path(__file__).parents[1] / "oracles"
PICTURE, FILM = np.zeros((40, 60, 3), np.uint8), np.zeros((4, 56, 84, 3), np.uint8)


class Processor:
    """Gives the ids it is told to, and notes what it was given."""

    chat_template: str | None = None

    def __init__(self, ids):
        self.ids, self.image_processor = ids, "torchvision's"

    def __call__(self, **given):
        self.given = given
        return {"input_ids": self.ids}

    def apply_chat_template(self, messages, **settings):
        return "another text"


class IdeficsProcessor(Processor):
    """Takes texts and pictures one after another."""


class Model:
    """Says what ours says."""

    def __init__(self, it, arrays, seen):
        words = it.generator.tokens(arrays, seen, Options(32, it.ends))
        self.logits, self.said = torch.tensor(it.generator.logits(arrays, seen)), [arrays["ids"], words]

    def eval(self):
        return self

    def __call__(self, **inputs):
        return self

    def generate(self, **asked):
        return np.concatenate(self.said, axis=1)


def transformers(reader, model=None):
    def giving(x):
        def read(folder, **settings):
            if isinstance(x, Exception):
                raise x
            return settings.get("backend", x)

        return SimpleNamespace(from_pretrained=read)

    names = {"AutoProcessor": reader, "AutoTokenizer": reader, "AutoImageProcessor": None}
    names |= {"AutoModelForImageTextToText": model, "AutoModelForCausalLM": model}
    logging = SimpleNamespace(disable_progress_bar=lambda: None)
    return SimpleNamespace(logging=logging, **{name: giving(x) for name, x in names.items()})


def compared(monkeypatch, family, pictures, kind=Processor, begin=""):
    """The table, and what the reader of transformers was given."""
    it = Assistant.load(ORACLES / family, mlxworld.on("torch"), "float32")
    it.template = begin + it.template
    message = {"role": "user", "content": parts("what?", ["video" if x.ndim == 4 else "image" for x in pictures])}
    arrays, seen = it.read(it.text([message]), pictures)
    reader = kind(arrays["ids"])
    monkeypatch.setitem(sys.modules, "transformers", transformers(reader, Model(it, arrays, seen)))
    return check(it, ORACLES / family, "what?", pictures), reader


def test_pictures_are_resized_by_pillow_and_texts_that_begin_are_not_begun_again(monkeypatch):
    table, reader = compared(monkeypatch, "llava", [PICTURE, PICTURE])
    assert "the same ids                 yes" in table and "0.00e+00" in table and "the same text" not in table
    assert reader.image_processor == "pil" and len(reader.given["images"]) == 2 and "videos_kwargs" not in reader.given
    assert "add_special_tokens" not in reader.given
    table, reader = compared(monkeypatch, "llava", [PICTURE], begin="<s>")
    assert reader.given["add_special_tokens"] is False and reader.given["text"][0].startswith("<s>")


def test_films_are_bounded_as_here(monkeypatch):
    _, reader = compared(monkeypatch, "qwen2_vl", [PICTURE, FILM])
    assert len(reader.given["images"]) == len(reader.given["videos"]) == 1
    size = {"shortest_edge": 128 * 28 * 28, "longest_edge": 768 * 28 * 28}
    assert reader.given["videos_kwargs"] == {"size": size, "cap_pixels_per_frame": True}


def test_another_text_of_the_template_is_told(monkeypatch):
    monkeypatch.setattr(Processor, "chat_template", "{{ messages }}")
    assert "the same text                NO" in compared(monkeypatch, "llava", [PICTURE])[0]


def test_pictures_between_texts(monkeypatch):
    _, reader = compared(monkeypatch, "llava", [PICTURE, PICTURE], IdeficsProcessor)
    (row,) = reader.given["text"]
    assert [type(part) for part in row] == [str, np.ndarray, str, np.ndarray, str] and "images" not in reader.given


MISSING = ImportError("Qwen2VLVideoProcessor requires the Torchvision library but it was not found.\nInstall it")
BROKEN = RuntimeError("Could not import module 'AutoProcessor'.")
BROKEN.__cause__ = RuntimeError("operator torchvision::nms does not exist")


@pytest.mark.parametrize(
    ("error", "has", "said"),
    [
        (MISSING, False, r"--check of \S+ needs torchvision beside transformers: pip install torchvision$"),
        (BROKEN, True, "needs a torchvision that fits this torch: operator torchvision::nms does not exist$"),
        (KeyError("a\nb"), True, r"transformers cannot read \S+: 'a\\nb'$"),
        (ValueError(), True, r"transformers cannot read \S+: ValueError$"),
    ],
)
def test_what_is_missing_is_said_in_one_line(monkeypatch, error, has, said):
    it = Assistant.load(ORACLES / "llava", mlxworld.on("torch"), "float32")
    monkeypatch.setitem(sys.modules, "transformers", transformers(error))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name if has else None)
    with pytest.raises(MlxworldError, match=said):
        check(it, ORACLES / "llava", "what?", [PICTURE])
