"""Every tower and projector against the independent implementation that made its reference, on both backends."""

from dataclasses import replace

import numpy as np
import pytest

import mlxworld
from tests.models.vision_language.oracle_vision import (
    anyres_layout,
    checkpoint,
    last,
    molmo_order,
    net,
    phi3_pages,
    reference,
    rows,
)

LIMIT = 1e-4  # absolute, of outputs around 1


def given(family):
    """(arrays, layout, what the reference says of them, flat)."""
    r = reference(family)
    if family == "llava_next":
        p, tiles = r["in.pixel_values"], (4, 5, 4)  # tiles that are there; the rest of the batch is padding
        pixels = np.concatenate([last(x[:n]) for x, n in zip(p, tiles, strict=True)])
        layout = anyres_layout(r["in.image_sizes"].tolist(), [(1, 3), (2, 2), (3, 1)], 2)
        return {"pixels": pixels}, layout, r["hidden.0"][r["in.input_ids"] == 300]
    if family == "qwen2_vl":
        pictures, films = r["in.image_grid_thw"].tolist(), r["in.video_grid_thw"].tolist()
        pixels = [rows(r["in.pixel_values"], pictures), rows(r["in.pixel_values_videos"], films)]
        expected = np.concatenate([r["module.visual.0"], r["module.visual.1"]])
        return {"pixels": np.concatenate(pixels)}, tuple(map(tuple, pictures + films)), expected
    if family == "mllama":
        shapes, mask = r["in.aspect_ratio_ids"][:, 0].astype(np.int32), r["in.aspect_ratio_mask"][:, 0]
        arrays = {"pixels": last(r["in.pixel_values"])[:, 0], "shape_ids": shapes, "tile_mask": mask.astype(np.float32)}
        return arrays, (), r["module.multi_modal_projector.0"].reshape(2, -1, 48)
    if family == "idefics":
        return {"pixels": last(r["in.pixel_values"])[:, 0]}, (), r["module.perceiver_resampler.0"]
    if family == "dinov2":
        return {"pixels": last(r["in.pixel_values"])}, (), r["last_hidden_state"]
    if family == "phi3_v":
        (first, layout), (second, more) = phi3_pages(0), phi3_pages(1)
        pixels = np.concatenate([first, second])
        return {"pixels": pixels}, layout + more, np.concatenate([r[f"{i}.image_features"] for i in (0, 1)])
    expected = r["module.multi_modal_projector.0"]
    return {"pixels": last(r["in.pixel_values"])}, (), expected.reshape(-1, expected.shape[-1])


def seen(backend, family, change=lambda cfg: cfg):
    arrays, layout, expected = given(family)
    model = net(backend, family, change)
    with backend.engine.inference():
        y = backend.engine.numpy(model({k: backend.engine.array(v) for k, v in arrays.items()}, layout))
    return y, expected


FAMILIES = ["llava", "llava_next", "gemma3", "qwen2_vl", "nvlm_d", "phi3_v", "mllama", "idefics", "dinov2"]


@pytest.mark.parametrize("family", FAMILIES)
def test_tower_and_projector_are_the_published_ones(backend, family):
    y, expected = seen(backend, family)
    assert y.shape == expected.shape and np.abs(expected).max() > 0.5
    assert np.abs(y - expected).max() < LIMIT


def test_both_backends_give_the_same():
    for family in FAMILIES:
        ours, theirs = (seen(mlxworld.on(name), family)[0] for name in ("mlx", "torch"))
        assert np.abs(ours - theirs).max() / np.abs(theirs).max() < 1e-5, family


@pytest.mark.parametrize("number", [0, 1])
def test_molmo_adds_its_tokens_to_the_placeholders(backend, number):
    """Crops, attention pooling and learned padding, in the order of the prompt."""
    r = {k.partition(".")[2]: v for k, v in reference("molmo").items() if k.startswith(f"{number}.")}
    pixels = r["pixel_values"].reshape(-1, 8, 8, 14, 14, 3).swapaxes(2, 3).reshape(-1, 112, 112, 3)
    index = r["image_input_idx"]
    arrays = {"pixels": np.ascontiguousarray(pixels), "shown": r["image_masks"], "order": molmo_order(index)}
    with backend.engine.inference():
        y = backend.engine.numpy(net(backend, "molmo")({k: backend.engine.array(v) for k, v in arrays.items()}))
    words = _molmo_words(r["input_ids"])
    expected = (r["embeddings"][0] - words)[np.sort(index[index >= 0])]
    assert y.shape == expected.shape and np.abs(expected).max() > 0.5
    assert np.abs(y - expected).max() < LIMIT


def _molmo_words(ids):
    table = checkpoint("molmo")
    table = np.concatenate([table[f"model.transformer.wte.{name}"] for name in ("embedding", "new_embedding")])
    return table[ids]


def test_a_picture_and_a_text_side_by_side(backend):
    r, model, engine = reference("biomedclip"), net(backend, "biomedclip"), backend.engine
    pixels, ids = engine.array(last(r["in.pixel_values"])), engine.array(r["in.input_ids"].astype(np.int32))
    assert (r["in.input_ids"] == 0).any()  # a padded row
    with engine.inference():
        given = {
            "image_features": model.pictures(pixels),
            "text_features": model.texts(ids),
            "logits": model(pixels, ids),
        }
    for name, y in given.items():
        assert np.abs(engine.numpy(y) - r[name]).max() < LIMIT, name


def block(**settings):
    """A change of the tower's block alone."""
    return lambda cfg: replace(cfg, tower=replace(cfg.tower, block=replace(cfg.tower.block, **settings)))


def tower(**settings):
    return lambda cfg: replace(cfg, tower=replace(cfg.tower, **settings))


def resampler(**settings):
    return lambda cfg: replace(cfg, resampler=replace(cfg.resampler, block=replace(cfg.resampler.block, **settings)))


def projector(**settings):
    return lambda cfg: replace(cfg, projector=replace(cfg.projector, **settings))


FAULTS = {
    "llava: GELU for its quick form": ("llava", block(act="gelu")),
    "llava: the epsilon of a norm": ("llava", block(eps=1e-2)),
    "llava: the MLP's activation": ("llava", projector(act="quick_gelu")),
    "gemma3: GELU for its tanh form": ("gemma3", block(act="gelu")),
    "gemma3: a norm that is not 1 + weight": ("gemma3", projector(norm_kind="rms")),
    "gemma3: a norm before the mean": ("gemma3", projector(norm="before")),
    "nvlm_d: heads normed one by one": ("nvlm_d", block(qk_norm="each")),
    "nvlm_d: pixel shuffle's first version": ("nvlm_d", projector(transposed=True)),
    "dinov2: the authors' positions": ("dinov2", tower(resize="offset")),
    "dinov2: timm's positions": ("dinov2", tower(resize="antialias")),
    "mllama: all of another tile's layers": ("mllama", tower(taps=(2, 3))),
    "idefics: the perceiver's activation": ("idefics", resampler(act="gelu")),
    "idefics: one class token less": ("idefics", tower(keep="patches")),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_seen(fault):
    family, change = FAULTS[fault]
    y, expected = seen(mlxworld.on("torch"), family, change)
    assert y.shape != expected.shape or np.abs(y - expected).max() > 5 * LIMIT


def _columns_first(x, side):
    n, h, w, C = x.shape
    x = x.reshape(n, h // side, side, w // side, side, C).swapaxes(2, 3).swapaxes(3, 4)
    return x.reshape(n, h // side, w // side, side * side, C)


CODE = {
    "rows alone turn": ("qwen2_vl", "tower", "rope.by_section", lambda angles, sections: angles[:, 0]),
    "padding sees padding": ("mllama", "tiles", "TiledTower._mask", lambda self, *given: None),
    "tiles one after another": (
        "llava_next",
        "packing",
        "page",
        lambda tiles, rows, columns: tiles.reshape(rows * tiles.shape[1], -1, tiles.shape[-1]),
    ),
    "no end of a line": ("llava_next", "packing", "lines", lambda grid, end: grid.reshape(-1, grid.shape[-1])),
    "columns before rows": ("nvlm_d", "projector", "squares", _columns_first),
    "columns before rows, too": ("phi3_v", "projector", "squares", _columns_first),
}


@pytest.mark.parametrize("fault", CODE)
def test_a_fault_planted_in_the_code_is_seen(monkeypatch, fault):
    family, file, name, faulty = CODE[fault]
    backend = mlxworld.on("torch")
    monkeypatch.setattr(f"{backend.__name__}.models.vision_language.{file}.{name}", faulty)
    y, expected = seen(backend, family)
    assert y.shape != expected.shape or np.abs(y - expected).max() > 5 * LIMIT
