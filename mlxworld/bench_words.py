"""`mlxworld bench words`: how fast a published model reads and writes words here, or would on Macs."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tyro

import mlxworld

from .cli import entry
from .errors import MlxworldError
from .files import hub, pretrained
from .files.reading import shown
from .speed import machine, words
from .speed.forecast import table
from .speed.progress import show


@dataclass(frozen=True)
class BenchWordsConfig:
    model: str
    """a folder as model hubs hold it, or hf://owner/name"""
    backend: Literal["mlx", "torch"] | None = None
    """the best one installed"""
    precision: Literal["float32", "float16", "bfloat16"] | None = None
    """of numbers; the fastest here"""
    weights: Literal["int8", "int4", "mxfp8"] | None = None
    """to quantise the model"""
    compile: bool = False
    """compile the step"""
    batch: int = 1
    """rows that are written at once"""
    prompt: int = 512
    """tokens that are read"""
    tokens: int = 64
    """tokens that are written"""
    predict: bool = False
    """run nothing: tokens a second on Macs, as bands"""
    json: bool = False
    """print JSON"""


def main(argv: list[str] | None = None) -> None:
    argv = sys.argv[1:] if argv is None else argv
    cfg = tyro.cli(BenchWordsConfig, args=argv, description=__doc__, prog="mlxworld bench words")
    if min(cfg.batch, cfg.prompt, cfg.tokens) < 1:
        raise MlxworldError("--batch, --prompt and --tokens must be at least 1")
    folder = hub.folder(cfg.model, hub.MODEL_FILES) if cfg.model.startswith(hub.SCHEME) else Path(cfg.model)
    published = pretrained.read_config(folder)
    if not hasattr(pretrained.our_config(published, str(folder)), "decoder"):
        raise MlxworldError(f"{folder}: {shown(published['model_type'])} is no model that writes text")
    if cfg.predict:
        rows = words.forecast(folder, cfg.weights)
        print(
            json.dumps({"model": folder.name, "predict": rows})
            if cfg.json
            else table(folder.name, rows, "one row, tokens/s")
        )
        return
    figures = bench(folder, cfg)
    print(json.dumps(figures) if cfg.json else report(figures))


def bench(folder: Path, cfg: BenchWordsConfig) -> dict[str, Any]:
    """All that is measured of a folder's model, as plain values."""
    if not (installed := mlxworld.installed()):
        raise MlxworldError('no backend is installed: pip install "mlxworld[torch]"')
    backend = cfg.backend or installed[0]
    package = mlxworld.on(backend)
    precision = cfg.precision or pretrained.usual_precision(package.engine, pretrained.read_config(folder))
    loaded = pretrained.load(folder, package, precision, cfg.weights)
    device = package.engine.device()
    about = {"model": folder.name, "type": loaded.published["model_type"], "backend": backend, "device": device}
    about |= {"chip": machine.chip(device), "precision": precision, "weights": cfg.weights, "compiled": cfg.compile}
    about |= {"batch": cfg.batch, "prompt": cfg.prompt, "written": cfg.tokens}
    return about | words.measured(loaded, cfg.batch, cfg.prompt, cfg.tokens, cfg.compile, show)


def report(figures: dict[str, Any]) -> str:
    """The figures as lines to read."""
    f, c = figures, figures["counts"]
    rows = f", {f['batch']} rows" if f["batch"] > 1 else ""
    sizes = ", ".join(f"{name} {n / 1e6:,.1f} M" for name, n in f["parameters"].items())
    return "\n".join(
        [
            f"{f['model']} ({f['type']}) on {f['backend']} ({f['device']}, {f['precision']}{rows})",
            f"reads    {f['read_tokens_s']:10,.0f} tokens/s, a prompt of {f['prompt']}",
            f"writes   {f['write_tokens_s']:10,.1f} tokens/s, {f['token_ms']:.2f} ms each; first answer "
            f"{f['first_ms']:.0f} ms",
            f"weights  {f['bytes'] / 1e9:10.3g} GB, at {f['copy_gbs']:.0f} GB/s read in {f['share']:.0%} of that time",
            f"a token  {c['kernels']:10} operations ({c['kernels_fused']} fused), {c['flops'] / 1e6:,.0f} MFLOP",
            f"memory   {f['memory']['active'] / 2**20:10,.0f} MiB, at most {f['memory']['peak'] / 2**20:,.0f}",
            f"numbers  {sizes}",
        ]
    )


if __name__ == "__main__":
    entry(main)
