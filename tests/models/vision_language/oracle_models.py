"""Whole models of the oracles: their prompts and pictures as ours, and what their references say."""

import importlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mlxworld.files import pretrained
from mlxworld.files.names import to_ours
from mlxworld.text.generate import Pictures
from mlxworld.text.prompt import Arrays, attended, prompt

from .oracle_vision import (
    ORACLES,
    anyres_layout,
    checkpoint,
    last,
    molmo_order,
    phi3_pages,
    published,
    reference,
    rows,
)

IMAGE, VIDEO = 300, 301
FAMILIES = [
    "llava",
    "llava_next",
    "qwen2_vl",
    "gemma3",
    "mllama",
    "idefics",
    "phi3",
    "cohere",
    "nvlm_d",
    "phi3_v",
    "molmo",
]


@dataclass
class Case:
    """A batch, and the reference's answers: logits where mask is 1, greedy tokens, beams."""

    prompt: Arrays
    pictures: Pictures | None
    mask: np.ndarray
    logits: np.ndarray
    greedy: np.ndarray
    beam: np.ndarray | None = None
    beam_scores: np.ndarray | None = None
    end: int = -1


def load(backend, family: str, precision: str = "float32", change=lambda cfg: cfg) -> Any:
    """The model with the checkpoint's weights; `change` plants a fault in its configuration."""
    about = published(family)
    config = change(pretrained.our_config(about))
    layout = pretrained.types()[about["model_type"]]
    arrays = to_ours(checkpoint(family), layout.table(about), family)
    model = backend.engine.build(lambda: model_class(backend)(config))
    backend.engine.load_parameters(model, arrays, family, precision)
    return backend.engine.place(model)


def model_class(backend) -> Any:
    return importlib.import_module(f"{backend.__name__}.models.vision_language").Model


def cases(family: str) -> list[Case]:
    r = reference(family)
    if family in ("phi3_v", "molmo"):
        return [_alone(family, i, {k[2:]: v for k, v in r.items() if k.startswith(f"{i}.")}) for i in (0, 1)]
    mask = r["in.attention_mask"]
    ids = [row[seen == 1].tolist() for row, seen in zip(r["in.input_ids"], mask, strict=True)]
    said = json.loads(Path(ORACLES, family, "reference", "reference.json").read_text())
    arrays, pictures = _read(family, r, ids)
    answers = {name: r[name] for name in ("logits", "greedy", "beam", "beam_scores")}
    return [Case(arrays, pictures, mask, **answers, end=said["beam"]["eos_token_id"])]


def _read(family, r, ids) -> tuple[Arrays, Pictures | None]:
    if family in ("phi3", "cohere"):
        return prompt(ids), None
    if family == "llava_next":
        pixels = np.concatenate([last(x[:n]) for x, n in zip(r["in.pixel_values"], (4, 5, 4), strict=True)])
        layout = anyres_layout(r["in.image_sizes"].tolist(), [(1, 3), (2, 2), (3, 1)], 2)
        return prompt(ids, (IMAGE,)), Pictures({"pixels": pixels}, layout)
    if family == "qwen2_vl":
        (first, second), (film,) = r["in.image_grid_thw"].tolist(), r["in.video_grid_thw"].tolist()
        n = first[0] * first[1] * first[2]
        pictures = rows(r["in.pixel_values"], [first, second])  # in the order of the prompt: picture, film | picture
        pixels = np.concatenate([pictures[:n], rows(r["in.pixel_values_videos"], [film]), pictures[n:]])
        grids = (tuple(first), tuple(film), tuple(second))
        return prompt(ids, (IMAGE, VIDEO), grids), Pictures({"pixels": pixels}, grids)
    if family == "mllama":
        shown = r["in.aspect_ratio_mask"][:, 0]
        shapes = r["in.aspect_ratio_ids"][:, 0].astype(np.int32)
        arrays = {
            "pixels": last(r["in.pixel_values"])[:, 0],
            "shape_ids": shapes,
            "tile_mask": shown.astype(np.float32),
        }
        seen = attended(ids, IMAGE, np.repeat(shown == 1, 5, axis=1))
        return prompt(ids) | seen, Pictures(arrays)
    if family == "idefics":  # whose reference lets every token see its row's picture
        seen = {"rows": np.array([[0], [1]], np.int32), "seen": np.ones((2, 10, 4), bool)}
        return prompt(ids) | seen, Pictures({"pixels": last(r["in.pixel_values"])[:, 0]})
    whole = family == "gemma3"
    return prompt(ids, (IMAGE,), whole=whole), Pictures({"pixels": last(r["in.pixel_values"])})


def _alone(family, number, r) -> Case:
    """A row alone, of which the last logits are kept."""
    ids, logits, greedy = r["input_ids"].reshape(-1).tolist(), r["logits"], r["greedy"].reshape(1, -1)
    if family == "phi3_v":
        pixels, layout = phi3_pages(number)
        arrays = {"pixels": pixels}
        read = prompt([ids], (-1,))
    else:
        index, layout = r["image_input_idx"], ()
        pixels = r["pixel_values"].reshape(-1, 8, 8, 14, 14, 3).swapaxes(2, 3).reshape(-1, 112, 112, 3)
        arrays = {"pixels": np.ascontiguousarray(pixels), "shown": r["image_masks"], "order": molmo_order(index)}
        stands = set(index[index >= 0].tolist())
        read = prompt([[-1 if i in stands else x for i, x in enumerate(ids)]], (-1,))
        read["ids"] = np.array([ids], np.int32)
    mask = np.zeros((1, len(ids)), int)
    mask[:, -logits.shape[1] :] = 1
    whole = np.zeros((1, len(ids), logits.shape[2]), np.float32)
    whole[:, -logits.shape[1] :] = logits
    return Case(read, Pictures(arrays, layout), mask, whole, greedy)
