"""Published models: a folder as model hubs hold it, config.json and safetensors, whole or in shards -> our model.

`layouts/` says which family reads which `model_type`, under which names. Arrays are read one after another, so that
little more memory is taken than the weights need. Knows nothing of text and pictures.
"""

import hashlib
import importlib
import math
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from ..errors import MlxworldError
from . import atomic, checkpoint, hub, layouts, names
from .layouts import open_clip
from .reading import listed, read_json, shown
from .weights import Entry, Weights

PACKED = 16  # numbers in a word, at most
SHARD = 5_000_000_000  # bytes of a file, as on hubs
BESIDE = [pattern for pattern in hub.MODEL_FILES if "safetensors" not in pattern]  # tokenizer, processor, template
MOST = {"modules": 1 << 20, "numbers": 1 << 40}  # of a model that is built without weights


@dataclass(frozen=True)
class Pretrained:
    model: Any  # of `package`, on the device
    config: Any  # ours
    published: dict[str, Any]  # config.json
    folder: Path
    package: ModuleType  # the backend


def load(
    folder: str | Path, package: ModuleType, precision: str | None = None, weights: str | None = None
) -> Pretrained:
    """The model of a folder, on a backend, for use.

    precision: "float32", "float16" or "bfloat16"; see `usual_precision` unless given. weights: "int8", "int4",
    ... to quantise it. Raises MlxworldError for a model type that nobody reads, and for arrays that are missing,
    unknown or of other shapes, which it names.
    """
    folder, engine = Path(folder), package.engine
    published = read_config(folder)
    config = our_config(published, str(folder / "config.json"))
    arrays = our_weights(folder, published)
    numbers = sum(math.prod(e.shape) * (PACKED if e.dtype == np.uint32 else 1) for e in arrays.entries.values())
    most = {"modules": 10 * len(arrays) + 1000, "numbers": 2 * numbers + 1000}
    model = _built(package, published, config, str(folder), most)
    engine.load_parameters(model, arrays, str(folder), precision or usual_precision(engine, published))
    model = engine.place(model)
    return Pretrained(engine.quantize(model, weights) if weights else model, config, published, folder, package)


def untrained(folder: str | Path, package: ModuleType, precision: str, weights: str | None = None) -> Any:
    """The model of a folder's config.json, on the host, with numbers that mean nothing: for what a step
    costs."""
    published, engine = read_config(Path(folder)), package.engine
    config = our_config(published, str(folder))
    model = engine.cast(_built(package, published, config, str(folder), MOST), precision)
    return engine.quantize(model, weights) if weights else model


def _built(package: ModuleType, published: dict[str, Any], config: Any, source: str, most: dict[str, int]) -> Any:
    """The model, with unset weights. most: modules and numbers. Raises MlxworldError for sizes that none can have."""
    layout = _layout(published, source)
    family = importlib.import_module(f"{package.__name__}.models.{layout.FAMILY}")
    try:
        with package.nn.limit(**most):
            return package.engine.build(lambda: getattr(family, layout.model(published))(config))
    except MlxworldError as error:
        raise MlxworldError(f"{source}: {error}") from error


def usual_precision(engine: ModuleType, published: Mapping[str, Any]) -> str:
    """What a published model computes in: bfloat16, which most are kept in; float32 on the CPU, and on Macs what is
    fast there, but for models whose numbers leave the range of float16."""
    if engine.device() != "metal":
        return "float32" if engine.device() == "cpu" else "bfloat16"
    wide = getattr(types().get(published["model_type"]), "WIDE", ())
    return "bfloat16" if published["model_type"] in wide else engine.rollout_precision()


def read_config(folder: Path) -> dict[str, Any]:
    """config.json of a published model. Raises MlxworldError for what is none."""
    path, is_open_clip = folder / "config.json", (folder / open_clip.FILE).is_file()
    if is_open_clip:
        path = folder / open_clip.FILE
    if not path.is_file():
        raise MlxworldError(f"{folder} is no folder of a published model: it has no config.json")
    published = read_json(path)
    if is_open_clip and isinstance(published, dict):
        published["model_type"] = open_clip.MODEL_TYPE
    if not isinstance(published, dict) or not isinstance(published.get("model_type"), str):
        raise MlxworldError(f"{path} is not the configuration of a published model: it has no model_type")
    return published


def family(folder: str | Path) -> str | None:
    """The family of a published model's folder; None for a folder of another kind, and for a type that is not read."""
    try:
        layout = types().get(read_config(Path(folder))["model_type"])
    except MlxworldError:
        return None
    return None if layout is None else layout.FAMILY


def our_config(published: dict[str, Any], source: str = "config.json") -> Any:
    """Our configuration of a published one. Raises MlxworldError for one that is not read."""
    try:
        return _layout(published, source).config(published)
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        what = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise MlxworldError(f"{source} is no configuration of {shown(published['model_type'])}: {what}") from error


def our_weights(folder: Path, published: dict[str, Any]) -> Weights:
    """The arrays of a folder under our names, each read when it is asked for; published, newer and mixed names alike.
    Raises MlxworldError for names that are unknown, for parts that are missing, and for a shard that is."""
    layout, source = _layout(published, str(folder)), str(folder)
    is_open_clip = published["model_type"] == open_clip.MODEL_TYPE
    try:
        arrays = checkpoint.open(folder / open_clip.WEIGHTS if is_open_clip else folder)
    except MlxworldError as error:
        if (pickles := sorted(folder.glob("*.bin"))) and not any(folder.glob("*.safetensors*")):
            raise MlxworldError(
                f"{pickles[0]} is a pickle, which can run any code: only safetensors are read"
            ) from error
        raise
    try:
        arrays = arrays.renamed(layout.renamed(published))
    except ValueError as error:
        raise MlxworldError(f"{source}: two arrays would be named {error}") from None
    return names.to_ours(arrays, names.with_packed(layout.table(published)), source)


def their_weights(arrays: Mapping[str, np.ndarray], published: dict[str, Any], source: str) -> Weights:
    """Arrays of ours, quantised ones too, under the names that are published: `our_weights` undoes it."""
    layout = _layout(published, source)
    return names.to_theirs(arrays, names.with_packed(layout.table(published)), source)


def save(out: Path, folder: Path, changes: Mapping[str, np.ndarray]) -> None:
    """Writes a published model like that of `folder` into the folder `out`, with numbers added to some of its arrays,
    by our names; all that lies beside its weights is copied, but for what is there already."""
    published, source = read_config(folder), str(folder)
    entries = dict(our_weights(folder, published).entries)
    for name, change in changes.items():
        entry = entries[name]

        def changed(entry: Entry = entry, change: np.ndarray = change) -> np.ndarray:
            return (entry.read().astype(np.float32) + change).astype(entry.dtype)

        entries[name] = Entry(entry.shape, entry.dtype, changed)
    theirs = their_weights(Weights(entries), published, source)
    for path in sorted(path for pattern in BESIDE for path in folder.glob(pattern)):
        if not path.name.endswith(".safetensors.index.json") and not (out / path.name).exists():
            atomic.write(out / path.name, path.read_bytes())
    checkpoint.save(out / "model.safetensors", theirs, {"format": "pt"}, shard_bytes=SHARD)


def is_quantised(published: Mapping[str, Any]) -> bool:
    """Whether the configuration says that weights are packed."""
    return bool(published.get("quantization") or published.get("quantization_config"))


def digest(folder: Path) -> str:
    """A hexadecimal digest of all of a published model's files: those that `hub.MODEL_FILES` names."""
    sha256 = hashlib.sha256()
    for path in sorted({path for pattern in hub.MODEL_FILES for path in folder.glob(pattern)}):
        with path.open("rb") as file:
            sha256.update(hashlib.file_digest(file, "sha256").digest())
    return sha256.hexdigest()[:16]


def types() -> dict[str, Any]:
    """The module of `layouts` that reads each model_type."""
    by_type = {}
    for module in pkgutil.iter_modules(layouts.__path__):
        layout = importlib.import_module(f"{layouts.__name__}.{module.name}")
        by_type |= dict.fromkeys(getattr(layout, "MODEL_TYPES", ()), layout)
    return by_type


def _layout(published: dict[str, Any], source: str) -> Any:
    known, kind = types(), published["model_type"]
    if kind not in known:
        raise MlxworldError(f"{source}: model_type {shown(kind)} is not read: known are {listed(sorted(known), 30)}")
    return known[kind]
