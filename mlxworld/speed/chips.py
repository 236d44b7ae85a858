"""Published figures of chips, none measured by us: what a prediction is made from where nothing can be run.

peak: float32 TFLOP/s (on M5 a bfloat16 product as achieved, its neural accelerators included; on the H100 bfloat16).
bandwidth: GB/s. achieved: TFLOP/s and GB/s that somebody reached in MLX, float32, with thin matrices on an old version:
a lower bound.
"""

from dataclasses import dataclass

SOURCES = {
    "peak": "peaks: Metal.jl issue 80, applegpuinfo issue 1, gpu.cpp issue 40, huggingface.js pull request 1044",
    "bandwidth": "bandwidth: llmfit issue 551, arXiv 2502.05317",
    "achieved": "achieved: TristanBilot/mlx-benchmark, 1000 x (1024x64 @ 64x256) and 1e6x64 @ 64x1024",
    "m5": "M5: mlx issues 3196, 3295, 3821",
    "nvidia": "NVIDIA H100 SXM data sheet, dense",
}


@dataclass(frozen=True)
class Chip:
    name: str
    bandwidth: float
    peak: tuple[float, float] | None = None  # the least and the most that is published
    achieved: tuple[float, tuple[float, float]] | None = None  # TFLOP/s, then the least and the most GB/s
    sources: tuple[str, ...] = ("peak", "bandwidth", "achieved")

    def __post_init__(self):
        assert self.peak or self.achieved, self.name


def _m5(name: str, bandwidth: float, low: float, high: float) -> Chip:
    return Chip(name, bandwidth, (low, high), None, ("m5", "bandwidth"))


CHIPS = (
    Chip("M1", 68, (2.6, 2.6), (1.3, (54, 54))),
    Chip("M1 Pro", 200, None, (3.6, (125, 125)), ("bandwidth", "achieved")),
    Chip("M1 Max", 400, (10.6, 10.6), (6.9, (248, 248))),
    Chip("M1 Ultra", 800, (15.9, 15.9), (7.3, (262, 262))),
    Chip("M2", 100, (3.6, 3.6), (1.9, (64, 64))),
    Chip("M2 Pro", 200, (6.8, 6.8), (3.8, (88, 88))),
    Chip("M2 Max", 400, (13.5, 13.5), (7.9, (318, 318))),
    Chip("M2 Ultra", 800, None, (10.0, (580, 580)), ("bandwidth", "achieved")),
    Chip("M3", 100, (4.1, 4.1), (2.0, (73, 73))),
    Chip("M3 Pro", 150, (6.4, 7.4), (2.9, (109, 109))),
    Chip("M3 Max", 400, None, (7.2, (276, 276)), ("bandwidth", "achieved")),
    Chip("M3 Ultra", 800, None, (9.2, (362, 362)), ("bandwidth", "achieved")),
    Chip("M4", 120, (4.6, 4.6), (1.9, (57, 57))),
    Chip("M4 Pro", 273, (9.2, 9.2), (3.8, (98, 126))),
    Chip("M4 Max", 546, (18.4, 18.4), (7.4, (274, 274))),
    _m5("M5", 153.6, 6.5, 6.5),
    _m5("M5 Pro", 307, 13.6, 13.6),
    _m5("M5 Max", 614, 14.9, 55),
)
H100 = Chip("H100", 3350, (989, 989), None, ("nvidia",))
