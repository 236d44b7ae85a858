"""Vision parts of the oracles' tiny checkpoints, as their references have them.

They are in tests/oracles; MLXWORLD_ORACLES names another folder of them.
"""

import importlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from mlxworld import images
from mlxworld.files.layouts import open_clip, vision
from mlxworld.files.names import to_ours
from mlxworld.files.tensor_file import TensorFile

ORACLES = os.environ.get("MLXWORLD_ORACLES") or str(Path(__file__).parents[2] / "oracles")


def arrays(path: Path) -> dict[str, np.ndarray]:
    return {name: entry.read() for name, entry in TensorFile(path).entries.items()}


def reference(family: str) -> dict[str, np.ndarray]:
    return arrays(Path(ORACLES, family, "reference", "reference.safetensors"))


def checkpoint(family: str) -> dict[str, np.ndarray]:
    name = "open_clip_model.safetensors" if family == "biomedclip" else "model.safetensors"
    return arrays(Path(ORACLES, family, name))


def published(family: str) -> dict[str, Any]:
    """config.json, the sizes that the tiny checkpoints have in place of a code's defaults put where ours looks."""
    name = "open_clip_config.json" if family == "biomedclip" else "config.json"
    config = json.loads(Path(ORACLES, family, name).read_text())
    if family == "biomedclip":
        for part in ("vision_cfg", "text_cfg"):
            config["model_cfg"][part]["sizes"] = config["model_cfg"][part].pop("tiny")
    elif family == "molmo":
        config["vision_config"] = config.pop("tiny")
    elif family == "phi3_v":
        config["vision_config"] = config["img_processor"].pop("tiny")
    return config


def net(backend, family: str, change=lambda cfg: cfg) -> Any:
    """The vision part with the checkpoint's weights, on a backend; `change` plants a fault in its configuration."""
    models = importlib.import_module(f"{backend.__name__}.models.vision_language.{_file(family)}")
    config = published(family)
    if family == "biomedclip":
        cfg, table = open_clip.config(config), open_clip.table({})
        model, weights = models.DualEncoder(change(cfg)), checkpoint(family)
    else:
        cfg, table = vision.config(config), vision.table(config, "vision")
        model, weights = models.Vision(change(cfg)), checkpoint(family)
        weights = {name: x for name, x in weights.items() if not _text(name)}
    ours = {name.removeprefix("vision."): x for name, x in to_ours(weights, table, family).items()}
    backend.engine.place(model)
    backend.engine.load_parameters(model, ours, family)
    return model


def _file(family):
    return "dual" if family == "biomedclip" else "vision"


def _text(name):
    """Whether an array belongs to the decoder: of no interest here."""
    parts = ("language_model.", "lm_head.", "model.embed_tokens", "model.norm", "model.layers.", "model.transformer.")
    return name.startswith(parts) or name.startswith("model.gated_cross_attn_layers.")


def last(x: np.ndarray) -> np.ndarray:
    """Channels first, as published, to channels last: of the axes (..., 3, H, W)."""
    return np.ascontiguousarray(np.moveaxis(x, -3, -1))


def rows(patches: np.ndarray, grids, merge: int = 2, frames: int = 2, patch: int = 14) -> np.ndarray:
    """Qwen2-VL's patches, square after square and channels first, as ours: in reading order and channels last."""
    ours, first = [], 0
    for t, h, w in grids:
        x = patches[first : first + t * h * w]
        x = x.reshape(t, h // merge, w // merge, merge, merge, 3, frames, patch, patch)
        ours.append(x.transpose(0, 1, 3, 2, 4, 6, 7, 8, 5).reshape(t * h * w, -1))
        first += t * h * w
    return np.concatenate(ours)


def anyres_layout(sizes, grid_of, side):
    """LLaVA-NeXT's layout of pictures, from their sizes, by the definition of unpadding."""
    layout = []
    for (height, width), (rows_, columns) in zip(sizes, grid_of, strict=True):
        H, W = rows_ * side, columns * side
        if width / height > W / H:
            pad = (H - int(round(height * W / width, 7))) // 2
            layout.append((rows_, columns, pad, H - pad, 0, W))
        else:
            pad = (W - int(round(width * H / height, 7))) // 2
            layout.append((rows_, columns, 0, H, pad, W - pad))
    return tuple(layout)


def phi3_pages(number: int) -> tuple[np.ndarray, tuple[tuple[int, ...], ...]]:
    """The pixels of picture `number` of Phi-3-Vision's reference and their layout, by our processor: the reference
    keeps every eighth pixel of its own, see keep.py."""
    prepared = images.of(published("phi3_v"), {"num_crops": 2})([reference("phi3_v")[f"image.{number}"]])
    return prepared.arrays["pixels"], prepared.layout


def molmo_order(index: np.ndarray) -> np.ndarray:
    """image_input_idx (tiles, tokens) of one picture -> which of the flat tokens comes next in the prompt."""
    flat = index.reshape(-1)
    places = np.nonzero(flat >= 0)[0]
    return places[np.argsort(flat[places], kind="stable")].astype(np.int32)
