"""mlxworld convert weights IN OUT: a world's weights between this package's files, MLX's quantised ones and torch's.

| --to | OUT is | weights |
|---|---|---|
| safetensors | a world's folder, ready for a hub | as they are; of quantised ones their values, float32 |
| mlx-q8, mlx-q4, mlx-mxfp8 | a world's folder | matrices packed as mlx.nn.quantize packs them, the rest as it is |
| torch | a file | a state_dict for plain torch.nn layers: kernels (out, in, *kernel) |

IN is a world (a shipped name, a folder, hf://owner/name), a published model's folder, which keeps its layout, or a
torch file, which is read as tensors only. Where nothing is quantised every bit comes back. A torch file holds no
configuration: --like names the world that its weights are for.
"""

import io
import json
import pickle
import shutil
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tyro

from mlxworld import families, on
from mlxworld.cli import entry
from mlxworld.configs.load import to_dict
from mlxworld.configs.world import WorldConfig
from mlxworld.errors import MlxworldError
from mlxworld.files import atomic, checkpoint, hub, layouts, names, quantized
from mlxworld.files.layouts import plain_torch
from mlxworld.files.output import whole
from mlxworld.files.reading import read_json
from mlxworld.files.weights import Weights
from mlxworld.play.folder import model_config, read_config, read_weights
from mlxworld.play.world import preferred_backend

TORCH_FILES = (".pt", ".pth", ".bin")
PACKED = {"mlx-q8": "int8", "mlx-q4": "int4", "mlx-mxfp8": "mxfp8"}


@dataclass(frozen=True)
class WeightsConfig:
    source: tyro.conf.Positional[str]  # a world, or a torch file (.pt, .pth, .bin)
    out: tyro.conf.Positional[Path]  # a new folder, or a new torch file
    to: Literal["safetensors", "mlx-q4", "mlx-q8", "mlx-mxfp8", "torch"] | None = None  # by default what OUT is called
    like: str | None = None  # for a torch file: the world whose configuration and start clips go with it
    names: Path | None = None  # JSON of a torch file's names to ours: {"theirs.{}.w": "ours.{}.weight", "unused": null}
    force: bool = False  # replace what is there


@dataclass(frozen=True)
class Source:
    folder: Path  # of config.json and starts.safetensors
    about: dict[str, Any]  # config.json
    weights: Mapping[str, np.ndarray]
    shapes: dict[str, tuple[int, ...]]  # of the model's parameters


def main(argv: list[str] | None = None) -> None:
    cfg = tyro.cli(WeightsConfig, args=argv, description=__doc__, prog="mlxworld convert weights")
    is_file = cfg.out.suffix in TORCH_FILES
    to = cfg.to or ("torch" if is_file else "safetensors")
    if is_file != (to == "torch"):
        raise MlxworldError(f"--to {to} writes a {'file such as x.pt' if to == 'torch' else 'folder'}, not {cfg.out}")
    from_torch = Path(cfg.source).suffix in TORCH_FILES
    if from_torch != (cfg.like is not None):
        raise MlxworldError("--like WORLD is needed for a torch file, and for nothing else")
    if cfg.names and not from_torch and to != "torch":
        raise MlxworldError("--names is for torch files")
    from . import published_weights

    if not from_torch and published_weights.is_published(Path(cfg.source)):
        if to == "torch":
            raise MlxworldError(f"{cfg.source} is a published model, whose weights stay safetensors: give a folder")
        mark, _ = published_weights.names(Path(cfg.source))
        with whole(cfg.out, cfg.force, mark=mark, files=hub.MODEL_FILES) as part:
            published_weights.convert(Path(cfg.source), part, PACKED.get(to))
        print(_size(cfg.out))
        return
    table = _table(cfg.names)
    source = read(cfg.like or cfg.source)
    if from_torch:
        weights = read_torch(Path(cfg.source), table)
        checkpoint.check(source.shapes, weights, cfg.source)
        source = Source(source.folder, source.about, weights, source.shapes)
    with whole(cfg.out, cfg.force, mark="config.json", files=hub.FILES) as part:
        if to == "torch":
            write_torch(part, _plain(source), table)
        else:
            write_world(part, source, PACKED.get(to))
    print(_size(cfg.out))


def _size(out: Path) -> str:
    return f"{out}: {sum(p.stat().st_size for p in [out, *out.rglob('*')] if p.is_file()) / 1e6:.1f} MB"


def read(name: str) -> Source:
    """A world's weights, checked against its model. Raises MlxworldError."""
    folder, about = read_config(name)
    path = folder / "model.safetensors"
    weights = checkpoint.finite(read_weights(folder, about), str(path))
    model = fresh_model(model_config(folder, about), weights)
    shapes = {name: tuple(x.shape) for name, x in model_arrays(model).items()}
    checkpoint.check(shapes, quantized.plain(weights, shapes, str(path)), str(path))
    return Source(folder, about, weights, shapes)


def fresh_model(cfg: WorldConfig, weights: Mapping[str, np.ndarray]) -> Any:
    """A model of this configuration, on the backend that is installed; no larger than its weights can make it."""
    return families.built(on(preferred_backend()), cfg, weights)


def model_arrays(model: Any) -> dict[str, Any]:
    """All that is saved of a model: parameters and buffers by name."""
    nn = on(preferred_backend()).nn
    return nn.parameters(model) | nn.buffers(model)


def write_world(folder: Path, source: Source, kind: str | None) -> None:
    """A world's folder: configuration, weights (quantised as `kind`, or None), start clips, card."""
    cfg = model_config(source.folder, source.about)
    about = {name: value for name, value in source.about.items() if name != "quantization"}
    about |= {"format": layouts.FORMAT, "model": to_dict(cfg)}
    if kind:
        about["quantization"] = quantized.KINDS[kind]
    weights = quantise(source, kind) if kind else _plain(source)
    metadata = {"format": str(layouts.FORMAT), "family": cfg.family}
    checkpoint.save(folder / "model.safetensors", weights, metadata)
    atomic.write_text(folder / "config.json", json.dumps(about, indent=1) + "\n")
    shutil.copyfile(source.folder / "starts.safetensors", folder / "starts.safetensors")
    readme = source.folder / "README.md"
    atomic.write_text(folder / "README.md", readme.read_text() if readme.is_file() else card(about, weights))


def quantise(source: Source, kind: str) -> Mapping[str, np.ndarray]:
    """The weights with every matrix packed that mlx.nn.quantize packs; what is packed so already stays bit for bit."""
    how = quantized.KINDS[kind]
    packed = quantized.formats(source.weights, source.shapes, "the weights").values()
    if packed and all(found == how for found in packed):
        return source.weights
    on("mlx")
    import mlx.core as mx

    model = fresh_model(model_config(source.folder, source.about), source.weights)
    layers, made = on(preferred_backend()).engine.packing(model, kind), {}
    for name, x in _plain(source).items():
        layer, _, last = name.rpartition(".")
        if last != "weight" or layer not in layers:
            made[name] = x
            continue
        parts = ("weight", "scales", "biases")
        made |= {
            f"{layer}.{part}": np.array(y) for part, y in zip(parts, mx.quantize(mx.array(x), **how), strict=False)
        }
    return made


def read_torch(path: Path, table: names.Table) -> dict[str, np.ndarray]:
    """The arrays of a state_dict file under our names, bfloat16 as float32. Only tensors are read, never code."""
    on("torch")
    import torch

    try:
        with warnings.catch_warnings(action="ignore"):  # of pickles that are then refused
            state: Any = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise MlxworldError(f"cannot read {path}: {error.strerror}") from error
    except pickle.UnpicklingError as error:
        raise MlxworldError(f"{path} holds more than tensors, or is damaged: save model.state_dict() alone") from error
    except (RuntimeError, EOFError, ValueError, KeyError) as error:
        raise MlxworldError(f"{path} is damaged, cut short or no torch file") from error
    for wrapper in ("state_dict", "model"):
        state = state[wrapper] if isinstance(state, dict) and isinstance(state.get(wrapper), dict) else state
    if not isinstance(state, dict) or not all(isinstance(x, torch.Tensor) for x in state.values()):
        raise MlxworldError(f"{path} is no state_dict: a dict of tensors by name")
    arrays = {_unwrapped(n): (x.float() if x.dtype == torch.bfloat16 else x).numpy() for n, x in state.items()}
    ours = names.to_ours(arrays, table, str(path), partial=True)
    weights = dict(names.to_ours(ours, plain_torch.TABLE, str(path), partial=True))
    for name, x in weights.items():
        checkpoint.require_finite(name, x, str(path))
    return weights


def write_torch(path: Path, weights: Mapping[str, np.ndarray], table: names.Table) -> None:
    """A state_dict file for plain torch.nn layers, under the table's names."""
    on("torch")
    import torch

    plain = names.to_theirs(weights, plain_torch.TABLE, str(path), partial=True)
    arrays = names.to_theirs(plain, table, str(path), partial=True)
    blob = io.BytesIO()
    torch.save({n: torch.tensor(np.ascontiguousarray(x)) for n, x in arrays.items()}, blob)
    atomic.write(path, blob.getvalue())


def card(about: dict[str, Any], weights: Mapping[str, np.ndarray]) -> str:
    """A README for a world that has none: what config.json says, and how to play it."""
    cfg = model_config(Path(), about)
    facts = {
        "picture": f"{cfg.size}x{cfg.size} pixels, {cfg.fps} frames a second",
        "sound": f"{cfg.sample_rate} samples a second",
        "actions": ", ".join(cfg.actions),
        "weights": f"{sum(x.nbytes for x in Weights.of(weights).entries.values()) / 1e6:.1f} MB",
        **about.get("quantization", {}),
        **about.get("card", {}),
    }
    return "\n".join(
        [
            *("---", "library_name: mlxworld", "tags: [world-model, video, audio]", "---", ""),
            *(f"# {about['name']}", "", "A world with picture and sound to play in.", ""),
            *("| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in facts.items()), ""),
            *("```python", f'world = mlxworld.World.load("hf://OWNER/{about["name"]}")', "```", ""),
        ]
    )


def _plain(source: Source) -> Mapping[str, np.ndarray]:
    return quantized.plain(source.weights, source.shapes, "the weights")


def _unwrapped(name: str) -> str:
    """Without what torch.compile and DistributedDataParallel put before names."""
    return name.replace("_orig_mod.", "").removeprefix("module.")


def _table(path: Path | None) -> names.Table:
    if path is None:
        return {}
    return names.check(read_json(path), str(path))


if __name__ == "__main__":
    __package__ = __package__ or "mlxworld.convert"  # run by its path, too, it finds the files beside it
    entry(main)
