"""A latent hook alone, as one file: its arrays, and in the metadata what it is."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..configs.hook import HookConfig
from ..configs.load import from_dict, to_dict
from ..errors import MlxworldError
from . import checkpoint
from .reading import parse_json


def save(path: Path, config: HookConfig, arrays: Mapping[str, Any]) -> None:
    """Writes a hook. arrays: its parameters, numpy, by name."""
    checkpoint.save(path, arrays, {"hook": json.dumps(to_dict(config))})


def load(path: Path) -> tuple[HookConfig, Mapping[str, Any]]:
    """What `save` wrote. Raises MlxworldError for a file that holds no hook."""
    arrays, about = checkpoint.load(path)
    if "hook" not in about:
        raise MlxworldError(f"{path} holds no latent hook")
    return from_dict(HookConfig, parse_json(about["hook"], str(path)), str(path)), arrays
