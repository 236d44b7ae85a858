"""The learning rate over a stage."""

import math


def cosine(step: int, steps: int, warmup: int) -> float:
    """Share of the peak learning rate at `step` of `steps`: linear warm-up, then half a cosine down to 0.02."""
    if step < warmup:
        return (step + 1) / warmup
    done = min(1.0, (step - warmup) / max(1, steps - warmup))
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done))


def warmup(steps: int) -> int:
    """Steps over which the learning rate rises."""
    return max(1, min(500, steps // 20))
