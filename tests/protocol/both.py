"""Values and gradients of one function on either backend, as numpy, so that tests can compare them."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np


def close(ours, theirs, tolerance: float = 1e-5) -> None:
    """Asserts that two lists of arrays agree in shape, dtype and value: `tolerance` is relative, absolute below 1."""
    assert len(ours) == len(theirs), f"{len(ours)} arrays against {len(theirs)}"
    for a, b in zip(ours, theirs, strict=True):
        a, b = np.asarray(a), np.asarray(b)
        assert (a.shape, a.dtype) == (b.shape, b.dtype), f"{a.dtype}{a.shape} against {b.dtype}{b.shape}"
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


def values(backend: ModuleType, fn: Callable[..., Any], arrays: list[np.ndarray]) -> list[np.ndarray]:
    """The result of fn(*arrays), an array or a sequence of them, as a list of numpy arrays."""
    return backend.engine.numpy(_many(fn(*backend.engine.array(arrays))))


def gradients(backend: ModuleType, fn: Callable[..., Any], arrays: list[np.ndarray]) -> list[np.ndarray]:
    """The gradient of the sum of fn's float results, under fixed uneven weights, by each float32 array."""
    floats = [i for i, a in enumerate(arrays) if a.dtype == np.float32]

    def total(*moving) -> Any:
        given = backend.engine.array(arrays)
        for i, x in zip(floats, moving, strict=True):
            given[i] = x
        results = [y for y in _many(fn(*given)) if str(y.dtype).endswith("float32")]
        weights = [np.cos(np.arange(np.prod(y.shape, dtype=int)).reshape(y.shape) + 1.0) for y in results]
        loss = 0 * moving[0].sum()
        for y, w in zip(results, backend.engine.array(weights), strict=True):
            loss = loss + (y * w).sum()
        return loss

    moving = backend.engine.array([arrays[i] for i in floats])
    if not moving:
        return []
    if backend.__name__ == "mlxworld":
        import mlx.core as mx

        return backend.engine.numpy(mx.grad(lambda xs: total(*xs))(moving))
    import torch

    moving = [x.requires_grad_() for x in moving]
    return backend.engine.numpy(list(torch.autograd.grad(total(*moving), moving, materialize_grads=True)))


def _many(result) -> list:
    return list(result) if isinstance(result, list | tuple) else [result]
