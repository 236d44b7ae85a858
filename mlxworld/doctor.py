"""`mlxworld doctor`: what this machine is, what is installed, how fast it is, and what to do about what is missing."""

import ctypes.util
import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import sys
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

EXTRAS = {
    "atari": "ale-py",
    "doom": "vizdoom",
    "physics": "pymunk",
    "coreml": "coremltools",
    "mlx-data": "mlx-data",
}  # extra: its package
FRAMEWORKS = {"mlx": "mlx", "torch": "torch"}
CODECS = {"h264": "libx264", "aac": "aac"}  # codec: the encoder that recordings are written with
SIZE = 1024  # of the square matrices whose product is timed
REFERENCE = "MLX's own, slow"


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
    """All facts, as plain values: machine, versions, backends, codecs, extras, openal, worlds, advice."""
    facts = {
        "machine": machine(),
        "versions": {"mlxworld": mlxworld.__version__} | {name: version(name) for name in ("numpy", "av", "gymnasium")},
        "backends": {name: backend(name) for name in mlxworld.installed()},
        "codecs": {
            codec: codec in av.codecs_available and encoder in av.codecs_available for codec, encoder in CODECS.items()
        },
        "extras": {extra: version(package) for extra, package in EXTRAS.items()},
        "openal": ctypes.util.find_library("openal") is not None,
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


def chip() -> str:
    """The processor's name for itself: "Apple M4 Max"."""
    if sys.platform == "darwin":
        named = subprocess.run(
            ["sysctl", "-n", "machdep.cpu.brand_string"], capture_output=True, text=True, check=False
        )
        return named.stdout.strip() or platform.machine()
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def version(package: str) -> str | None:
    """The installed version of a package, None without it."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def backend(name: str) -> dict[str, Any]:
    """A backend's version, device, precision of play, BLAS and measured rate of a float32 matrix product in GFLOP/s."""
    package = mlxworld.on(name)
    engine = package.engine
    return {
        "version": version(FRAMEWORKS[name]),
        "device": engine.device(),
        "precision": engine.rollout_precision(),
        "blas": blas(name, engine.device()),
        "gflops": round(gemm_rate(engine), 1),
    }


def blas(name: str, device: str) -> str:
    """Where a backend's matrix products on the CPU come from."""
    if device != "cpu":
        return "the device's own"
    if name == "torch":
        return "PyTorch's"
    from . import blas

    return "PyTorch's" if blas.loaded else "Accelerate" if sys.platform == "darwin" else REFERENCE


def gemm_rate(engine: ModuleType, repeats: int = 3) -> float:
    """GFLOP/s of the best of `repeats` products of two SIZE x SIZE float32 matrices, after one to warm up."""
    a = engine.array(np.random.default_rng(0).normal(size=(SIZE, SIZE)).astype(np.float32))
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        engine.numpy((a @ a).sum())  # waits for the device
        times.append(time.perf_counter() - start)
    return 2 * SIZE**3 / min(times[1:]) / 1e9


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


def report(facts: dict[str, Any]) -> str:
    """The facts as lines to read."""
    here = facts["machine"]
    memory = f"{here['memory_gib']} GiB, {here['disk_free_gib']} GiB of disk free"
    lines = [
        f"machine   {here['chip']}, {here['cores']} cores, {memory}; {here['system']}",
        f"python    {here['python']}; " + ", ".join(f"{n} {v}" for n, v in facts["versions"].items()),
    ]
    for name, b in facts["backends"].items():
        speed = f"float32 product {b['gflops']:.0f} GFLOP/s, BLAS: {b['blas']}"
        lines.append(f"{name:<9} {b['version']} on {b['device']}, plays in {b['precision']}; {speed}")
    lines.append("video     " + ", ".join(f"{c}: {'yes' if found else 'no'}" for c, found in facts["codecs"].items()))
    lines.append(f"sound     OpenAL (for Doom): {'yes' if facts['openal'] else 'no'}")
    lines.append("extras    " + ", ".join(f"{extra}: {v or 'no'}" for extra, v in facts["extras"].items()))
    lines.append("worlds    " + (", ".join(facts["worlds"]) or "none shipped"))
    return "\n".join([*lines, *(f"-> {line}" for line in facts["advice"])] + ([] if facts["advice"] else ["All well."]))


if __name__ == "__main__":
    entry(main)
