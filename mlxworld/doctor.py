"""`mlxworld doctor`: what this machine is, what is installed, how fast it is, and what to do about what is missing."""

import importlib.metadata
import json
import locale
import os
import platform
import shutil
import sys
import sysconfig
import time
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import av
import numpy as np
import tyro

import mlxworld

from .cli import entry
from .data.envs.doom import has_openal
from .speed.machine import chip, copy, gemm, launch

EXTRAS = {
    "atari": "ale-py",
    "doom": "vizdoom",
    "physics": "pymunk",
    "mujoco": "mujoco",
    "coreml": "coremltools",
    "coreai": "coreai-core",
    "mlx-data": "mlx-data",
    "hub": "huggingface_hub",
    "language": "tokenizers",
    "quant": "torchao",
}  # extra: its package
FRAMEWORKS = {"mlx": "mlx", "torch": "torch"}
CODECS = {"h264": "libx264", "aac": "aac"}  # codec: the encoder that recordings are written with
REFERENCE = "MLX's own, slow"
M5 = {"M5 Max": 20.0, "M5 Pro": 9.0, "M5": 4.0}  # TFLOP/s of a bfloat16 product below which its own kernels are missing


@dataclass(frozen=True)
class DoctorConfig:
    """Says what this machine is, what is installed and how fast it is, and what to do about what is missing."""

    as_json: Annotated[bool, tyro.conf.arg(name="json")] = False
    """Print one JSON object instead of lines."""


def main(argv: list[str] | None = None) -> None:
    """`mlxworld doctor`."""
    options = tyro.cli(DoctorConfig, args=argv, prog="mlxworld doctor")
    facts = examine()
    print(json.dumps(facts, indent=2) if options.as_json else report(facts))


def examine() -> dict[str, Any]:
    """All facts, as plain values: machine, versions, backends, codecs, extras, tools, openal, worlds,
    advice."""
    facts = {
        "machine": machine(),
        "versions": {"mlxworld": mlxworld.__version__} | {name: version(name) for name in ("numpy", "av", "gymnasium")},
        "backends": {name: backend(name) for name in mlxworld.installed()},
        "codecs": {
            codec: codec in av.codecs_available and encoder in av.codecs_available for codec, encoder in CODECS.items()
        },
        "extras": {extra: version(package) for extra, package in EXTRAS.items()},
        "tools": tools(),
        "openal": has_openal(),
        "worlds": mlxworld.worlds(),
    }
    return facts | {"advice": advice(facts)}


def machine() -> dict[str, Any]:
    """System, chip, cores, memory and free disk in GiB, Python."""
    return {
        "system": f"{platform.system()} {platform.mac_ver()[0] or platform.release()}",
        "chip": chip(),
        "cpu": platform.machine(),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "disk_free_gib": round(shutil.disk_usage(".").free / 2**30, 1),
        "python": platform.python_version(),
    }


def version(package: str) -> str | None:
    """The installed version of a package, None without it."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def tools() -> dict[str, Any]:
    """What compiling for the CPU needs: a C++ compiler, Python's headers, an encoding that sources fit into."""
    names = filter(None, (os.environ.get("CXX"), "g++", "clang++"))
    headers = Path(sysconfig.get_path("include")) / "Python.h"
    return {
        "compiler": next(filter(None, map(shutil.which, names)), None),
        "python_headers": headers.exists(),
        "encoding": locale.getpreferredencoding(False),
    }


def backend(name: str) -> dict[str, Any]:
    """A backend's version, device, precision of play and BLAS; TFLOP/s of a product in each precision worth trying,
    GB/s of a copy, microseconds of a launch; the seconds that compiling takes, or why it cannot."""
    package = mlxworld.on(name)
    engine = package.engine
    precisions = ("float32",) if engine.device() == "cpu" else ("float32", "float16", "bfloat16")
    return {
        "version": version(FRAMEWORKS[name]),
        "device": engine.device(),
        "chip": chip(engine.device()),
        "precision": engine.rollout_precision(),
        "blas": blas(name, engine.device()),
        "tflops": {p: round(gemm(engine, p), 4) for p in precisions},
        "copy_gbs": round(copy(engine), 1),
        "launch_us": round(launch(engine), 2),
        **compiling(package),
    }


def compiling(package: ModuleType) -> dict[str, Any]:
    """compile_s, seconds of the first call of a small compiled function; if there is none, None and compile_error."""
    engine, ops = package.engine, package.ops
    x = engine.array(np.arange(8, dtype=np.float32))
    try:
        begun = time.perf_counter()
        with engine.inference():
            engine.numpy(engine.compile(lambda x: ops.sin(x) * 2 + ops.exp(-x))(x))
        return {"compile_s": round(time.perf_counter() - begun, 2)}
    except Exception as error:  # a compiler may fail in any way, and the doctor must say so, not fall
        lines = [line for line in str(error).splitlines() if line.strip()]
        return {"compile_s": None, "compile_error": (lines or [type(error).__name__])[0][:200]}


def blas(name: str, device: str) -> str:
    """Where a backend's matrix products on the CPU come from."""
    if device != "cpu":
        return "the device's own"
    if name == "torch":
        return "PyTorch's"
    from .backend import blas

    return "PyTorch's" if blas.loaded else "Accelerate" if sys.platform == "darwin" else REFERENCE


def advice(facts: dict[str, Any]) -> list[str]:
    """What to do, a line each, the most important first."""
    here, backends = facts["machine"], facts["backends"]
    mac, lines = here["system"].startswith("Darwin"), []
    if mac and here["cpu"] == "x86_64" and "Apple" in here["chip"]:
        lines.append("This Python is an Intel build under Rosetta: install one for Apple silicon, then MLX runs")
    if not backends:
        lines.append("No backend: pip install " + ("mlx" if mac else "torch"))
    elif mac and "mlx" not in backends:
        lines.append("MLX is the fast backend on a Mac: pip install mlx")
    if backends.get("mlx", {}).get("blas") == REFERENCE:
        lines.append("MLX is slow on this CPU: pip install torch, whose BLAS mlxworld then lends to it")
    for name, b in backends.items():
        family = next((m for m in M5 if b["chip"] == f"Apple {m}"), None)
        if name == "mlx" and family and b["tflops"].get("bfloat16", M5[family]) < M5[family]:
            slow = f"a bfloat16 product reaches {b['tflops']['bfloat16']:.1f} TFLOP/s"
            lines.append(
                f"MLX lacks the {family}'s kernels ({slow}): pip install --force-reinstall mlx, not Homebrew's"
            )
        if b["compile_s"] is None:
            lines.append(f"{name} cannot compile ({b['compile_error']}){_cure(facts, b['compile_error'])}")
    lines += [
        f"PyAV cannot write {codec}: pip install --upgrade av" for codec, found in facts["codecs"].items() if not found
    ]
    if facts["extras"]["doom"] and not facts["openal"]:
        lines.append(
            "Doom is silent without OpenAL: " + ("brew install openal-soft" if mac else "apt-get install libopenal1")
        )
    if here["memory_gib"] < 8:
        lines.append("Under 8 GiB of memory: train with smaller --tokenizer.batch and --dynamics.batch")
    if here["disk_free_gib"] < 5:
        lines.append("Under 5 GiB of free disk: a recorded hour of Pong with its cache takes about as much")
    return lines


def _cure(facts: dict[str, Any], error: str) -> str:
    """What lets a backend compile, after a colon; nothing where all that it needs is there."""
    mac, tools = facts["machine"]["system"].startswith("Darwin"), facts["tools"]
    if not tools["compiler"]:
        return ": xcode-select --install" if mac else ": apt-get install g++"
    if not tools["python_headers"]:
        return ": install the headers of this Python" + ("" if mac else ", apt-get install python3-dev")
    if "codec can't" in error:
        return f": this locale's encoding is {tools['encoding']}: set PYTHONUTF8=1, or LANG=C.UTF-8"
    return ""


def report(facts: dict[str, Any]) -> str:
    """The facts as lines to read."""
    here = facts["machine"]
    memory = f"{here['memory_gib']} GiB, {here['disk_free_gib']} GiB of disk free"
    lines = [
        f"machine   {here['chip']}, {here['cores']} cores, {memory}; {here['system']}",
        f"python    {here['python']}; " + ", ".join(f"{n} {v}" for n, v in facts["versions"].items()),
    ]
    for name, b in facts["backends"].items():
        products = ", ".join(f"{p} {_rate(tflops)}" for p, tflops in b["tflops"].items())
        rest = f"copies {b['copy_gbs']:.0f} GB/s, {b['launch_us']:.1f} us an operation"
        compiles = "no" if b["compile_s"] is None else f"{b['compile_s']:.1f} s"
        lines.append(f"{name:<9} {b['version']} on {b['device']} ({b['chip']}), plays in {b['precision']}")
        lines.append(f"          products {products} (BLAS: {b['blas']}), {rest}, compiles: {compiles}")
    lines.append("video     " + ", ".join(f"{c}: {'yes' if found else 'no'}" for c, found in facts["codecs"].items()))
    lines.append(f"sound     OpenAL (for Doom): {'yes' if facts['openal'] else 'no'}")
    lines.append("extras    " + ", ".join(f"{extra}: {v or 'no'}" for extra, v in facts["extras"].items()))
    lines.append("worlds    " + (", ".join(facts["worlds"]) or "none shipped"))
    return "\n".join([*lines, *(f"-> {line}" for line in facts["advice"])] + ([] if facts["advice"] else ["All well."]))


def _rate(tflops: float) -> str:
    return f"{tflops:.1f} TFLOP/s" if tflops >= 1 else f"{1e3 * tflops:.0f} GFLOP/s"


if __name__ == "__main__":
    entry(main)
