"""A model's folder: `config.json` (what it is), `model.safetensors` (its weights), and what its family adds beside.

config.json: {"format", "name", "card": free facts, "model": the configuration, its "family" among it}.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..configs.load import to_dict
from . import atomic, checkpoint
from .layouts import FORMAT


def save(
    folder: Path,
    name: str,
    config: Any,
    weights: Mapping[str, Any],
    card: Mapping[str, Any],
    files: Mapping[str, Mapping[str, Any]] | None = None,
) -> None:
    """Writes a model's folder. config: of a family; weights by name; files: further arrays, by the file's name."""
    about = {"format": FORMAT, "name": name, "card": dict(card), "model": to_dict(config)}
    checkpoint.save(folder / "model.safetensors", weights, {"format": str(FORMAT), "family": config.family})
    for file, arrays in (files or {}).items():
        checkpoint.save(folder / file, arrays, {"format": str(FORMAT)})
    atomic.write_text(folder / "config.json", json.dumps(about, indent=1) + "\n")
