"""How long compiling will take, said before it begins, and how long it has taken, shown while it lasts.

A compiler's time goes with what it is given: MLX makes a kernel of each different chain of operations, PyTorch looks at
every operation. Seconds for each were measured on `nano`, cold; on disk they stay, and the second time is short. Where
other processes want the cores too, it may take as many times longer.
"""

import contextlib
import os
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from . import counts
from .parts import Part

# (backend's package, device): (what is counted, least and most seconds for each, where that was measured)
SECONDS: dict[tuple[str, str], tuple[str, float, float, str]] = {
    ("mlxworld", "cuda"): ("chains", 4.4, 8.9, "H100"),  # two to four minutes for 27 of them
    ("mlxworld", "cpu"): ("chains", 1.0, 4.0, "2 cores"),  # 94 s for 27, busy
    ("torch_backend", "cuda"): ("operations", 0.005, 0.016, "H100"),  # 14 s for 899, 13.5 s for 2,457
    ("torch_backend", "cpu"): ("operations", 0.009, 0.07, "2 cores"),  # 14.4 s for 1,649
}
Waiting = Callable[[str], contextlib.AbstractContextManager[None]]  # shows what is waited for, while it lasts


def expected(package: ModuleType, part: Part) -> tuple[float, float, str] | None:
    """Seconds that compiling a part takes here, the least and the most, and where they were measured; None where they
    never were."""
    kind = package.__name__, package.engine.device()
    if kind not in SECONDS:
        return None
    counted, least, most, where = SECONDS[kind]
    ops = counts.operations(package, part.fn, part.state, *part.inputs)
    number = len({op[0] for op in counts.fused(ops) if "+" in op[0]}) if counted == "chains" else len(ops)
    return number * least, number * most * busy(), where


def busy() -> float:
    """How many processes want each core here, at least 1: a compiler shares them."""
    return max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


def said(name: str, seconds: tuple[float, float, str] | None) -> str:
    """The line that tells how long it will take."""
    if seconds is None:
        return f"compiling {name}: how long it takes was never measured on such a device"
    least, most, where = seconds
    return f"compiling {name}: {least:.0f} to {most:.0f} s (measured on {where}), less where it is on disk already"


@contextlib.contextmanager
def told(line: str, console: Console | None = None) -> Iterator[None]:
    """Says the line on stderr before its body; on a terminal the time passed is shown meanwhile."""
    console = console or Console(stderr=True)
    console.print(line, highlight=False, markup=False, soft_wrap=True)
    if not console.is_terminal:
        yield
        return
    with Progress(
        SpinnerColumn(), TextColumn("compiling"), TimeElapsedColumn(), console=console, transient=True
    ) as bar:
        bar.add_task("compiling")
        yield


def waiting(package: ModuleType, parts: dict[str, Part], compiled: bool) -> Waiting:
    """What `told` is told of each part by its name; nothing, where nothing is compiled."""

    def wait(name: str) -> Any:
        return told(said(name, expected(package, parts[name]))) if compiled else contextlib.nullcontext()

    return wait


def silent(name: str) -> contextlib.AbstractContextManager[None]:
    """Says nothing."""
    return contextlib.nullcontext()
