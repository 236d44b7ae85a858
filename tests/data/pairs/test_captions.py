"""Pictures with captions in COCO's layout."""

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from mlxworld.data.pairs import captions
from mlxworld.data.pairs.captions import Captions
from mlxworld.data.pairs.opening import open_pairs, open_told
from mlxworld.data.pairs.plain import Texts
from mlxworld.errors import MlxworldError
from mlxworld.text.rows import texts
from tests.translators import CONFIG

COLOURS = {"red.png": (200, 0, 0), "blue.png": (0, 0, 200)}


@pytest.fixture
def coco(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name, colour in COLOURS.items():
        Image.new("RGB", (40, 30), colour).save(folder / name)
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nrest is missing")
    names = [*COLOURS, "broken.png", "absent.png", "../outside.png"]
    Image.new("RGB", (9, 9)).save(tmp_path / "outside.png")
    images = [{"id": i, "file_name": name} for i, name in enumerate(names)]
    told = [{"image_id": i, "caption": f"it is {name.split('.')[0]}"} for i, name in enumerate(names)]
    told += [{"image_id": 0, "caption": "red again"}, {"image_id": 99, "caption": "of none"}]
    (tmp_path / "captions.json").write_text(json.dumps({"images": images, "annotations": told}))
    return tmp_path


def data(coco, config=CONFIG):
    return Captions(config, coco / "pictures", coco / "captions.json", coco / "cache")


def test_each_picture_stands_with_a_caption_of_its_own(coco):
    made = data(coco)
    batch = made.batch(np.random.default_rng(0), 32)
    assert batch["image"].shape == (32, 16, 16, 3) and batch["image"].dtype == np.uint8
    heard = set()
    for text, picture in zip(texts(batch["text"], made.tokenizer), batch["image"], strict=True):
        assert ("red" in text) == (picture[8, 8, 0] > 100) and ("blue" in text) == (picture[8, 8, 2] > 100)
        heard.add(text)
    assert heard == {"it is red", "red again", "it is blue"}


def test_broken_and_missing_pictures_are_left_out_and_counted(coco):
    made = data(coco)
    assert made.names == ["blue.png", "red.png"]
    assert made.notes[0] == "3 captions name a picture that is not there, or none"
    assert made.notes[1] == "1 pictures cannot be read: 'broken.png'"


def test_pictures_are_decoded_once(coco, monkeypatch):
    first = data(coco)
    monkeypatch.setattr(captions, "read_picture", lambda *_: pytest.fail("decoded again"))
    again = data(coco)
    assert again.identity == first.identity and again.names == first.names
    with pytest.raises(pytest.fail.Exception, match="decoded again"):
        data(coco, replace(CONFIG, image_size=8))


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("[]", "layout of COCO"),
        ('{"images": [{"id": 1}], "annotations": []}', "layout of COCO"),
        ('{"images": [], "annotations": [{"image_id": 1, "caption": "x"}]}', "none of its 1 captions"),
        ("{", "no readable JSON"),
    ],
)
def test_a_file_of_another_layout_is_one_line(coco, content, line):
    (coco / "captions.json").write_text(content)
    with pytest.raises(MlxworldError, match=line):
        data(coco)


def test_no_picture_that_can_be_read_is_one_line(coco):
    for name in COLOURS:
        (coco / "pictures" / name).write_bytes(b"x")
    with pytest.raises(MlxworldError, match="none of its 3 pictures"):
        data(coco)


@pytest.fixture
def beside(tmp_path):
    folder = tmp_path / "beside"
    (folder / "more").mkdir(parents=True)
    for name, colour in (("red.png", (200, 0, 0)), ("more/blue.JPG", (0, 0, 200)), ("mute.png", (9, 9, 9))):
        Image.new("RGB", (40, 30), colour).save(folder / name)
    (folder / "red.txt").write_text("it is\n red")
    (folder / "more/blue.TXT").write_text("it is blue")
    (folder / "alone.txt").write_text("of nothing")
    return folder


def test_a_folder_of_pictures_with_words_beside_them_is_data_for_any_model(beside, tmp_path):
    made, rates = open_pairs(CONFIG, str(beside), cache=tmp_path / "cache")
    assert isinstance(made, Captions) and not rates
    assert made.names == ["more/blue.JPG", "red.png"] and made.notes == ("1 pictures have no words beside them (.txt)",)
    assert list(made.texts()) == ["it is blue", "it is red"]
    batch = made.batch(np.random.default_rng(0), 8)
    for text, picture in zip(texts(batch["text"], made.tokenizer), batch["image"], strict=True):
        assert ("red" in text) == (picture[8, 8, 0] > 100)
    before = made.identity
    (beside / "red.txt").write_text("it is crimson")
    assert Captions(CONFIG, beside, None, tmp_path / "cache").identity != before
    (beside / "red.txt").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(MlxworldError, match=r"red\.txt cannot be read as text"):
        Captions(CONFIG, beside, None, tmp_path / "cache")


def test_texts_alone_are_data_for_a_model_of_words(beside, tmp_path):
    for path in (*beside.glob("*.png"), *beside.glob("more/*.JPG")):
        path.unlink()
    (beside / "empty.txt").write_text(" \n")
    made = open_told(CONFIG, str(beside), None, None, tmp_path)
    assert isinstance(made, Texts) and set(made.texts()) == {"it is\n red", "it is blue", "of nothing"}
    drawn, pictures = made.draw(np.random.default_rng(0), 30)
    assert set(drawn) == set(made.texts()) and pictures is None
    assert texts(made.batch(np.random.default_rng(0), 4)["text"], made.tokenizer) == drawn[:4]
    (tmp_path / "none").mkdir()
    with pytest.raises(MlxworldError, match=r"no \.txt with words"):
        open_told(CONFIG, str(tmp_path / "none"), None, None, tmp_path)
