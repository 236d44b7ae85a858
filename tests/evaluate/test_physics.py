"""Errors of what a model reads of bodies: right where the answer is known by hand."""

import numpy as np
import pytest

from mlxworld.evaluate.physics import auc, energy_drift, position_error


def test_position_error_is_a_share_of_the_frame():
    truth = np.zeros((2, 3, 4, 3))
    found = truth.copy()
    found[:, 1] += (3, 4, 0)
    np.testing.assert_allclose(position_error(found, truth, 100), [0, 0.05, 0])


def test_energy_drift_is_of_each_clip_and_forgives_a_constant():
    truth = np.full((2, 5, 3), 2.0)
    assert energy_drift(truth + 1, truth) == 0
    found = truth.copy()
    found[0, 1:, 0] += 6
    found[1, 1:, 0] -= 6
    assert energy_drift(found, truth) == pytest.approx(0.8), "what one clip gains, the other's loss does not make good"


def test_auc_counts_pairs():
    assert auc(np.array([0.9, 0.8]), np.array([0.1, 0.2])) == 1
    assert auc(np.array([0.9, 0.1]), np.array([0.5, 0.5])) == 0.5 == auc(np.ones(3), np.ones(3))
