"""Reading, cutting and what every processor does with any picture; bad files and settings."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import mlxworld
from mlxworld.images import load, of, read
from mlxworld.images.anyres import best_page, shown
from mlxworld.images.crops import Crops
from mlxworld.images.grids import smart_size
from mlxworld.images.pixels import centre, cut, require
from tests.images.cases import SETTINGS, picture
from tests.images.test_published import CONFIGS, processor

side = st.integers(1, 3000)


@given(side, side)
def test_smart_size_keeps_its_promises(h, w):
    if max(h, w) > 200 * min(h, w):
        with pytest.raises(mlxworld.MlxworldError, match="too thin"):
            smart_size(h, w, 28, 3136, 1003520)
        return
    H, W = smart_size(h, w, 28, 3136, 1003520)
    assert H % 28 == W % 28 == 0
    area = H * W
    assert area >= 3136 and (area <= 1003520 or min(H, W) == 28)


@given(side, side)
def test_what_is_shown_of_a_page_has_the_ratio_of_the_picture(h, w):
    H, W = best_page(h, w, [(336, 672), (672, 336), (672, 672), (1008, 336), (336, 1008)])
    top, bottom, left, right = shown(h, w, H // 14, W // 14)
    assert 0 <= top < bottom <= H // 14 or top == bottom
    assert top + bottom == H // 14 and left + right == W // 14  # in the middle
    rows, columns = bottom - top, right - left
    assert abs(rows - columns * h / w) <= 2 or abs(columns - rows * w / h) <= 2


@given(st.integers(20, 1200), st.integers(20, 1200))
def test_crops_fill_every_place_once(h, w):
    process = Crops(most=6, margins=(2, 2), side=112)
    _, _, places, (rows, columns) = process.crops(picture(h, w))
    flat = np.sort(places[places >= 0])
    wide, high = (columns * 4 + 4 + 1) // 2, (rows * 4 + 4 + 1) // 2
    assert rows * columns <= 6 and (flat == np.arange(wide * high)).all()


def test_ties_are_broken_as_published():
    assert best_page(10, 10, [(56, 56), (28, 56), (56, 28)]) == (28, 56)  # the least waste, then the first
    assert smart_size(70, 70, 28, 0, 1 << 20) == (56, 56)  # 2.5 is rounded to 2, the even one
    assert smart_size(98, 98, 28, 0, 1 << 20) == (112, 112)


def test_a_small_picture_stands_in_the_middle_of_black():
    x = np.ones((3, 4, 3), np.uint8)
    assert (centre(x, (6, 4))[2:5] == 1).all() and centre(x, (6, 4)).sum() == x.sum()  # as transformers puts it
    assert (centre(x, (6, 4), rounded=True)[1:4] == 1).all()  # as torchvision does


def test_cut_is_row_by_row():
    x = np.arange(4 * 6 * 3).reshape(4, 6, 3)
    tiles = cut(x, 2, 3)
    assert tiles.shape == (6, 2, 2, 3) and (tiles[4] == x[2:4, 2:4]).all()


@pytest.mark.parametrize("kind", SETTINGS)
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (2, 3)])
def test_the_smallest_pictures_are_seen(kind, size):
    x = processor(kind)([picture(*size)]).arrays["pixels"]
    assert np.isfinite(x).all()


def test_files_are_read_as_they_are_shown(tmp_path):
    x = picture(8, 12)
    image = Image.fromarray(x)
    exif = image.getexif()
    exif[0x0112] = 6  # turned by 90 degrees
    image.save(tmp_path / "turned.png", exif=exif)
    assert (read(tmp_path / "turned.png") == np.rot90(x, -1)).all()
    Image.fromarray(x[..., 0]).save(tmp_path / "grey.png")
    assert read(tmp_path / "grey.png").shape == (8, 12, 3)


def test_pixels_of_sixteen_bits_are_scaled_and_numbers_without_a_scale_refused(tmp_path):
    deep = np.linspace(0, 65535, 64, dtype=np.uint16).reshape(8, 8)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    assert (read(tmp_path / "deep.png") == (deep >> 8)[..., None]).all()
    Image.fromarray(deep.astype(np.float32)).save(tmp_path / "numbers.tiff")
    with pytest.raises(mlxworld.MlxworldError, match="none is white"):
        read(tmp_path / "numbers.tiff")


@pytest.mark.filterwarnings("error")
def test_transparency_is_left_out_without_a_word(tmp_path):
    palette = Image.fromarray(picture(8, 8)).convert("P")
    palette.save(tmp_path / "palette.png", transparency=b"\x00\x10")
    assert (read(tmp_path / "palette.png") == np.array(palette.convert("RGB"))).all()
    clear = np.concatenate([picture(8, 8), np.zeros((8, 8, 1), np.uint8)], axis=2)
    Image.fromarray(clear).save(tmp_path / "clear.png")
    assert (read(tmp_path / "clear.png") == picture(8, 8)).all()


def test_broken_files_are_one_line(tmp_path):
    (tmp_path / "text.png").write_text("no picture")
    Image.fromarray(picture(64, 64)).save(tmp_path / "whole.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:3000])
    for name in ("absent.png", "text.png", "cut.png", "."):
        with pytest.raises(mlxworld.MlxworldError) as error:
            read(tmp_path / name)
        assert "\n" not in str(error.value) and str(tmp_path) in str(error.value)


BAD = [
    ({"size": "large"}, "no square of at most 16384 pixels: 'large'"),
    ({"size": {"height": 3, "width": 4}}, "no square"),
    ({"size": -4}, "no square"),
    ({"size": {"shortest_edge": 10**9}}, "no square"),
    ({"image_mean": 3}, "settings cannot be read"),
    ({"image_mean": [0.5]}, "no three numbers"),
    ({"image_mean": [float("nan")] * 3}, "image_mean .*nan"),
    ({"image_std": [0, 1, 1]}, "image_std"),
    ({"resample": 9}, "resample 9 is not read"),
    ({"do_rescale": False}, "without do_rescale"),
    ({"do_normalize": False}, "without do_normalize"),
    ({"rescale_factor": 1 / 127.5}, "rescale_factor"),
    ({"size": 28, "crop_size": 28}, "gives 28 pixels, the tower sees 42"),
]


@pytest.mark.parametrize(("settings", "message"), BAD)
def test_bad_settings_are_one_line(tmp_path, settings, message):
    (tmp_path / "config.json").write_text(json.dumps(CONFIGS["clip"]))
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(settings))
    with pytest.raises(mlxworld.MlxworldError, match=message):
        load(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text("[1]")
    with pytest.raises(mlxworld.MlxworldError, match="no settings"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("family", "settings", "message"),
    [
        ("qwen2_vl", {"min_pixels": 10**7, "max_pixels": 10}, "max_pixels is 10: 10000000 to"),
        ("qwen2_vl", {"min_pixels": 10**12}, "min_pixels is 1000000000000"),
        ("llava_next", {"image_grid_pinpoints": [[30, 31]]}, "no multiples of 28"),
        ("llava_next", {"image_grid_pinpoints": [[0, 28]]}, "no multiples of 28"),
        ("mllama", {"max_image_tiles": 9}, "max_image_tiles is 9"),
        ("internvl", {"max_patches": 10**6}, "number of tiles is 1000000"),
        ("internvl", {"min_patches": 9, "max_patches": 2}, "least number of tiles is 9"),
    ],
)
def test_sizes_that_no_picture_has(family, settings, message):
    with pytest.raises(mlxworld.MlxworldError, match=message):
        of(CONFIGS[family], {**SETTINGS[family], **settings})


@pytest.mark.parametrize("family", ["clip", "dinov2", "qwen2_vl"])
def test_a_thin_picture_is_refused_where_its_ratio_is_kept(family):
    with pytest.raises(mlxworld.MlxworldError, match="1 x 5000 is too thin: at most 200 to 1"):
        processor(family)([np.zeros((1, 5000, 3), np.uint8)])
    assert processor("siglip")([np.zeros((1, 5000, 3), np.uint8)]).arrays["pixels"].shape[1] == 56


@pytest.mark.parametrize(
    "x",
    [
        np.zeros((0, 5, 3), np.uint8),
        np.zeros((5, 5, 4), np.uint8),
        np.zeros((5, 5), np.uint8),
        np.zeros((5, 5, 3)),
        [[1]],
    ],
)
def test_what_is_no_picture(x):
    with pytest.raises(mlxworld.MlxworldError, match="a picture is uint8"):
        require(x)
    require(np.zeros((1, 1, 3), np.uint8))
    require(np.zeros((2, 1, 1, 3), np.uint8))


def test_an_unknown_model_is_named():
    with pytest.raises(mlxworld.MlxworldError, match="'bert' has no image processor"):
        of({"model_type": "bert"}, {})


FILM = {"shortest_edge": 28 * 28, "longest_edge": 28 * 28 * 8}


def test_newer_files_of_settings_are_read(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(CONFIGS["qwen2_vl"]))
    newer = {"image_processor": SETTINGS["qwen2_vl"], "video_processor": {"size": FILM}}
    (tmp_path / "processor_config.json").write_text(json.dumps(newer))
    process: Any = load(tmp_path)
    assert process([picture(400, 400)]).tokens == processor("qwen2_vl")([picture(400, 400)]).tokens
    film = process.video(np.stack([picture(400, 400)] * 2))
    assert film.tokens[0] <= 8
