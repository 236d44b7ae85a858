"""mlxworld convert coreai --world pong --out pong.aimodel: a world as a Core AI asset, a function for each part.

The functions are those of `parts.py`; `step` and `observe` work on one and the same state, and weights are stored once.
Core AI runs on Linux too, so --check plays the saved asset beside the PyTorch world and fails unless they agree.
"""

import copy
import importlib.metadata
import json
import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tyro

from mlxworld.cli import entry
from mlxworld.errors import MlxworldError
from mlxworld.files.output import whole

NEEDS = {"torch": (2, 11), "coreai-torch": (0, 4, 3), "coreai-core": (1, 0, 0)}
PRECISIONS = {"fp32": "float32", "fp16": "float16"}


@dataclass(frozen=True)
class CoreAIConfig:
    world: str  # a shipped world, a folder, or hf://owner/name
    out: Path  # what to write, NAME.aimodel
    part: Literal["all", "dynamics", "decoder", "encoder"] = "all"  # which functions
    precision: Literal["fp32", "fp16"] = "fp16"  # of weights, state and arithmetic; inputs and outputs are float32
    check: int = 0  # frames to play beside the PyTorch world when it is written; 0: none
    force: bool = False  # replace what is there


def main(argv: list[str] | None = None) -> None:
    cfg = tyro.cli(CoreAIConfig, args=argv, description=__doc__, prog="mlxworld convert coreai")
    installed()
    if cfg.out.suffix != ".aimodel":
        raise MlxworldError(f"--out must end in .aimodel, not {cfg.out.name!r}")
    if cfg.check < 0:
        raise MlxworldError(f"--check must not be negative, got {cfg.check}")
    from . import check_coreai, parts

    source = parts.load(cfg.world)
    with whole(cfg.out, cfg.force, mark="main.mlirb") as path:
        convert(source, path, cfg.part, cfg.precision)
        if cfg.check:
            print(check_coreai.passed(path, source, cfg.precision, cfg.check))
    size = sum(p.stat().st_size for p in cfg.out.iterdir()) / 1e6
    print(f"{cfg.out}: {size:.1f} MB, {', '.join(parts.GROUPS[cfg.part])}")


def convert(source, path: Path, group: str = "all", precision: str = "fp32") -> None:
    """Writes a group of the parts of a world, as parts.load gives it, to one asset; path ends in .aimodel."""
    with warnings.catch_warnings(action="ignore"):  # that 2.13.0+cpu is no 2.13.0
        from coreai_torch import TorchConverter, get_decomp_table
    from torch_backend import engine

    from . import parts

    if precision != "fp32":
        source = source._replace(model=engine.cast(copy.deepcopy(source.model), PRECISIONS[precision]))
    converter, made = TorchConverter(), parts.parts(source, group)
    for part in made:
        with warnings.catch_warnings(action="ignore", category=FutureWarning):  # of torch, about itself
            program = parts.export(part).run_decompositions(get_decomp_table())
        converter.add_exported_program(
            program,
            input_names=list(part.inputs),
            output_names=list(part.outputs),
            state_names=list(part.state),
            entrypoint_name=part.name,
        )
    converter.to_coreai().save_asset(path, metadata(source, made, precision))


def metadata(source, made, precision: str) -> Any:
    """What the asset says of itself: the card, and every function's inputs and outputs with shapes and units."""
    from coreai.runtime import AIModelAssetMetadata

    about, functions = AIModelAssetMetadata(), {}
    for part in made:
        ports = {"inputs": {name: port.about for name, port in part.inputs.items()}, "outputs": part.outputs}
        functions[part.name] = {"about": part.about, **ports, "state": list(part.state)}
    about.model_description = f"{source.about['name']}: a world with picture and sound, one frame a call"
    about.license = str(source.about.get("card", {}).get("licence", ""))
    about.set_custom("precision", precision)
    about.set_custom("functions", json.dumps(functions))
    about.set_custom("config", json.dumps(source.about))
    return about


def installed() -> None:
    """Raises MlxworldError when Core AI's packages are absent or too old."""
    for name, oldest in NEEDS.items():
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            raise MlxworldError(f'{name} is not installed: pip install "mlxworld[coreai]"') from None
        if tuple(int(n) for n in re.findall(r"\d+", version)[:3]) < oldest:
            raise MlxworldError(f"{name} {version} is too old: {'.'.join(map(str, oldest))} or later is needed")


if __name__ == "__main__":
    __package__ = __package__ or "mlxworld.convert"  # run by its path, too, it finds the files beside it
    entry(main)
