"""mlxworld convert coreml --world pong --out pong.mlpackage: a world as a Core ML package for macOS 15 and later.

One package of several functions: `step` and `observe` (a stateful program: the ring of keys and values is its state),
`video` and `audio`, `encode`. Beside pong.mlpackage comes pong.verify, a folder that checks it on a Mac. Weights fp16,
int8 (a scale for each output channel) or int4 (a palette of 16 values for each 16 channels); arithmetic is float16.
"""

import importlib.metadata
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import tyro

from mlxworld.cli import entry
from mlxworld.errors import MlxworldError
from mlxworld.files.output import whole

NEEDS = {"coremltools": ((9, 0), (10,)), "torch": ((2, 11), (3,))}  # from, and below


@dataclass(frozen=True)
class CoreMLConfig:
    world: str  # a shipped world, a folder, or hf://owner/name
    out: Path  # what to write, NAME.mlpackage; NAME.verify comes beside it
    precision: Literal["fp16", "int8", "int4"] = "fp16"  # of weights
    part: Literal["all", "dynamics", "decoder", "encoder"] = "all"  # which functions; only all of them can be played
    force: bool = False  # replace what is there


def main(argv: list[str] | None = None) -> None:
    cfg = tyro.cli(CoreMLConfig, args=argv, description=__doc__, prog="mlxworld convert coreml")
    installed()
    if cfg.out.suffix != ".mlpackage":
        raise MlxworldError(f"--out must end in .mlpackage, not {cfg.out.name!r}")
    from . import parts, rehearsal

    source = parts.load(cfg.world)
    checks = cfg.out.with_suffix(".verify")
    with (
        whole(checks, cfg.force, mark="calls.npz") as beside,
        whole(cfg.out, cfg.force, mark="Manifest.json") as package,
    ):
        beside.mkdir()
        calls = rehearsal.rehearse(source, cfg.part)
        rehearsal.write(beside / "calls.npz", calls, precision=np.array(cfg.precision))
        shutil.copy(Path(__file__).with_name("verify_on_mac.py"), beside)
        convert(source, package, cfg.precision, cfg.part, calls)
    size = sum(p.stat().st_size for p in cfg.out.rglob("*")) / 1e6
    print(f"{cfg.out}: {size:.1f} MB; on a Mac: python {checks / 'verify_on_mac.py'} {cfg.out}")


def convert(source, path: Path, precision: str, group: str, calls) -> None:
    """Writes a group of a world's parts to a new package, and prints what they are made of."""
    from . import mil, package, parts

    made = parts.parts(source, group)
    models = {part.name: mil.program(part, precision) for part in made}
    package.write(path, models, made, source.about, source.folder / "starts.safetensors")
    for name, model in models.items():
        kinds = ", ".join(f"{kind} {n}" for kind, n in mil.operations(model).most_common())
        off = ", ".join(f"{kind} {n}" for kind, n in mil.off_engine(model).most_common()) or "none"
        print(f"{name}: {mil.operations(model).total()} operations ({kinds}); known to leave the Neural Engine: {off}")
    if "video" in models:
        print(_magnitude(path, calls))


def _magnitude(path, calls) -> str:
    """How large the picture decoder's numbers become, on the last recorded frame."""
    from . import mil
    from .mil_evaluator import Evaluated

    video = Evaluated(path, "video")
    video.predict([call for call in calls if call.part == "video"][-1].inputs)
    far = "" if video.largest < mil.LARGEST else ": TOO LARGE for the Neural Engine, keep video on the GPU"
    return f"video: magnitudes to {video.largest:.3g}, the Neural Engine takes {mil.LARGEST:.3g}{far}"


def installed() -> None:
    """Raises MlxworldError unless coremltools and torch are here, in versions that this was tested with."""
    for name, (least, below) in NEEDS.items():
        wanted = f"{name}>={'.'.join(map(str, least))},<{below[0]}"
        try:
            found = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            raise MlxworldError(f'Core ML packages need {name}: pip install "{wanted}"') from None
        if not least <= tuple(int(n) for n in found.split("+")[0].split(".")[:2]) < below:
            raise MlxworldError(f'{name} {found} is not one that converts here: pip install "{wanted}"')


if __name__ == "__main__":
    __package__ = __package__ or "mlxworld.convert"  # run by its path, too, it finds the files beside it
    entry(main)
