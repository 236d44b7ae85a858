"""Checks a Core ML world on a Mac: python verify_on_mac.py WORLD.mlpackage; needs coremltools and numpy alone.

Plays the calls saved in calls.npz, beside this file, on the CPU, on the GPU and on the Neural Engine, and compares with
what PyTorch gave in float32. Prints the largest error of each function's first output and its milliseconds a call (the
median, the first call left out), a frame's milliseconds, and how far the pictures are (PSNR). Ends with 1 if pictures
are further than the precision of the weights explains, or anything is not finite. macOS 15 or later.
"""

import sys
import time
from pathlib import Path

import numpy as np

LIMITS = {"fp16": 40.0, "int8": 35.0, "int4": 28.0}  # decibels of PSNR that pictures must reach
UNITS = {"CPU": "CPU_ONLY", "GPU": "CPU_AND_GPU", "Neural Engine": "CPU_AND_NE"}


def read(path):
    """The precision, and the calls in order: (part, inputs, outputs)."""
    calls = {}
    with np.load(path, allow_pickle=False) as saved:
        for name in sorted(set(saved.files) - {"precision"}):
            number, part, way, array = name.split(".")
            calls.setdefault(number, (part, {}, {}))[1 if way == "in" else 2][array] = saved[name]
        return str(saved["precision"]), list(calls.values())


def play(functions, calls, clock=time.perf_counter):
    """functions: part -> an MLModel, or what stands in for one. Returns part -> (largest errors of its first output,
    milliseconds), one of each a call, and the PSNR of all pictures in decibels, None without pictures."""
    found, squares, state = {}, [], None
    for part, inputs, outputs in calls:
        stateful = part in ("step", "observe")
        if stateful and state is None:
            state = functions[part].make_state()  # one state for both functions
        begun = clock()
        got = functions[part].predict(inputs, state) if stateful else functions[part].predict(inputs)
        ms = 1e3 * (clock() - begun)
        name, wanted = next(iter(outputs.items()))
        gap = np.abs(np.asarray(got[name], np.float32).reshape(wanted.shape) - wanted)
        errors, times = found.setdefault(part, ([], []))
        errors.append(float(gap.max()) if np.isfinite(gap).all() else float("inf"))
        times.append(ms)
        if part == "video":
            squares.append(float(np.mean(gap**2)))
    psnr = -10 * np.log10(max(np.mean(squares), 1e-12)) if squares else None
    return found, psnr


def passed(found, psnr, precision):
    """Whether everything is finite and pictures are near enough."""
    finite = all(np.isfinite(errors).all() for errors, _ in found.values())
    return bool(finite and (psnr is None or psnr >= LIMITS[precision]))


def report(unit, found, psnr):
    """Lines to print."""
    yield f"{unit}:"
    frame = 0.0
    for part, (errors, times) in found.items():
        ms = float(np.median(times[1:] or times))
        frame += ms if part in ("step", "video", "audio") else 0.0
        yield f"  {part:8} {len(errors):3} calls   largest error {max(errors):9.2e}   {ms:8.2f} ms"
    yield f"  a frame {frame:.2f} ms" + ("" if psnr is None else f", pictures {psnr:.1f} dB")


def main(argv):
    here = Path(__file__).parent
    precision, calls = read(here / "calls.npz")
    package = Path(argv[1] if len(argv) > 1 else here / "..")
    import coremltools as ct

    well = True
    for unit, name in UNITS.items():
        functions = {
            part: ct.models.MLModel(str(package), function_name=part, compute_units=ct.ComputeUnit[name])
            for part in dict.fromkeys(part for part, _, _ in calls)
        }
        found, psnr = play(functions, calls)
        print("\n".join(report(unit, found, psnr)))
        well &= passed(found, psnr, precision)
    print("as it should be" if well else "NOT as it should be")
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv))
