"""Convolutions over patches as matrices, and leading axes of one, in both directions; shapes that cannot be refused."""

import numpy as np
import pytest

from mlxworld.errors import MlxworldError
from mlxworld.files.names import Ones, Patches, to_ours, to_theirs


@pytest.mark.parametrize(("frames", "shape"), [(1, (5, 3, 4, 4)), (2, (5, 3, 2, 4, 4))])
def test_a_convolution_over_patches_is_a_matrix(frames, shape):
    kernel = np.random.default_rng(0).normal(size=shape)
    table = {"proj.weight": Patches("embed.weight", frames)}
    ours = to_ours({"proj.weight": kernel}, table, "the test")
    pixels = np.random.default_rng(1).normal(size=shape[1:])  # channels first
    assert ours.shapes == {"embed.weight": (5, kernel[0].size)}
    rows = np.moveaxis(pixels, 0, -1).reshape(-1)  # channels last
    assert np.allclose(ours["embed.weight"] @ rows, (kernel * pixels).reshape(5, -1).sum(1))
    theirs = to_theirs(ours, table, "the test")
    assert theirs.shapes == {"proj.weight": shape} and (theirs["proj.weight"] == kernel).all()


def test_leading_axes_of_one_come_and_go():
    x, table = np.arange(6.0).reshape(1, 1, 2, 3), {"cls": Ones("token", 2)}
    ours = to_ours({"cls": x}, table, "the test")
    assert (ours["token"] == x[0, 0]).all() and ours.shapes == {"token": (2, 3)}
    assert (to_theirs(ours, table, "the test")["cls"] == x).all()


@pytest.mark.parametrize(
    ("value", "shape", "message"),
    [
        (Patches("a"), (5, 4, 4, 4), "no convolution over patches of 1 frames"),
        (Patches("a"), (5, 3, 2, 4, 4), "no convolution over patches of 1 frames"),
        (Patches("a", 2), (5, 3, 1, 4, 4), "no convolution over patches of 2 frames"),
        (Ones("a", 2), (1, 2, 3), "does not begin with 2 axes of one"),
        (Ones("a", 2), (1,), "does not begin with 2 axes of one"),
    ],
)
def test_other_shapes_are_refused(value, shape, message):
    with pytest.raises(MlxworldError, match=message):
        to_ours({"x": np.zeros(shape)}, {"x": value}, "the file")


def test_a_matrix_that_is_no_kernel_is_refused():
    with pytest.raises(MlxworldError, match="no matrix over square patches"):
        to_theirs({"a": np.zeros((5, 49))}, {"x": Patches("a")}, "the file")
