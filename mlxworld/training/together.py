"""Several processes that train one model: rank 0 decides and writes, the others follow. Of one process: nothing."""

from collections.abc import Callable
from typing import Any

import numpy as np


def agreed(engine: Any, value: float) -> float:
    """Rank 0's number on every rank, in float32. All ranks call it, and wait for one another."""
    if engine.ranks() == 1:
        return value
    share = value * engine.ranks() if engine.rank() == 0 else 0.0
    return float(engine.numpy(engine.mean(engine.array(np.array(share, np.float32)))))


def once(engine: Any, make: Callable[[], Any]) -> None:
    """Rank 0 makes files that all ranks read; the others wait until they are there."""
    if engine.rank() == 0:
        make()
    agreed(engine, 0)
