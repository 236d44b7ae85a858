"""The time of a call whose result is on the host."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from .measure import Show, silent


def median(call: Callable[[], Any], show: Show = silent, name: str = "", calls: int = 10) -> float:
    """Milliseconds, the median of so many calls after a first one."""
    call()
    ms = []
    for _ in show(name, range(calls)):
        start = time.perf_counter()
        call()
        ms.append(1e3 * (time.perf_counter() - start))
    return float(np.median(ms))
