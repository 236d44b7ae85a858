"""Attention mass on hooks: what share of a softmax falls on the keys of each hook, while a model runs as it does.

Nothing of the softmax is computed a second way: attention is asked once more with values that are one at a hook's keys
and zero elsewhere. What it then gives is the mass. Keys of hooks come last.

B batch, H heads, G heads of keys and values, Q queries, M keys of a hook, E width of a head.
"""

from collections.abc import Callable, Sequence
from typing import Any

from ... import ops
from ..arrays import Array

Attend = Callable[..., Array]


class Probe:
    """The mass of every pass since it was made, by hook and layer: the sum over batch and queries, and their number."""

    def __init__(self):
        self._sums: dict[str, dict[int, tuple[Array, int]]] = {}

    def mean(self) -> dict[str, dict[int, Array]]:
        """{hook: {layer: (H,)}}, the mean over all queries. A layer whose gate is shut is not there: its mass is 0."""
        return {name: {n: total / count for n, (total, count) in rows.items()} for name, rows in self._sums.items()}

    def watching(self, attend: Attend, layer: int, hooks: Sequence[Any], queries: int | None = None) -> Attend:
        """`attend` as it is, which notes the mass on the keys of these hooks of its first `queries` (all: None)."""

        def watched(q: Array, k: Array, v: Array, mask: Array | None, **more: Any) -> Array:
            sizes = [hook.cfg.num_tokens for hook in hooks]
            for hook, mass in zip(hooks, masses(attend, q, k, v, mask, sizes, **more), strict=True):
                self._note(hook.cfg.name, layer, mass[:, :, :queries])
            return attend(q, k, v, mask, **more)

        return watched

    def _note(self, name, layer, mass):
        rows = self._sums.setdefault(name, {})
        total, count = rows.get(layer, (0, 0))
        mass = ops.float32(mass)
        rows[layer] = total + mass.sum(axis=(0, 2)), count + mass.shape[0] * mass.shape[2]


def masses(
    attend: Attend, q: Array, k: Array, v: Array, mask: Array | None, sizes: Sequence[int], more: Any = None, **how: Any
) -> list[Array]:
    """The mass (B, H, Q) on each of some hooks, whose keys, so many of each, are the last of k or all of `more`.
    Arguments otherwise: see `attention.attend`."""
    values, shares, M = v if more is None else more[1], [], sum(sizes)
    ahead = 0 if more is not None else v.shape[2] - M  # keys of content, in the array that ends with the hooks'
    for size in sizes:
        parts = [(ahead, 0.0), (size, 1.0), (values.shape[2] - ahead - size, 0.0)]
        shapes = [((*values.shape[:2], n, *values.shape[3:]), x) for n, x in parts if n]
        ones = ops.concat([ops.zeros(shape, like=values) + x for shape, x in shapes], axis=2)
        if more is None:
            y = attend(q, k, ones, mask, **how)
        else:
            y = attend(q, k, v * 0, mask, more=(more[0], ones, more[2]), **how)
        shares.append(y[..., 0])
        ahead += size
    return shares
