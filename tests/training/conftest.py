"""A tiny dataset, and a world that was trained on it, for what begins from one."""

import pytest

from mlxworld import train
from tests.training import tiny


@pytest.fixture(scope="session")
def dots(tmp_path_factory):
    return tiny.dots(tmp_path_factory.mktemp("data") / "dots")


@pytest.fixture(scope="session")
def parent(dots, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "world"
    train.main(["--data", str(dots), "--out", str(out), *tiny.argv(backend="torch", **{"forcing.steps": 0})])
    return out
