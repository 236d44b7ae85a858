"""Folders of towers alone and of a picture and a text encoder: read under published and newer names, or refused."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import mlxworld
from mlxworld.errors import MlxworldError
from mlxworld.files import checkpoint, pretrained
from mlxworld.files.layouts import open_clip
from mlxworld.images import load
from tests.images.cases import picture
from tests.models.vision_language.oracle_vision import ORACLES, arrays, last, published, reference


def folder_of(family, tmp_path, newer=False):
    """A copy of an oracle's folder whose configuration says the sizes where the product looks for them."""
    out = tmp_path / family
    shutil.copytree(Path(ORACLES, family), out)
    name = open_clip.FILE if family == "biomedclip" else "config.json"
    (out / name).write_text(json.dumps(published(family)))
    if newer:
        names = {"query": "q_proj", "key": "k_proj", "value": "v_proj"}
        weights = arrays(out / "model.safetensors")
        renamed = {}
        for name, x in weights.items():
            for old, new in names.items():
                name = name.replace(f"attention.attention.{old}.", f"attention.{new}.")
            renamed[name.replace("attention.output.dense.", "attention.o_proj.")] = x
        checkpoint.save(out / "model.safetensors", renamed)
        assert set(renamed) == set(json.loads((Path(ORACLES, family) / "native" / "names.json").read_text()))
    return out


@pytest.mark.parametrize("newer", [False, True])
def test_dinov2_under_both_of_its_names(backend, tmp_path, newer):
    loaded = pretrained.load(folder_of("dinov2", tmp_path, newer), backend, "float32")
    r = reference("dinov2")
    with backend.engine.inference():
        y = loaded.model({"pixels": backend.engine.array(last(r["in.pixel_values"]))})
    assert np.abs(backend.engine.numpy(y) - r["last_hidden_state"]).max() < 1e-4


def test_a_picture_and_a_text_encoder(backend, tmp_path):
    loaded = pretrained.load(folder_of("biomedclip", tmp_path), backend, "float32")
    r = reference("biomedclip")
    with backend.engine.inference():
        pixels = backend.engine.array(last(r["in.pixel_values"]))
        y = loaded.model(pixels, backend.engine.array(r["in.input_ids"].astype(np.int32)))
    assert np.abs(backend.engine.numpy(y) - r["logits"]).max() < 1e-4


@pytest.mark.parametrize("family", ["clip", "siglip"])
def test_clip_and_siglip(backend, family):
    loaded = pretrained.load(Path(ORACLES, family), backend, "float32")
    r, model, engine = arrays(Path(ORACLES, family, "reference", "reference.safetensors")), loaded.model, backend.engine
    pixels, ids = engine.array(last(r["in.pixel_values"])), engine.array(r["in.input_ids"].astype(np.int32))
    with engine.inference():
        given = {
            "image_features": model.pictures(pixels),
            "text_features": model.texts(ids),
            "logits": model(pixels, ids),
        }
    for name, y in given.items():
        assert np.abs(engine.numpy(y) - r[name]).max() < 1e-4, name


@pytest.mark.parametrize("family", ["clip", "siglip"])
def test_their_towers_alone(backend, tmp_path, family):
    """As folders that hold the picture encoder alone, whose head is of no use there."""
    config = json.loads(Path(ORACLES, family, "config.json").read_text())["vision_config"]
    (tmp_path / "config.json").write_text(json.dumps({**config, "model_type": f"{family}_vision_model"}))
    weights = arrays(Path(ORACLES, family, "model.safetensors"))
    checkpoint.save(tmp_path / "model.safetensors", {n: x for n, x in weights.items() if n.startswith("vision_model.")})
    loaded, whole = (pretrained.load(folder, backend, "float32") for folder in (tmp_path, Path(ORACLES, family)))
    pixels = backend.engine.array(np.random.default_rng(0).normal(size=(2, 28, 28, 3)).astype(np.float32))
    with backend.engine.inference():
        tokens, pair = loaded.model({"pixels": pixels}), whole.model
        is_clip = family == "clip"  # whose last norm and matrix are the pair's
        first = pair.picture_out(pair.tower.post_norm(tokens[:, 0])) if is_clip else pair.picture_head(tokens)
        ours, theirs = backend.engine.numpy([first, pair.pictures(pixels)])
    assert np.abs(ours / np.linalg.norm(ours, axis=-1, keepdims=True) - theirs).max() < 1e-5


def test_the_processor_of_a_tower_is_found(tmp_path):
    folder = folder_of("dinov2", tmp_path)
    (folder / "preprocessor_config.json").write_text(json.dumps({"size": 64, "crop_size": 56}))
    assert load(folder)([picture(100, 80)]).arrays["pixels"].shape == (1, 56, 56, 3)


def test_what_is_wrong_is_named(tmp_path):
    torch, folder = mlxworld.on("torch"), folder_of("biomedclip", tmp_path)
    weights = arrays(folder / open_clip.WEIGHTS)
    checkpoint.save(folder / open_clip.WEIGHTS, {n: x for n, x in weights.items() if n != "visual.trunk.pos_embed"})
    with pytest.raises(MlxworldError, match=r"tower.positions is missing"):
        pretrained.load(folder, torch)
    checkpoint.save(folder / open_clip.WEIGHTS, {**weights, "visual.trunk.other": np.zeros(3)})
    with pytest.raises(MlxworldError, match=r"no place here: 'visual.trunk.other'"):
        pretrained.load(folder, torch)
    (folder / open_clip.WEIGHTS).unlink()
    with pytest.raises(MlxworldError, match=r"open_clip_model\.safetensors"):
        pretrained.load(folder, torch)
    (folder / open_clip.FILE).write_text("[]")
    with pytest.raises(MlxworldError, match="not the configuration"):
        pretrained.load(folder, torch)
    (folder / open_clip.FILE).write_text("{}")
    with pytest.raises(MlxworldError, match="no configuration of 'open_clip'"):
        pretrained.load(folder, torch)
