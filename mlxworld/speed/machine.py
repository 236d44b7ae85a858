"""What the machine can do at best, each measured in well under a second: matrix products, copies, launches.

Predictions and utilisation are ratios to these, taken in the same run.
"""

import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

SIZES = {"cpu": (1024, 1 << 20)}  # device: rows of a matrix, floats of a copy
GPU = (4096, 64 << 20)
CHAIN = 20  # operations that are waited for together
LAUNCHES = 200


def chip(device: str = "cpu") -> str:
    """The name of what computes, as it calls itself: "Apple M4 Max", "NVIDIA H100 80GB HBM3", the processor's."""
    if device == "cuda" and shutil.which("nvidia-smi"):
        return _told("nvidia-smi", "--query-gpu=name", "--format=csv,noheader").split("\n")[0]
    if sys.platform == "darwin":
        return _told("sysctl", "-n", "machdep.cpu.brand_string") or platform.machine()
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _told(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def rates(engine: ModuleType, precision: str) -> dict[str, float]:
    """gemm_tflops of a square product in `precision`, copy_gbs and launch_us."""
    return {"gemm_tflops": gemm(engine, precision), "copy_gbs": copy(engine), "launch_us": launch(engine)}


def best_gemm(engine: ModuleType) -> str:
    """The precision that utilisation is measured against: bfloat16 on a GPU, float32 on the CPU."""
    return "float32" if engine.device() == "cpu" else "bfloat16"


def gemm(engine: ModuleType, precision: str, repeats: int = 3) -> float:
    """TFLOP/s of the product of two square matrices (4096 rows on a GPU, 1024 on the CPU), the best of `repeats`."""
    size, _ = SIZES.get(engine.device(), GPU)
    turns = 2 if engine.device() == "cpu" else CHAIN
    b = np.random.default_rng(0).normal(size=(size, size)).astype(np.float32) / np.sqrt(size)
    b = engine.array(b, precision)

    def products():
        x = b
        for _ in range(turns):
            x = x @ b
        return x

    return 2 * size**3 * turns / best(engine, products, repeats) / 1e12


def copy(engine: ModuleType, repeats: int = 3) -> float:
    """GB/s, read and written, of one pointwise operation over 256 MiB (4 MiB on the CPU), the best of `repeats`."""
    _, n = SIZES.get(engine.device(), GPU)
    turns = 8
    first = engine.array(np.ones(n, np.float32))

    def copies():
        x = first
        for _ in range(turns):
            x = abs(x)
        return x

    return 8 * n * turns / best(engine, copies, repeats) / 1e9


def launch(engine: ModuleType, repeats: int = 3) -> float:
    """Microseconds that an operation costs however small it is, in a function of fixed shapes as rollouts are."""
    tiny = engine.array(np.eye(8, dtype=np.float32))

    def chain(x):
        for _ in range(LAUNCHES):
            x = x @ x
        return x

    chain = engine.fixed(chain)
    return 1e6 * best(engine, lambda: chain(tiny), repeats) / LAUNCHES


def best(engine: ModuleType, fn: Callable[[], Any], repeats: int) -> float:
    """Seconds of the fastest of `repeats` calls, after one to warm up; the device is waited for."""
    times = []
    with engine.inference():
        for _ in range(repeats + 1):
            begun = time.perf_counter()
            wait(engine, fn())
            times.append(time.perf_counter() - begun)
    return min(times[1:])


def wait(engine: ModuleType, x: Any) -> None:
    """Waits for an array without fetching more than one number of it."""
    engine.numpy(x.reshape(-1)[:1])
