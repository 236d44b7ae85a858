"""Time and memory of a world: every frame is waited for, picture and sound on the host, the context being full.

The first call of anything, which may compile or record, is told apart. Knows nothing of flags and printing.
"""

import resource
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from ..play.world import World
from . import compiling
from .compiling import Waiting
from .parts import Part

Show = Callable[[str, Iterable[int]], Iterable[int]]  # names a loop and shows how far it is


def silent(name: str, turns: Iterable[int]) -> Iterable[int]:
    """Shows nothing."""
    return turns


def timing(ms: np.ndarray, frames: int = 1) -> dict[str, float]:
    """fps of all worlds, p50_ms and p99_ms of a call, from the milliseconds of calls that give `frames` frames each."""
    p50, p99 = np.percentile(ms, [50, 99])
    return {"fps": 1e3 * frames / float(ms.mean()), "p50_ms": float(p50), "p99_ms": float(p99)}


def rollout(
    world: World, frames: int, show: Show = silent, waiting: Waiting = compiling.silent
) -> tuple[dict[str, float], dict[str, float]]:
    """Plays `frames` frames after as many as fill the context, with actions that change every eighth frame.

    Returns times (as `timing`, with the p99_ms of the first and the last tenth; first_ms of the first step of all;
    compile_s until the compiled step is there; stream_fps where actions are known ahead) and memory in bytes: what the
    backend holds (active, peak), the process, and their growth over those frames as a share.
    """
    world.reset(seed=7)
    with waiting("step"):
        first, start = _step(world, 0), time.perf_counter()
        world.settle()
        compiled = time.perf_counter() - start
    world.reset(seed=7)
    warm = world.config.context_frames + 8
    ms, begun = np.empty(frames), {}
    for i in show("rollout", range(-warm, frames)):
        if i == 0:
            begun = memory(world)
        taken = _step(world, i + warm)
        if i >= 0:
            ms[i] = taken
    now, tenth = memory(world), -(-frames // 10)
    held = now | {f"{name}_growth": now[name] / max(begun[name], 1) - 1 for name in ("active", "process")}
    ends = {f"p99_{name}_ms": float(np.percentile(x, 99)) for name, x in (("early", ms[:tenth]), ("late", ms[-tenth:]))}
    more = {"first_ms": first, "compile_s": compiled, "stream_fps": _stream(world, min(frames, 300))}
    return timing(ms, world.batch) | ends | more, held


def _step(world: World, i: int) -> float:
    """Milliseconds from the action to picture and sound."""
    start = time.perf_counter()
    world.step(_action(world, i))
    return 1e3 * (time.perf_counter() - start)


def _stream(world: World, frames: int) -> float:
    """Frames a second, of all worlds, where the device need not wait for the host."""
    start = time.perf_counter()
    for _ in world.stream(_action(world, i) for i in range(frames)):
        pass
    return frames * world.batch / (time.perf_counter() - start)


def _action(world: World, i: int) -> list[int]:
    return [i // 8 % len(world.actions)] * world.batch


def memory(world: World) -> dict[str, int]:
    """Bytes: active and peak of the backend, and the whole process on the host."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    pages = Path("/proc/self/statm")
    now = int(pages.read_text().split()[1]) * resource.getpagesize() if pages.exists() else peak
    return {**world.memory(), "process": now}


def part(
    engine: Any,
    part: Part,
    calls: int,
    compiled: bool,
    name: str = "",
    show: Show = silent,
    waiting: Waiting = compiling.silent,
) -> dict[str, float]:
    """Times of a part alone (as `timing`, with first_ms, compile_s and frames of a call), its results on the host."""
    loop = engine.Loop({"part": part.fn}, compile="part" if compiled else None)
    ms, warm = np.empty(calls), 5

    def call() -> float:
        start = time.perf_counter()
        engine.fetch(loop("part", *part.inputs))()
        return 1e3 * (time.perf_counter() - start)

    with engine.inference():
        loop.begin(part.state)
        with waiting(name):
            first, start = call(), time.perf_counter()
            loop.settle()
            taken = time.perf_counter() - start
        loop.begin(part.state)
        for i in show(name, range(-warm, calls)):
            last = call()
            if i >= 0:
                ms[i] = last
    return timing(ms, part.frames) | {"first_ms": first, "compile_s": taken, "frames": part.frames}
