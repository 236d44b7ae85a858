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

from ..world import World
from .parts import Part

Show = Callable[[str, Iterable[int]], Iterable[int]]  # names a loop and shows how far it is


def silent(name: str, turns: Iterable[int]) -> Iterable[int]:
    """Shows nothing."""
    return turns


def timing(ms: np.ndarray, frames: int = 1) -> dict[str, float]:
    """fps of all worlds, p50_ms and p99_ms of a call, from the milliseconds of calls that give `frames` frames each."""
    p50, p99 = np.percentile(ms, [50, 99])
    return {"fps": 1e3 * frames / float(ms.mean()), "p50_ms": float(p50), "p99_ms": float(p99)}


def rollout(world: World, frames: int, show: Show = silent) -> tuple[dict[str, float], dict[str, float]]:
    """Plays `frames` frames after as many as fill the context, with actions that change every eighth frame.

    Returns times (as `timing`, with first_ms and the p99_ms of the first and the last tenth) and memory in bytes: what
    the backend holds (active, peak), the process, and their growth over those frames as a share.
    """
    world.reset(seed=7)
    warm = world.config.dynamics.memory + 8
    ms = np.empty(frames)
    first, begun = 0.0, {}
    for i in show("rollout", range(-warm, frames)):
        if i == 0:
            begun = memory(world)
        start = time.perf_counter()
        world.step([(i + warm) // 8 % len(world.actions)] * world.batch)
        taken = 1e3 * (time.perf_counter() - start)
        if i >= 0:
            ms[i] = taken
        elif i == -warm:
            first = taken
    now, tenth = memory(world), -(-frames // 10)
    ends = {f"p99_{name}_ms": float(np.percentile(x, 99)) for name, x in (("early", ms[:tenth]), ("late", ms[-tenth:]))}
    held = now | {f"{name}_growth": now[name] / max(begun[name], 1) - 1 for name in ("active", "process")}
    return timing(ms, world.batch) | {"first_ms": first} | ends, held


def memory(world: World) -> dict[str, int]:
    """Bytes: active and peak of the backend, and the whole process on the host."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    pages = Path("/proc/self/statm")
    now = int(pages.read_text().split()[1]) * resource.getpagesize() if pages.exists() else peak
    return {**world.memory(), "process": now}


def part(engine: Any, part: Part, calls: int, name: str = "", show: Show = silent) -> dict[str, float]:
    """Times of a part alone (as `timing`, with first_ms), its results on the host, after 5 calls to warm up."""
    fn, state = engine.fixed(part.fn), part.state
    ms, warm, first = np.empty(calls), 5, 0.0
    with engine.inference():
        for i in show(name, range(-warm, calls)):
            start = time.perf_counter()
            state, found = fn(state, *part.inputs)
            engine.numpy(found)
            taken = 1e3 * (time.perf_counter() - start)
            if i >= 0:
                ms[i] = taken
            elif i == -warm:
                first = taken
    return timing(ms, part.frames) | {"first_ms": first}
