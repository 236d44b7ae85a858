"""Worlds on a model hub: `hf://owner/name` is a world's folder there, `hf://owner/name@revision` a fixed state of it.

The files come through huggingface_hub, which keeps them in its cache and asks the hub no more than it must; with
HF_HUB_OFFLINE=1 only the cache is read. Nothing but a world's own files is fetched, and none of them is code.
"""

import importlib
import re
from pathlib import Path

from ..errors import MlxworldError
from .reading import shown

SCHEME = "hf://"
FILES = [
    *("config.json", "model*.safetensors", "model.safetensors.index.json", "starts.safetensors", "README.md"),
    "tokenizer.model",
]
MODEL_FILES = [  # of a published model
    *("*.json", "*.jinja", "model*.safetensors", "open_clip_model.safetensors", "tokenizer.model"),
]
_PART = r"[A-Za-z0-9][A-Za-z0-9_.-]*"
_ADDRESS = re.compile(rf"{SCHEME}(?P<repo>{_PART}/{_PART})(?:@(?P<revision>{_PART}(?:/{_PART})*))?")


def folder(address: str, files: list[str] = FILES) -> Path:
    """The local folder of a world on a hub, fetched if need be. files: patterns of those that are wanted.

    Raises MlxworldError for an address of another form, when huggingface_hub is not installed, and when the world
    cannot be had: unknown, private, offline, or no world at all.
    """
    match = _ADDRESS.fullmatch(address)
    if not match or ".." in address or "--" in match["repo"]:
        raise MlxworldError(f"{shown(address)} is no address of a world: hf://owner/name, or hf://owner/name@revision")
    try:
        hub, errors = map(importlib.import_module, ("huggingface_hub", "huggingface_hub.errors"))
    except ModuleNotFoundError:
        raise MlxworldError(f'{address} needs huggingface_hub: pip install "mlxworld[hub]"') from None
    try:
        path = Path(hub.snapshot_download(match["repo"], revision=match["revision"], allow_patterns=files))
    except (errors.EntryNotFoundError, errors.RevisionResolutionError, errors.HTTPError, OSError, ValueError) as error:
        raise MlxworldError(f"{address} cannot be had: {_reason(errors, error)}") from error
    if not (path / "config.json").is_file():
        raise MlxworldError(f"{address} holds no world, and no model: it has no config.json")
    return path


def _reason(errors, error: Exception) -> str:
    if isinstance(error, errors.GatedRepoError):
        return "its owner must grant access, and you must be logged in (hf auth login)"
    if isinstance(error, errors.RevisionNotFoundError):
        return "it has no such revision"
    if isinstance(error, errors.RepositoryNotFoundError):
        return "there is no such repository, or it is private and you are not logged in (hf auth login)"
    if isinstance(error, errors.LocalEntryNotFoundError | errors.OfflineModeIsEnabled):
        return "it is not in the cache, and the hub is out of reach or HF_HUB_OFFLINE is set"
    line = next(iter(str(error).splitlines()), type(error).__name__)
    return line if line.isprintable() and len(line) <= 200 else shown(line, 200)
