"""Pixels, tokens and shapes against the published processors' own answers over random sizes (`write.py`)."""

from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlxworld.images import of
from mlxworld.images.load import biomedclip
from mlxworld.images.pixels import bicubic_plain, centre, resize_float, shortest_edge
from tests.images.cases import SETTINGS, picture, sizes, told
from tests.models.vision_language.oracle_vision import molmo_order

PUBLISHED = dict(np.load(Path(__file__).parent / "published.npz"))
VIT = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "patch_size": 14}
TEXT = {"hidden_size": 16, "intermediate_size": 32}
QWEN = {"depth": 2, "embed_dim": 32, "num_heads": 2, "mlp_ratio": 2}
DINO = {**VIT, "image_size": 56, "mlp_ratio": 2, "layer_norm_eps": 1e-6, "hidden_act": "gelu", "qkv_bias": True}
MLLAMA = {**VIT, "image_size": 56, "attention_heads": 2, "intermediate_layers_indices": [0]}
CONFIGS = {
    "clip": {"model_type": "llava", "vision_config": {**VIT, "image_size": 42}, "text_config": TEXT},
    "llava_square": {"model_type": "llava", "vision_config": {**VIT, "image_size": 42}, "text_config": TEXT},
    "siglip": {"model_type": "siglip_vision_model", **VIT, "image_size": 56},
    "dinov2": {"model_type": "dinov2", **DINO},
    "llava_next": {"model_type": "llava_next", "vision_config": {**VIT, "image_size": 28}, "text_config": TEXT},
    "qwen2_vl": {"model_type": "qwen2_vl", "hidden_size": 16, "vision_config": QWEN},
    "gemma3": {
        "model_type": "gemma3",
        "vision_config": {**VIT, "image_size": 56},
        "text_config": TEXT,
        "mm_tokens_per_image": 4,
    },
    "internvl": {"model_type": "internvl", "vision_config": {**VIT, "image_size": 56}, "text_config": TEXT},
    "mllama": {"model_type": "mllama", "vision_config": MLLAMA, "text_config": TEXT},
    "idefics": {"model_type": "idefics", "vision_config": {**VIT, "image_size": 56}},
}
STD = {"siglip": (0.5,) * 3, "gemma3": (0.5,) * 3, "mllama": (0.5,) * 3}  # the published classes' own defaults


def processor(kind) -> Any:
    settings = {"image_mean": [0.48145466, 0.4578275, 0.40821073], "image_std": [0.26862954, 0.26130258, 0.27577711]}
    if kind in STD:
        settings = {"image_mean": list(STD[kind]), "image_std": list(STD[kind])}
    name = "LlavaImageProcessor" if kind == "llava_square" else ""
    return of(CONFIGS[kind], {**settings, "image_processor_type": name, **SETTINGS[kind]})


def pixels(kind, prepared):
    """(n, H, W, 3), whatever the model is given."""
    x = prepared.arrays["pixels"]
    if kind == "qwen2_vl":
        _, h, w = prepared.layout[0]
        x = x.reshape(h, w, 2, 14, 14, 3)
        assert (x[:, :, 0] == x[:, :, 1]).all()
        x = x[:, :, 0].swapaxes(1, 2).reshape(1, h * 14, w * 14, 3)
    return x.reshape(-1, *x.shape[-3:])


@pytest.mark.parametrize("kind", SETTINGS)
def test_pixels_are_the_published_ones(kind):
    process = processor(kind)
    for i, (h, w) in enumerate(sizes(kind)):
        prepared = process([picture(h, w)])
        x = pixels(kind, prepared)
        n, c, *size = PUBLISHED[f"{kind}.{i}.shape"]
        if kind == "mllama":
            assert prepared.arrays["shape_ids"] == PUBLISHED[f"{kind}.{i}.aspect_ratio_ids"][0]
            assert (prepared.arrays["tile_mask"] == PUBLISHED[f"{kind}.{i}.aspect_ratio_mask"][0]).all()
        if kind == "gemma3":
            assert len(x) == 1 + PUBLISHED[f"{kind}.{i}.num_crops"][0]
        assert x.dtype == np.float32 and x.shape == (n, *size, c), (h, w)
        assert np.abs(told(x) - PUBLISHED[f"{kind}.{i}.told"]).max() < 1e-5, (h, w)


def test_molmo_over_random_sizes():
    """Crops, tokens, their order and how much of a patch is seen; pixels: test_oracles."""
    config = {"model_type": "molmo", "hidden_size": 16, "intermediate_size": 32}
    config["vision_config"] = {"image_default_input_size": [112, 112]}
    process = of(config, {"max_crops": 4, "overlap_margins": [2, 2]})
    names = {"<im_patch>": 0, "<im_col>": 1, "<im_start>": 2, "<im_end>": 3}
    for i, size in enumerate(sizes("molmo")):
        if f"molmo.{i}.shape" not in PUBLISHED:  # the published one breaks down, ours keeps a row
            assert min(size) == 2 and np.isfinite(process([picture(*size)]).arrays["pixels"]).all()
            continue
        r = {name: PUBLISHED[f"molmo.{i}.{name}"] for name in ("shape", "tokens", "index", "masks")}
        prepared = process([picture(*size)])
        assert len(prepared.arrays["pixels"]) == r["shape"][0]
        assert np.abs(prepared.arrays["shown"] - r["masks"]).max() < 1e-6
        assert (prepared.arrays["order"] == molmo_order(r["index"])).all()
        words = [
            [0] * p if isinstance(p, int) else [names[f"<{w}"] for w in p.split("<")[1:]] for p in prepared.pieces[0]
        ]
        assert list(chain(*words)) == r["tokens"].tolist()


CLIP_336 = {**VIT, "image_size": 336}
TABLE = {  # height and width: tokens and sizes at published scale
    (336, 336): {"next": 1177, "grid": (24, 24), "qwen": 144, "gemma": 0, "molmo": (2, 316)},
    (480, 640): {"next": 2341, "grid": (34, 46), "qwen": 391, "gemma": 2, "molmo": (7, 740)},
    (333, 1001): {"next": 2329, "grid": (24, 72), "qwen": 432, "gemma": 3, "molmo": (5, 604)},
    (1001, 333): {"next": 2377, "grid": (72, 24), "qwen": 432, "gemma": 3, "molmo": (5, 628)},
    (37, 911): {"next": 723, "grid": (2, 66), "qwen": 33, "gemma": 0, "molmo": (2, 316)},
    (1080, 1920): {"next": 1949, "grid": (52, 94), "qwen": 1222, "gemma": 2, "molmo": (13, 1196)},
}


@pytest.mark.parametrize("size", TABLE)
def test_tokens_at_published_scale(size):
    expected, x = TABLE[size], [picture(*size)]
    for strategy, class_token in (("full", 1), ("default", 0)):  # the table counts the class token
        config = {**CONFIGS["llava_next"], "vision_config": CLIP_336, "image_grid_pinpoints": PINPOINTS}
        settings = {"size": {"shortest_edge": 336}, "crop_size": {"height": 336, "width": 336}}
        next_ = of({**config, "vision_feature_select_strategy": strategy}, settings)(x)
        assert next_.tokens == [expected["next"] - 1 + class_token]
    qwen = of(CONFIGS["qwen2_vl"], {"min_pixels": 3136, "max_pixels": 1003520})(x)
    assert qwen.tokens == [expected["qwen"]] and qwen.layout == ((1, *expected["grid"]),)
    gemma = of({**CONFIGS["gemma3"], "vision_config": {**VIT, "image_size": 896}, "mm_tokens_per_image": 256}, PAN)(x)
    assert len(gemma.arrays["pixels"]) == 1 + expected["gemma"] and gemma.tokens == [256 * (1 + expected["gemma"])]
    molmo = of({"model_type": "molmo", "hidden_size": 16, "intermediate_size": 32}, {})(x)
    words = molmo.tokens[0] + sum(piece.count("<im_") for piece in molmo.pieces[0] if isinstance(piece, str))
    assert (len(molmo.arrays["pixels"]), words) == expected["molmo"]
    assert len(molmo.arrays["order"]) == molmo.tokens[0]
    llava = of({**CONFIGS["clip"], "vision_config": CLIP_336}, {"size": 336, "crop_size": 336})(x)
    assert llava.tokens == [576]


PINPOINTS = [[336, 672], [672, 336], [672, 672], [1008, 336], [336, 1008]]
PAN = {"do_pan_and_scan": True, "pan_and_scan_min_crop_size": 256, "pan_and_scan_max_num_crops": 4}


def test_phi_3_vision_counts_its_lines():
    process = of({"model_type": "phi3_v", "hidden_size": 16}, {"num_crops": 4})
    for size in [(100, 260), (300, 130), (400, 400), (50, 900)]:
        prepared = process([picture(*size)])
        (h, w), x = prepared.layout[0], prepared.arrays["pixels"]
        assert h * w <= 4 and len(x) == 1 + h * w
        assert prepared.tokens == [(h * w + 1) * 144 + 1 + (h + 1) * 12]
    assert process([picture(50, 900)]).layout == ((1, 4),)
    assert process([picture(900, 50)]).layout == ((4, 1),)


def test_nvlm_names_its_tiles():
    config = {"model_type": "NVLM_D", "llm_config": TEXT, "force_image_size": 448}
    config["vision_config"] = {**VIT, "image_size": 448}
    process = of(config, {})
    assert process([picture(100, 100)]).pieces == [("<Image><tile_global_thumbnail>", 256, "</Image>")]
    wide = process([picture(100, 210)])
    assert len(wide.arrays["pixels"]) == 3
    tags = ("<Image><tile_1>", 256, "<tile_2>", 256, "<tile_global_thumbnail>", 256, "</Image>")
    assert wide.pieces == [tags]


def test_gemma_tells_of_its_crops():
    process = of({**CONFIGS["gemma3"], "mm_tokens_per_image": 4}, {**PAN, "pan_and_scan_min_crop_size": 32})
    plain, long = process([picture(64, 64)]), process([picture(40, 200)])
    one = ("\n\n<start_of_image>", 4, "<end_of_image>\n\n")
    assert plain.pieces == [one] and long.tokens == [4 * 5]
    text = "".join(piece if isinstance(piece, str) else "*" * piece for piece in long.pieces[0])
    told = "".join(piece if isinstance(piece, str) else "*" * piece for piece in one)
    crops = " ".join([told] * 4)
    assert text == f"Here is the original image {told} and here are some crops to help you see better {crops}"


def test_several_pictures_follow_each_other():
    """As one by one, in arrays, layout and pieces; orders of Molmo's tokens count on."""
    pictures = [picture(*size) for size in [(37, 91), (64, 64), (120, 33)]]
    molmo = of({"model_type": "molmo", "hidden_size": 16, "intermediate_size": 32}, {})
    for process in [*(processor(kind) for kind in SETTINGS), molmo]:
        together, alone = process(pictures), [process([x]) for x in pictures]
        assert together.pieces == [p for x in alone for p in x.pieces]
        assert together.layout == tuple(entry for x in alone for entry in x.layout)
        for name in set(together.arrays) - {"order"}:
            assert (together.arrays[name] == np.concatenate([x.arrays[name] for x in alone])).all()
    first = len(molmo(pictures[:1]).arrays["pixels"]) * 12**2
    both = [molmo(pictures[:2]).arrays["order"], *(molmo([x]).arrays["order"] for x in pictures[:2])]
    assert (both[0] == np.concatenate([both[1], both[2] + first])).all()


def test_films_go_in_pairs_of_frames():
    frames = np.stack([picture(56, 84 + 0 * i) // (i + 1) for i in range(5)])
    film = processor("qwen2_vl").video(frames)
    assert film.layout[0][0] == 3 and film.tokens == [3 * film.layout[0][1] * film.layout[0][2] // 4]
    _, h, w = film.layout[0]
    x = film.arrays["pixels"].reshape(3, h * w, 2, -1)
    assert (x[2, :, 0] == x[2, :, 1]).all() and (x[0, :, 0] != x[0, :, 1]).any()  # the last is shown twice
    other = np.concatenate([frames, frames[-1:]])
    assert (processor("qwen2_vl").video(other).arrays["pixels"] == film.arrays["pixels"]).all()


def test_long_films_are_smaller():
    """A frame has at most 768 tokens' pixels, and all frames' pairs together what the budget says; but never less than
    1.05 times the least."""
    process: Any = of(CONFIGS["qwen2_vl"], {})
    for frames, budget, most in [(4, 115200, 768), (10, 115200, 768), (10, 1500, 300), (10, 100, 134.4)]:
        film = np.zeros((frames, 700, 1000, 3), np.uint8)
        t, h, w = replace(process, budget=budget).video(film).layout[0]
        assert t == frames // 2 and most * 0.85 < h * w / 4 <= most


def test_torch_resamples_alike():
    """Where Pillow on bytes is not what the published code runs: Phi-3-Vision's small page, Molmo's crops."""

    def bilinear(x, size):
        return resize_float(x, size, "bilinear")

    torch = pytest.importorskip("torch")
    x = np.random.default_rng(0).normal(size=(40, 61, 3)).astype(np.float32)
    for size in [(33, 33), (40, 61), (90, 20)]:
        for mode, antialias, ours in (("bicubic", False, bicubic_plain), ("bilinear", True, bilinear)):
            theirs = torch.nn.functional.interpolate(
                torch.tensor(x).permute(2, 0, 1)[None], size=size, mode=mode, antialias=antialias
            )[0].permute(1, 2, 0)
            y = ours(x, size)
            assert np.abs(y - theirs.numpy()).max() < 5e-5  # its weights are float32


def test_biomedclip_takes_the_middle_as_torchvision_does():
    """An odd border: torchvision rounds halves to even, transformers down."""
    x = picture(47, 44)
    assert shortest_edge(x, 44) == (47, 44)
    assert (centre(x, (44, 44)) == x[1:45]).all() and (centre(x, (44, 44), rounded=True) == x[2:46]).all()
    y = biomedclip(44)([x])
    assert y.arrays["pixels"].shape == (1, 44, 44, 3)
    mean, std = np.array([0.48145466, 0.4578275, 0.40821073]), np.array([0.26862954, 0.26130258, 0.27577711])
    assert np.abs(y.arrays["pixels"][0] - (x[2:46] / 255 - mean) / std).max() < 1e-5
