"""`mlxworld bench`: how fast a world runs here, from the action to picture and sound on the host, and why.

The step, and dynamics, decoder and encoder alone; memory; operations, FLOPs and bytes of a frame; what the machine can
do at best. On request many worlds at once, several precisions, and training. Knows nothing of how it is measured.
`mlxworld bench words --model F` is of a published language model, `mlxworld bench hooks --hook H` of latent hooks.
"""

import json
import os
import platform
import sys
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import tyro

from . import bench_hooks, bench_words, families
from .cli import entry
from .configs.translator import TranslatorConfig
from .configs.world import WorldConfig, require_world
from .errors import MlxworldError
from .evaluate.held_out import clips_for
from .evaluate.quality import quality
from .files import atomic
from .play.folder import model_config as world_config
from .play.folder import read_config
from .play.player import Options
from .play.translator import Translator, is_translator
from .play.world import Clip, World
from .speed import compiling, counts, machine, measure
from .speed import translator as translator_figures
from .speed.forecast import forecast, table
from .speed.parts import parts
from .speed.progress import show
from .speed.training import training
from .training.settings import TrainConfig

CLIPS, CONTEXT, HORIZON = 24, 16, 16  # held-out clips, frames of each that are seen, then dreamt


@dataclass(frozen=True)
class BenchConfig:
    world: str | None = None  # a shipped world or a folder
    preset: str | None = None  # or a preset with random weights
    model: str = TrainConfig.model  # the preset's model family
    backend: str | None = None  # mlx or torch; the best one installed
    options: tyro.conf.OmitArgPrefixes[Options] = field(default_factory=Options)
    frames: int = 300  # measured, after the context is full
    parts: bool = True  # dynamics, decoder and encoder alone, too
    batches: tuple[str, ...] = ()  # frames a second of so many worlds at once: 1,4,16,64,256
    train: bool = False  # steps a second of training
    clips: int | None = None  # of a training step; what `train` takes by default, 4 on the CPU
    data: Path | None = None  # held-out episodes: what precision, weights and cache cost there, in dB
    predict: bool = False  # run nothing: frames a second of measured machines and of Macs, as bands
    items: int = 32  # of a model that reads and writes any modality: things that its latents are of
    picture: Path | None = None  # of such a model: its figures as an SVG
    json: bool = False  # print JSON


def main(argv: list[str] | None = None) -> None:
    argv = sys.argv[1:] if argv is None else argv
    if argv[:1] in (["words"], ["hooks"]):
        return (bench_words if argv[0] == "words" else bench_hooks).main(argv[1:])
    cfg = tyro.cli(BenchConfig, args=argv, description=__doc__, prog="mlxworld bench")
    check(cfg)
    if cfg.picture is not None:
        atomic.require_writable(cfg.picture)
    if is_of_translator(cfg):
        figures = bench_translator(cfg)
        print(json.dumps(figures) if cfg.json else translator_figures.report(figures))
    elif cfg.predict:
        name, rows = str(cfg.preset or cfg.world), forecast(model_config(cfg), cfg.options.weights)
        print(json.dumps({"world": name, "predict": rows}) if cfg.json else table(name, rows))
    else:
        figures = bench(cfg)
        print(json.dumps(figures) if cfg.json else report(figures))


def check(cfg: BenchConfig) -> None:
    """Raises MlxworldError for flags that do not go together."""
    if (cfg.world is None) == (cfg.preset is None):
        raise MlxworldError("give either --world or --preset")
    if cfg.frames < 1:
        raise MlxworldError(f"--frames must be at least 1, got {cfg.frames}")
    if cfg.clips is not None and cfg.clips < 1:
        raise MlxworldError(f"--clips must be at least 1, got {cfg.clips}")
    if cfg.data is not None and (cfg.world is None or cfg.options.batch > 1):
        raise MlxworldError("--data measures what a trained world shows: give --world, and no --batch")
    if cfg.predict and (cfg.options.batch > 1 or cfg.options.precision or cfg.backend):
        raise MlxworldError(
            "--predict is of one world, in each machine's own precision: no --batch, --precision, --backend"
        )


def is_of_translator(cfg: BenchConfig) -> bool:
    """Whether it is of a model that reads and writes any modality, and of no world. Raises MlxworldError for flags that
    only the other kind has."""
    if cfg.preset is not None:
        translator = isinstance(families.preset(cfg.model, cfg.preset), TranslatorConfig)
    else:
        translator = is_translator(str(cfg.world))
    fresh, o = BenchConfig(), cfg.options
    mine = ("items", "picture")
    other = ("frames", "parts", "batches", "train", "clips", "data", "predict")
    wrong = [name for name in (other if translator else mine) if getattr(cfg, name) != getattr(fresh, name)]
    if translator:
        taken = ("precision", "hooks") if cfg.preset is None else ()
        wrong += [n for n, x in asdict(o).items() if n not in taken and x != getattr(fresh.options, n)]
    if wrong:
        kind = ("an untrained model" if cfg.preset else "a model") + " that is no world" if translator else "a world"
        raise MlxworldError(f"--{wrong[0].replace('_', '-')} says nothing of {kind}")
    if cfg.items < 2:
        raise MlxworldError(f"--items must be at least 2, got {cfg.items}")
    return translator


def bench_translator(cfg: BenchConfig) -> dict[str, Any]:
    """The figures of a model that reads and writes any modality, and their picture. Raises MlxworldError."""
    if cfg.preset is None:
        translator = Translator.load(str(cfg.world), cfg.backend, cfg.options.precision, cfg.options.hooks)
    else:
        translator = Translator.untrained(families.preset(cfg.model, cfg.preset), cfg.backend)
    figures = translator_figures.bench(translator, cfg.items, show)
    if cfg.picture is not None:
        translator_figures.draw(figures, cfg.picture)
    return figures


def model_config(cfg: BenchConfig) -> WorldConfig:
    """What the world or preset is made of, with the options that change it."""
    if cfg.preset is not None:
        config = require_world(families.preset(cfg.model, cfg.preset), cfg.model)
    else:
        assert cfg.world is not None
        config = world_config(*read_config(cfg.world))
    return config.played(cfg.options.steps, cfg.options.kv_cache)


def bench(cfg: BenchConfig) -> dict[str, Any]:
    """All that is asked for, as plain values. Raises MlxworldError for what cannot be measured."""
    sizes = numbers(cfg.batches)
    world = open_world(cfg)
    clips = [] if cfg.data is None else clips_for(world, cfg.data, CLIPS, CONTEXT + HORIZON)
    package, engine = world.package, world.package.engine
    gpu, best = engine.device() != "cpu", machine.best_gemm(engine)
    compiled = gpu if cfg.options.compile is None else cfg.options.compile
    figures: dict[str, Any] = {"world": world.name, "backend": world.backend, "device": world.device}
    figures |= {"chip": machine.chip(world.device), "system": platform.platform(), "cores": os.cpu_count()}
    figures |= {"precision": world.precision, "weights": cfg.options.weights, "kv_cache": world.config.kv_cache}
    figures |= {"steps": world.steps, "batch": world.batch}
    figures |= {"compiled": compiled}
    pieces = parts(package, world.model, world.batch)
    wait = compiling.waiting(package, pieces, compiled)
    figures["rollout"], figures["memory"] = measure.rollout(world, cfg.frames, show, wait)
    figures |= {"rates": machine.rates(engine, best), "rates_precision": best}
    if cfg.parts:
        calls = max(20, min(cfg.frames, 300))
        alone = {n: p for n, p in pieces.items() if n != "step"}
        figures |= {n: measure.part(engine, p, calls, compiled, n, show, wait) for n, p in alone.items()}
        ops = {n: counts.operations(package, p.fn, p.state, *p.inputs) for n, p in pieces.items()}
        figures["counts"] = {n: counts.summary(o) for n, o in ops.items()}
        figures["histogram"] = {n: counts.histogram(counts.fused(o) if compiled else o) for n, o in ops.items()}
    for n in sizes:
        name, step = f"{n} worlds", parts(package, world.model, n)["step"]
        wait = compiling.waiting(package, {name: step}, compiled)
        figures.setdefault("batches", {})[str(n)] = measure.part(engine, step, 30, compiled, name, show, wait)
    if cfg.train:
        how = {"precision": best, "compiled": compiled, "gemm_tflops": figures["rates"]["gemm_tflops"]}
        figures["train"] = training(package, world.config, cfg.clips or (None if gpu else 4), **how, show=show)
    if clips:
        figures["quality"] = cost(world, cfg, clips)
    return figures


def cost(world: World, cfg: BenchConfig, clips: list[Clip]) -> dict[str, float]:
    """The world's dreams beside those of the same world in float32 (see `evaluate.quality`)."""
    assert cfg.world is not None
    exact = replace(cfg.options, precision="float32", weights=None, kv_cache="float")
    return quality(World.load(cfg.world, cfg.backend, **asdict(exact)), world, clips, CONTEXT, HORIZON)


def open_world(cfg: BenchConfig) -> World:
    """The world to measure: a trained one, or a preset with random weights, which costs the same."""
    if cfg.world is not None:
        return World.load(cfg.world, cfg.backend, **asdict(cfg.options))
    assert cfg.preset is not None
    return World.untrained(families.preset(cfg.model, cfg.preset), cfg.backend, name=cfg.preset, **asdict(cfg.options))


def numbers(words: tuple[str, ...]) -> list[int]:
    """Whole numbers from 1 up, parted by spaces or commas."""
    parted = [n for word in words for n in word.split(",") if n]
    wrong = [n for n in parted if not n.isdecimal() or int(n) < 1]
    if wrong:
        raise MlxworldError(f"--batches are whole numbers from 1 up, not {wrong[0]}")
    return [int(n) for n in parted]


def report(figures: dict[str, Any]) -> str:
    """The figures as lines to read."""
    about = f"{figures['world']} on {figures['backend']} "
    about += f"({figures['device']}, {figures['precision']}, {figures['steps']} passes"
    lines = [about + (f", {figures['batch']} worlds)" if figures["batch"] > 1 else ")")]
    for name in ("rollout", "dynamics", "decoder", "encoder"):
        if t := figures.get(name):
            line = f"{t['fps']:8.1f} frames/s, p50 {t['p50_ms']:.2f} ms, p99 {t['p99_ms']:.2f} ms"
            line += f" for {t['frames']} frames" if t.get("frames", 1) > figures["batch"] else ""
            lines.append(f"{name:<9} {line}, first {t['first_ms']:.0f} ms")
    lines[1] += f", known ahead {figures['rollout']['stream_fps']:.1f} frames/s"
    m, r = figures["memory"], figures["rates"]
    lines.append(
        f"memory    {m['active'] / 2**20:.0f} MiB, at most {m['peak'] / 2**20:.0f}; grown {m['active_growth']:+.2%}"
    )
    best = f"{figures['rates_precision']} products {r['gemm_tflops']:.3g} TFLOP/s, copies {r['copy_gbs']:.0f} GB/s"
    lines.append(f"machine   {best}, {r['launch_us']:.1f} us an operation")
    for name, c in figures.get("counts", {}).items():
        work = f"{c['flops'] / 1e6:.0f} MFLOP, {c['bytes'] / 1e6:.0f} MB ({c['bytes_fused'] / 1e6:.0f} fused)"
        lines.append(f"{name:<9} {c['kernels']} operations ({c['kernels_fused']} fused), {work}")
    lines += [f"{n:>4} worlds {t['fps']:8.1f} frames/s in all" for n, t in figures.get("batches", {}).items()]
    for name, t in figures.get("train", {}).items():
        rate = f"{t['samples_per_s']:.1f} clips/s of {t['frames']} frames, {t['steps_per_s']:.2f} steps/s"
        used = f"{t['tflops']:.3g} TFLOP/s ({t['utilisation']:.0%} of the products')"
        lines.append(f"{name:<9} {rate}, {used}, {t['loader_wait']:.1%} of the time waiting for the loader")
    if q := figures.get("quality"):
        change = f"{q['change']:+.2f} dB ({q['change_error']:.2f} standard error) after {q['horizon']} frames"
        lines.append(f"quality   PSNR {q['changed']:.2f} dB, against float32 {change}, {q['clips']} clips")
    return "\n".join(lines)


if __name__ == "__main__":
    entry(main)
