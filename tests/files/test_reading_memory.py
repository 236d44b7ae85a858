"""Reading takes the memory of the weights: no array lies beside the one that it is read into."""

import tracemalloc

import ml_dtypes
import numpy as np
import pytest

from mlxworld import MlxworldError
from mlxworld.files import checkpoint, names
from mlxworld.files.names import Join
from mlxworld.files.weights import Entry, Weights

SIDE = 1024
SIZE = 2 * SIDE * SIDE  # bytes of a matrix in bfloat16


@pytest.fixture(scope="module")
def joined(tmp_path_factory) -> Weights:
    """A matrix of two parts and a bias, in a file."""
    path, rng = tmp_path_factory.mktemp("weights") / "model.safetensors", np.random.default_rng(0)
    arrays = {n: rng.standard_normal((SIDE // 2, SIDE)).astype(ml_dtypes.bfloat16) for n in ("a", "b")}
    checkpoint.save(path, arrays | {"c": np.ones(SIDE, ml_dtypes.bfloat16)})
    table = {"a": Join("weight", 0, (1, 1)), "b": Join("weight", 1, (1, 1)), "c": "bias"}
    return names.to_ours(checkpoint.open(path), table, "the test")


def test_parts_are_read_into_the_array_itself(backend, joined):
    model = backend.engine.build(lambda: backend.nn.Linear(SIDE, SIDE))
    tracemalloc.start()  # numpy's memory, and Python's
    backend.engine.load_parameters(model, joined, "the test", "bfloat16")
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 0.75 * SIZE  # of which half is what tells that each number is finite
    read = backend.engine.numpy(backend.engine.parameters(model))
    assert np.array_equal(read["weight"], joined["weight"].astype(np.float32)) and (read["bias"] == 1).all()


def test_what_is_in_memory_is_copied(backend):
    model, arrays = backend.nn.Linear(4, 4), {"weight": np.ones((4, 4), np.float32), "bias": np.ones(4, np.float32)}
    backend.engine.load_parameters(model, Weights.of(arrays), "the test", "float32")
    arrays["weight"][:] = 7
    assert (backend.engine.numpy(backend.engine.parameters(model))["weight"] == 1).all()


def test_an_entry_fills_any_place(joined):
    entry, whole = joined.entries["weight"], joined["weight"].astype(np.float32)
    for place in (np.empty((SIDE, 2 * SIDE), entry.dtype)[:, ::2], np.empty((SIDE, SIDE), np.float32)):
        entry.into(place)
        assert np.array_equal(place.astype(np.float32), whole)
    turned = entry.then(lambda x: x.T, (SIDE, SIDE))
    turned.into(place := np.empty((SIDE, SIDE), entry.dtype))
    assert np.array_equal(place.astype(np.float32), whole.T)


def test_infinity_in_the_last_piece_is_seen():
    x = np.ones(checkpoint.CHUNK + 3, np.float32)
    checkpoint.require_finite("x", x, "f")
    checkpoint.require_finite("x", np.ones((), np.float32), "f")
    x[-1] = np.inf
    with pytest.raises(MlxworldError, match="'x' holds NaN or infinity"):
        checkpoint.require_finite("x", x, "f")


def test_booleans_and_what_numpy_cannot_share(backend, tmp_path):
    arrays = {"a": np.array([True, False]), "b": np.arange(3, dtype=np.float64), "c": np.arange(3, dtype=np.uint32)}
    checkpoint.save(tmp_path / "m.safetensors", arrays)
    weights = checkpoint.open(tmp_path / "m.safetensors")

    for name, x in arrays.items():
        here, there = backend.engine.read(weights, name)
        assert np.array_equal(backend.engine.numpy(here), x) and np.array_equal(there, x)
    assert weights.entries["a"].fill is None and isinstance(weights.entries["b"], Entry)
