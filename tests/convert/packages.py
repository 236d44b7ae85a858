"""A Core ML package of a small world, converted once; and rollouts of packages beside PyTorch's."""

import functools
import io
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import pytest

import mlxworld.play.coreml
from convert import to_coreml
from convert.mil_evaluator import Evaluated
from mlxworld import World
from tests.play.small_world import small_world

function = functools.cache(Evaluated)  # reading one takes longer than running it


def made(folder: Path) -> Path:
    """small.mlpackage in a folder, small/ and small.verify beside it, and in small.txt what was printed."""
    small_world(folder / "small")
    with redirect_stdout(io.StringIO()) as printed:
        to_coreml.main(["--world", str(folder / "small"), "--out", str(folder / "small.mlpackage")])
    (folder / "small.txt").write_text(printed.getvalue())
    return folder / "small.mlpackage"


def evaluated(patch: pytest.MonkeyPatch, wrong: Path | None = None, only: str = "") -> None:
    """Lets Core ML worlds play through the evaluator; with the function `only` from the package `wrong`, if given."""
    patch.setattr(
        mlxworld.play.coreml, "open_function", lambda path, name: function(str(wrong if name == only else path), name)
    )


def psnr(world: World, other: World, frames: int = 8) -> float:
    """Decibels between the pictures of two worlds, dreamt from the same seed and actions."""
    for w in (world, other):
        w.reset(7, 0)
    pairs = [(world.step(t % 3).video, other.step(t % 3).video) for t in range(frames)]
    return decibels([np.float64(a) / 255 - np.float64(b) / 255 for a, b in pairs])


def decibels(differences) -> float:
    return -10 * float(np.log10(np.mean(np.square(differences)) + 1e-12))
