"""Batches as dicts of numpy arrays with a leading axis B."""

import numpy as np

from .errors import MlxworldError


def cut(batch: dict[str, np.ndarray], n: int) -> list[dict[str, np.ndarray]]:
    """The batch in n parts of B / n, as views. Raises MlxworldError when n does not divide B."""
    sizes = {len(x) for x in batch.values()}
    if len(sizes) != 1 or min(sizes) % n or not min(sizes):
        raise MlxworldError(f"a batch of {'/'.join(map(str, sorted(sizes)))} cannot be cut in {n} equal parts")
    size = sizes.pop() // n
    return [{name: x[i * size : (i + 1) * size] for name, x in batch.items()} for i in range(n)]
