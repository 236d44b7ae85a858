"""Texts that fit a picture: rows are cut and padded as published, probabilities add up, and padding changes nothing."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mlxworld import ask
from mlxworld.errors import MlxworldError
from mlxworld.files import pretrained
from mlxworld.files.layouts import open_clip
from mlxworld.text.match import Matcher
from tests.images.cases import picture
from tests.models.vision_language.oracle_vision import ORACLES, published

pytest.importorskip("tokenizers")


@pytest.fixture
def folder(tmp_path):
    """The tiny BiomedCLIP, with another oracle's tokenizer of the same vocabulary: it has none of its own."""
    out = tmp_path / "biomedclip"
    shutil.copytree(Path(ORACLES, "biomedclip"), out)
    (out / open_clip.FILE).write_text(json.dumps(published("biomedclip")))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(Path(ORACLES, "cohere", name), out / name)
    return out


def test_texts_are_weighed_against_each_other(backend, folder):
    matcher = Matcher(pretrained.load(folder, backend, "float32"))
    pictures, texts = [picture(50, 40), picture(33, 80)], ["a red ball", "the wall  sounds\nlike a bell", "&amp;"]
    together = matcher(pictures, texts)
    assert together.shape == (2, 3) and np.abs(together.sum(1) - 1).max() < 1e-6
    pair = matcher(pictures[:1], texts[:2])  # another width of padding
    assert np.abs(pair[0] - together[0, :2] / together[0, :2].sum()).max() < 1e-5
    assert (matcher.ids(["the wall sounds like a bell"]) == matcher.ids(texts[1:2])).all()
    assert (matcher.ids(["&"]) == matcher.ids(["&amp;"])).all()


@pytest.mark.parametrize("family", ["clip", "siglip"])
def test_clip_weighs_texts_and_siglip_each_alone(backend, tmp_path, family):
    folder = tmp_path / family
    shutil.copytree(Path(ORACLES, family), folder)
    words = {"<s>": 1, "</s>": 63, "a": 4, "ball": 5, "bell": 6, "<unk>": 7}
    _write_words(folder / "tokenizer.json", words)
    matcher = Matcher(pretrained.load(folder, backend, "float32"))
    pictures, texts = [picture(50, 40), picture(33, 80)], ["a ball", "a bell", "a ball a bell " * 9]
    ids, together = matcher.ids(texts), matcher(pictures, texts)
    assert ids.shape == (3, 12) and ids[2, -1] == 63  # cut, but for its end
    alone = np.concatenate([matcher(pictures, [text]) for text in texts], axis=1)
    if family == "siglip":
        assert np.abs(alone - together).max() < 1e-6 and (matcher.ids(["a"])[0, -1] == 1)
    else:
        assert np.abs(together.sum(1) - 1).max() < 1e-6 and (alone == 1).all()
        pair = matcher(pictures[:1], texts[:2])[0]
        assert (
            matcher.ids(texts[:2]).shape == (2, 4)
            and np.abs(pair - together[0, :2] / together[0, :2].sum()).max() < 1e-5
        )


def _write_words(path, words):
    """A tokenizer of whole words, with a beginning and an end."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    ends = [(name, words[name]) for name in ("<s>", "</s>")]
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=ends)
    tokenizer.save(str(path))


def test_ask_tells_what_fits(folder, tmp_path, capsys):
    Image.fromarray(picture(40, 50)).save(tmp_path / "a.png")
    given = ["--model", str(folder), "--image", str(tmp_path / "a.png"), "--backend", "torch"]
    ask.main([*given, "--among", "a red ball", "a bell"])
    path, *lines = capsys.readouterr().out.splitlines()
    assert path == str(tmp_path / "a.png")
    assert [line.split("%")[1].strip() for line in lines] == ["a red ball", "a bell"]
    assert abs(sum(float(line.split("%")[0]) for line in lines) - 100) < 0.2
    with pytest.raises(MlxworldError, match="'open_clip' is no model that writes text"):
        ask.main([*given, "what is this?"])
    with pytest.raises(MlxworldError, match="'cohere' is no model of two encoders"):
        ask.main(["--model", str(Path(ORACLES, "cohere")), "--backend", "torch", "--among", "a"])


def test_long_texts_are_cut_and_empty_lists_refused(backend, folder):
    matcher = Matcher(pretrained.load(folder, backend, "float32"))
    assert matcher.ids(["ball " * 200, "x"]).shape == (2, 64)
    for pictures, texts in (([], ["a"]), ([picture(9, 9)], [])):
        with pytest.raises(MlxworldError, match="at least one"):
            matcher(pictures, texts)
