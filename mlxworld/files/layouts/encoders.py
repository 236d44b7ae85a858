"""Towers that are models of their own, and pictures beside texts: CLIP's, SigLIP's and DINOv2's towers, BiomedCLIP."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from ..names import Value
from . import open_clip, vision

FAMILY = "vision_language"
MODEL_TYPES = ("clip_vision_model", "siglip_vision_model", "dinov2", open_clip.MODEL_TYPE)
Config = Mapping[str, Any]

# DINOv2's newer names as the published ones
_DINOV2 = {"attention.q_proj.": "attention.attention.query.", "attention.k_proj.": "attention.attention.key."}
_DINOV2 |= {"attention.v_proj.": "attention.attention.value.", "attention.o_proj.": "attention.output.dense."}


def model(published: Config) -> str:
    """The class of `models/vision_language` that it is."""
    return "DualEncoder" if published["model_type"] == open_clip.MODEL_TYPE else "Vision"


def config(published: Config) -> Any:
    """Our configuration of a published one."""
    return open_clip.config(published) if model(published) == "DualEncoder" else vision.config(published)


def table(published: Config) -> dict[str, Value]:
    """Names of all arrays, the published ones to ours."""
    return open_clip.table() if model(published) == "DualEncoder" else vision.table(published, "")


def renamed(published: Config) -> Callable[[str], str]:
    """A function of an array's name that gives the published one."""
    if published["model_type"] != "dinov2":
        return str
    pattern = re.compile("|".join(map(re.escape, _DINOV2)))
    return lambda name: pattern.sub(lambda match: _DINOV2[match.group()], name.removeprefix("dinov2."))
