"""The Frechet distance between two sets of features, each taken for a Gaussian (Heusel et al. 2017; Dowson & Landau
1982): how far what is dreamt is from what is real as a whole, whichever frame stands beside which."""

import numpy as np

from mlxworld.errors import MlxworldError


def frechet(a: np.ndarray, b: np.ndarray) -> float:
    """|mean a - mean b|^2 + tr(A + B - 2 (A B)^(1/2)) of features (N, D) and (M, D) with covariances A and B.

    The trace of the root is the sum of the singular values of A^(1/2) B^(1/2), which needs no root of a matrix that is
    not symmetric. Raises MlxworldError for sets of different widths or of fewer than two rows.
    """
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or min(len(a), len(b)) < 2:
        raise MlxworldError(f"a Frechet distance needs features (N, D) and (M, D), N, M > 1, not {a.shape}, {b.shape}")
    a, b = a.astype(np.float64), b.astype(np.float64)
    A, B = (np.atleast_2d(np.cov(x, rowvar=False)) for x in (a, b))
    cross = np.linalg.svd(_root(A) @ _root(B), compute_uv=False).sum()
    return float(max(0.0, np.square(a.mean(0) - b.mean(0)).sum() + np.trace(A) + np.trace(B) - 2 * cross))


def _root(covariance: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(covariance)
    return (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
