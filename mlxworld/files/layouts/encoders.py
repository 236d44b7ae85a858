"""Towers that are models of their own, CLIP's, SigLIP's and DINOv2; pictures beside texts: CLIP, SigLIP, BiomedCLIP."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from ..names import Value
from . import clip, open_clip, vision

FAMILY = "vision_language"
Config = Mapping[str, Any]
_PAIRS: dict[str, Any] = {"clip": clip, "siglip": clip, open_clip.MODEL_TYPE: open_clip}
MODEL_TYPES = ("clip_vision_model", "siglip_vision_model", "dinov2", *_PAIRS)

# DINOv2's newer names as the published ones
_DINOV2 = {"attention.q_proj.": "attention.attention.query.", "attention.k_proj.": "attention.attention.key."}
_DINOV2 |= {"attention.v_proj.": "attention.attention.value.", "attention.o_proj.": "attention.output.dense."}


def model(published: Config) -> str:
    """The class of `models/vision_language` that it is."""
    return "DualEncoder" if published["model_type"] in _PAIRS else "Vision"


def config(published: Config) -> Any:
    """Our configuration of a published one."""
    pair = _PAIRS.get(published["model_type"])
    return pair.config(published) if pair else vision.config(published)


def table(published: Config) -> dict[str, Value]:
    """Names of all arrays, the published ones to ours."""
    pair = _PAIRS.get(published["model_type"])
    return pair.table(published) if pair else vision.table(published, "")


def renamed(published: Config) -> Callable[[str], str]:
    """A function of an array's name that gives the published one."""
    if published["model_type"] != "dinov2":
        return str
    pattern = re.compile("|".join(map(re.escape, _DINOV2)))
    return lambda name: pattern.sub(lambda match: _DINOV2[match.group()], name.removeprefix("dinov2."))
