"""What a model reads of a world's bodies against what its simulator knew. Knows numpy and nothing else.

N clips, T frames, n bodies. Position and velocity (N, T, n, 3), mass and energy (N, T, n).
"""

import numpy as np


def position_error(found: np.ndarray, truth: np.ndarray, width: float) -> np.ndarray:
    """Mean distance of bodies from where they are, of each frame (T,), as a share of the frame's width."""
    return np.linalg.norm(found - truth, axis=-1).mean(axis=(0, 2)) / width


def energy_drift(found: np.ndarray, truth: np.ndarray) -> float:
    """How far the change of the scene's energy since a clip's first frame is from the simulator's, as a share of the
    energy there was: the mean over clips, each on its own, and frames."""
    total, true = found.sum(axis=-1), truth.sum(axis=-1)
    missed = np.abs((total - total[:, :1]) - (true - true[:, :1]))
    return float((missed / np.maximum(np.abs(true[:, :1]), 1e-9)).mean())


def auc(possible: np.ndarray, impossible: np.ndarray) -> float:
    """Area under the ROC curve of plausibility: how often a possible clip is above an impossible one; ties are half."""
    above = possible[:, None] - impossible[None]
    return float(((above > 0) + 0.5 * (above == 0)).mean())
