"""How long a training takes: here from steps that were timed, on other chips as bands, from the FLOPs of those steps.

    t = sum over stages of steps * FLOPs of a step / (share * rate of large products)

Share is what training reaches of a machine's rate: on the H100 that of `nano`, measured (10 to 13 %: its host cannot
keep up); on Macs between that and what is reached here, which is assumed.
"""

from collections.abc import Mapping
from types import ModuleType
from typing import Any

from . import machine
from .chips import CHIPS, H100
from .measure import Show, silent
from .predict import GEMM, UNKNOWN_PEAK
from .training import training

CLIPS = 2  # of a timed step on the CPU; on a GPU as many as the recipe's
SHARES = (0.10, 0.13)  # of large products on the H100, `nano` with Muon, two machines
LARGE = 756.0  # TFLOP/s of those, median of the measured rows


def estimate(package: ModuleType, config: Any, stages: Mapping[str, tuple[int, int]], show: Show = silent) -> Any:
    """Times one step of each stage and returns {"stages": {name: {"steps", "seconds", "tflop"}}, "here": seconds,
    "chip", "bands": {chip: (least, most) seconds}}.

    stages: {name: (steps, clips of one)}; "tflop" is the work of one step.
    """
    engine = package.engine
    on_gpu = engine.device() != "cpu"
    precision = machine.best_gemm(engine)
    gemm = machine.gemm(engine, precision)
    rows = training(package, config, None if on_gpu else CLIPS, precision, on_gpu, gemm, show)
    figures, work = {}, 0.0
    for name, row in rows.items():  # those that this data has
        steps, clips = stages[name]
        scale = clips / row["clips"]
        seconds, tflop = scale / row["steps_per_s"], scale * row["tflops"] / row["steps_per_s"]
        figures[name] = {"steps": steps, "seconds": seconds, "tflop": tflop}
        work += steps * tflop
    seconds_in_all = sum(s["steps"] * s["seconds"] for s in figures.values())
    shares = (SHARES[0], max(SHARES[1], min(1.0, work / seconds_in_all / gemm)))
    return {
        "stages": figures,
        "here": seconds_in_all,
        "chip": machine.chip(engine.device()),
        "bands": bands(work, shares),
    }


def bands(work: float, shares: tuple[float, float]) -> dict[str, tuple[float, float]]:
    """{chip: (least, most) seconds} for so many TFLOP; shares: of a Mac's rate, the least and the most."""
    seconds = {H100.name: (work / LARGE / SHARES[1], work / LARGE / SHARES[0])}
    for chip in CHIPS:
        if chip.achieved:
            low, high = chip.achieved[0], GEMM * (chip.peak[1] if chip.peak else UNKNOWN_PEAK * chip.achieved[0])
        else:
            assert chip.peak
            low, high = chip.peak
        seconds[chip.name] = work / max(low, high) / shares[1], work / low / shares[0]
    return seconds


def report(figures: Any) -> str:
    """The estimate as lines to read."""
    lines = [
        f"{name}: {s['steps']:,} steps of {s['seconds']:.3g} s here, {s['tflop']:.3g} TFLOP each"
        for name, s in figures["stages"].items()
    ]
    lines.append(f"here ({figures['chip']}): about {_length(figures['here'])}, from steps timed just now")
    lines.append("predicted, not measured:")
    lines += [f"  {name:<9} {_length(least)} to {_length(most)}" for name, (least, most) in figures["bands"].items()]
    return "\n".join(lines)


def _length(seconds: float) -> str:
    return f"{seconds / 60:.3g} min" if seconds < 5400 else f"{seconds / 3600:.3g} h"
