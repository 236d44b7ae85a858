"""Processors whose published form is no class of transformers, and whole folders, against the oracles' references."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlxworld.images import load, of
from mlxworld.images.pixels import resize
from tests.models.vision_language.oracle_vision import (
    ORACLES,
    anyres_layout,
    last,
    molmo_order,
    published,
    reference,
    rows,
)


def images(r):
    return [r[name] for name in sorted(r) if name.startswith("image.")]


def close(ours, theirs, limit=1e-5):
    assert ours.shape == theirs.shape and np.abs(ours - theirs).max() < limit


def test_llava():
    r = reference("llava")
    prepared = load(Path(ORACLES, "llava"))(images(r))
    close(prepared.arrays["pixels"], last(r["in.pixel_values"]))
    assert prepared.pieces == [(4,)] * 3


def test_llava_next():
    r = reference("llava_next")
    prepared = load(Path(ORACLES, "llava_next"))(images(r))
    theirs = np.concatenate([last(x[:n]) for x, n in zip(r["in.pixel_values"], (4, 5, 4), strict=True)])
    close(prepared.arrays["pixels"], theirs)
    assert prepared.tokens == [14, 24, 22]
    assert prepared.layout == anyres_layout(r["in.image_sizes"].tolist(), [(1, 3), (2, 2), (3, 1)], 2)


def test_qwen2_vl():
    r, process = reference("qwen2_vl"), load(Path(ORACLES, "qwen2_vl"))
    pictures, grids = [r["image.0"], r["image.1"]], r["in.image_grid_thw"].tolist()
    prepared = process(pictures)
    close(prepared.arrays["pixels"], rows(r["in.pixel_values"], grids))
    assert prepared.layout == tuple(map(tuple, grids))
    film: Any = of(published("qwen2_vl"), {"video": {"min_pixels": 28 * 28, "max_pixels": 28 * 28 * 12}})
    g = np.random.default_rng(1)  # the film's frames, made as the oracle makes them
    small = [g.integers(0, 256, (7, 10, 3), dtype=np.uint8) for _ in range(5)]
    shown = film.video(np.stack([resize(x, (56, 84), "bicubic") for x in small]))
    close(shown.arrays["pixels"], rows(r["in.pixel_values_videos"], r["in.video_grid_thw"].tolist()))


def test_gemma3():
    r = reference("gemma3")
    prepared = load(Path(ORACLES, "gemma3"))(images(r))
    close(prepared.arrays["pixels"], last(r["in.pixel_values"]))
    assert prepared.tokens == [12, 4]


def test_mllama():
    r = reference("mllama")
    prepared = load(Path(ORACLES, "mllama"))(images(r))
    close(prepared.arrays["pixels"], last(r["in.pixel_values"])[:, 0])
    assert (prepared.arrays["shape_ids"] == r["in.aspect_ratio_ids"][:, 0]).all()
    assert (prepared.arrays["tile_mask"] == r["in.aspect_ratio_mask"][:, 0]).all()


@pytest.mark.parametrize("number", [0, 1])
def test_phi_3_vision(number):
    r = reference("phi3_v")
    prepared = of(published("phi3_v"), {"num_crops": 2})([r[f"image.{number}"]])
    close(prepared.arrays["pixels"][:, ::8, ::8], last(r[f"{number}.pixel_values"]), 5e-5)  # what keep.py keeps
    assert prepared.tokens == [len(r[f"{number}.image_features"])]
    assert prepared.layout == (tuple((r[f"{number}.image_size"] // 336).tolist()),)


@pytest.mark.parametrize("number", [0, 1])
def test_molmo(number):
    """The port behind this reference resizes in bytes; the published code, and ours, in numbers: within two bytes."""
    r = {k.partition(".")[2]: v for k, v in reference("molmo").items() if k.startswith(f"{number}.")}
    settings = {"max_crops": 4, "overlap_margins": [2, 2]}
    prepared = of(published("molmo"), settings)([reference("molmo")[f"image.{number}"]])
    theirs = r["pixel_values"].reshape(-1, 8, 8, 14, 14, 3).swapaxes(2, 3).reshape(-1, 112, 112, 3)
    close(prepared.arrays["pixels"], theirs, 2 / 255 / 0.26)
    assert np.abs(prepared.arrays["pixels"] - theirs).mean() < 0.6 / 255 / 0.26
    close(prepared.arrays["shown"], r["image_masks"])
    assert (prepared.arrays["order"] == molmo_order(r["image_input_idx"])).all()
    names = {"<im_start>": 312, "<im_end>": 313, "<im_col>": 311}
    ids = []
    for piece in prepared.pieces[0]:
        ids += [310] * piece if isinstance(piece, int) else [names[f"<{w}"] for w in piece.split("<")[1:]]
    assert ids == r["input_ids"][1 : 1 + len(ids)].tolist()  # after the first token, before the words
    assert len(ids) + 6 == len(r["input_ids"])
