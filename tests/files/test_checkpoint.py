"""Files: what is written comes back, and nothing that goes wrong while writing or reading harms or hides anything."""

import errno
import os
import pickle
import resource

import numpy as np
import pytest

from mlxworld import MlxworldError
from mlxworld.files import checkpoint

ARRAYS = {
    "a.weight": np.arange(12, dtype=np.float32).reshape(3, 4).T,  # not contiguous
    "half": np.array([1.5, -2.0], np.float16),
    "step": np.array(7),
    "mask": np.array([True, False, True]),
    "empty": np.zeros((0, 3), np.uint8),
}


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "model.safetensors"
    checkpoint.save(path, ARRAYS, {"format": "1"})
    return path


def fails(path, *words):
    """Loading fails with one line that names the file and holds each of `words`."""
    with pytest.raises(MlxworldError) as failure:
        checkpoint.load(path)
    message = str(failure.value)
    assert "\n" not in message and path.name in message
    assert all(word in message for word in words), message


def test_what_is_saved_comes_back_with_dtypes_shapes_and_metadata(path):
    arrays, metadata = checkpoint.load(path)
    assert metadata == {"format": "1"} and set(arrays) == set(ARRAYS)
    for name, x in ARRAYS.items():
        assert arrays[name].dtype == x.dtype and arrays[name].shape == x.shape
        np.testing.assert_array_equal(arrays[name], x)
    assert os.listdir(path.parent) == [path.name]


def test_files_of_other_programs_with_bfloat16_are_read(tmp_path):
    import torch
    from safetensors.torch import save_file

    path = tmp_path / "bf16.safetensors"
    x = torch.tensor([[1.0, -2.5], [3e38, 1e-30]], dtype=torch.bfloat16)
    save_file({"x": x}, path)
    np.testing.assert_array_equal(checkpoint.load(path)[0]["x"], x.float().numpy())


@pytest.mark.parametrize("left", [0, 5, 40, -1])
def test_truncated(path, left):
    path.write_bytes(path.read_bytes()[:left])
    fails(path, "cut short")


@pytest.mark.parametrize("damage", [b"\xff" * 8, b"\x10\0\0\0\0\0\0\0{not json at all", b"<html>not found</html>" * 9])
def test_garbage_in_the_header(path, damage):
    path.write_bytes(damage + path.read_bytes()[len(damage) :])
    fails(path, "damaged")


def test_a_pickle_is_refused_unopened(tmp_path):
    import torch

    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "boom"),)

    for name, blob in ("plain.pt", pickle.dumps(Bomb())), ("zip.pt", None):
        path = tmp_path / name
        path.write_bytes(blob) if blob else torch.save({"x": torch.ones(2)}, path)
        fails(path, "pickle", "only safetensors")
    assert not (tmp_path / "boom").exists()


def test_a_header_of_any_length_is_no_pickle(tmp_path):
    """A pickle begins with 0x80, and so does a safetensors file whose header is 640 bytes long."""
    begins = set()
    for length in range(600, 860, 8):
        checkpoint.save(tmp_path / "x.safetensors", {"x": np.ones(1)}, {"note": "n" * length})
        assert checkpoint.load(tmp_path / "x.safetensors")[1]["note"] == "n" * length
        begins.add((tmp_path / "x.safetensors").read_bytes()[0])
    assert 0x80 in begins


def test_absent_file_and_folder(tmp_path):
    fails(tmp_path / "nothing.safetensors", "No such file")
    fails(tmp_path, "directory")


def test_a_full_disk_keeps_the_old_file(path):
    old, limits = path.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(MlxworldError, match=r"cannot write .*unharmed"):
            checkpoint.save(path, {"x": np.zeros(100_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == old and os.listdir(path.parent) == [path.name]


def test_a_disk_that_fills_at_fsync_keeps_the_old_file(path, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    old = path.read_bytes()
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(MlxworldError, match="No space left on device; the file that was there is unharmed"):
        checkpoint.save(path, {"x": np.zeros(3)})
    assert path.read_bytes() == old and os.listdir(path.parent) == [path.name]


def test_a_folder_that_cannot_be_made(path):
    with pytest.raises(MlxworldError, match="cannot write"):
        checkpoint.save(path / "inside-a-file" / "x.safetensors", {"x": np.zeros(3)})


def test_check_names_what_differs():
    expected = {"a": (2, 3), "b": (4,), "c": (), "d": (1,), "e": (1,)}
    arrays = {"a": np.zeros((3, 2)), "b": np.zeros(4), "z": np.zeros(1)}
    with pytest.raises(MlxworldError) as failure:
        checkpoint.check(expected, arrays, "other.safetensors")
    line = "a is (3, 2), not (2, 3), c is missing, d is missing and 2 more"
    assert str(failure.value) == f"other.safetensors does not fit this model: {line}"
