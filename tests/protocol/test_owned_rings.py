"""Rings that are written in place while someone owns the state: PyTorch's `owning_rings`, also within itself."""

import contextlib

import pytest
import torch

from torch_backend import ops


def in_place() -> bool:
    """Whether a ring is written to, and not a copy of it."""
    ring = torch.zeros(1, 1, 4, 3, 8)
    written = ops.ring_write(ring, torch.ones(1, 1, 1, 3, 8), torch.tensor([2], dtype=torch.int32))
    assert written[:, :, 2].eq(1).all() and written.sum() == 3 * 8
    return bool(ring.any())


def test_whoever_owns_a_ring_owns_it_to_the_end():
    assert not in_place()
    with ops.owning_rings():
        assert in_place()
        with ops.owning_rings():
            assert in_place()
        assert in_place(), "the inner one gives back what was before"
        with contextlib.suppress(ValueError), ops.owning_rings():
            raise ValueError
        assert in_place()
    assert not in_place()
    with pytest.raises(ValueError, match="x"), ops.owning_rings():
        raise ValueError("x")
    assert not in_place()
