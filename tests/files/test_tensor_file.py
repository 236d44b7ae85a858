"""One safetensors file: every type comes back as it was written; no header is believed before its file is measured."""

import json
import os
import struct
import subprocess
import sys

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st

from mlxworld import MlxworldError
from mlxworld.files import checkpoint
from mlxworld.files.tensor_file import TYPES

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 24137646\n"


def packed(header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def entry(shape, begin, end, dtype: object = "F32"):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def refuses(path, *words):
    with pytest.raises(MlxworldError) as failure:
        checkpoint.open(path)
    message = str(failure.value)
    assert message.isprintable() and len(message) < 400 and all(word in message for word in words), message


@pytest.mark.parametrize("kind", sorted(TYPES))
def test_every_type_comes_back(tmp_path, kind):
    dtype, path = TYPES[kind], tmp_path / "x.safetensors"
    x = np.array([[1, 2, 0.5], [4, 1, 2]]).astype(dtype)
    checkpoint.save(path, {"x": x}, {"a": "b"})
    weights = checkpoint.open(path)
    assert (weights.shapes, weights.dtypes, weights.metadata) == ({"x": (2, 3)}, {"x": dtype}, {"a": "b"})
    assert weights["x"].dtype == dtype and weights["x"].tobytes() == x.tobytes()
    small = checkpoint.load(path)[0]["x"]
    assert small.dtype == (np.float32 if "ml_dtypes" in dtype.type.__module__ else dtype)
    np.testing.assert_array_equal(small, x.astype(small.dtype))


def test_another_reader_and_writer_of_the_format_agree(tmp_path):
    arrays = {"a": np.arange(6, dtype="f4").reshape(2, 3), "b": np.array(3, "i8"), "c": np.zeros((0, 2), "u1")}
    checkpoint.save(tmp_path / "ours", arrays)
    theirs = safetensors.numpy.load_file(tmp_path / "ours")
    safetensors.numpy.save_file(arrays, tmp_path / "theirs")
    ours = checkpoint.open(tmp_path / "theirs")
    assert set(ours) == set(theirs) == set(arrays)
    for name, x in arrays.items():
        for y in (ours[name], theirs[name]):
            assert y.dtype == x.dtype and y.shape == x.shape and y.tobytes() == x.tobytes()


HEADERS = {
    "a header longer than the file": (struct.pack("<Q", 1 << 40) + b"{}", "a header of 1,099,511,627,776 bytes"),
    "no header": (struct.pack("<Q", 0), "a header of 0 bytes"),
    "no object": (packed(b"[1]"), "the header is no object"),
    "nested": (packed(b"[" * 100_000), "the header is nested too deep"),
    "twice": (
        packed(
            b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],'
            b'"data_offsets":[0,1]}}',
            b"x",
        ),
        "'a' is there twice",
    ),
    "shorter data": (packed({"a": entry([2], 0, 8)}, b"1234"), "the arrays take 8 bytes, and there are 4"),
    "longer data": (packed({"a": entry([1], 0, 4)}, b"12345678"), "the arrays take 4 bytes, and there are 8"),
    "no data": (packed({"a": entry([10**9], 0, 4 * 10**9)}), "and there are 0"),
    "overlap": (packed({"a": entry([1], 0, 4), "b": entry([1], 2, 6)}, b"123456"), "'b' does not begin"),
    "the same place": (packed({"a": entry([1], 0, 4), "b": entry([1], 0, 4)}, b"1234"), "'b' does not begin"),
    "gap": (packed({"a": entry([1], 4, 8)}, b"12345678"), "'a' does not begin"),
    "another size": (packed({"a": entry([3], 0, 4)}, b"1234"), "'a' is 4 bytes long"),
    "negative": (packed({"a": entry([-1, -1], 0, 4)}, b"1234"), "'a' has no shape"),
    "backwards": (packed({"a": entry([1], 4, 0)}, b"1234"), "'a' is -4 bytes long"),
    "fractions": (packed({"a": entry([1.0], 0, 4)}, b"1234"), "'a' has no shape"),
    "booleans": (packed({"a": entry([True], 0, 4)}, b"1234"), "'a' has no shape"),
    "texts": (packed({"a": entry("11", 0, 4)}, b"1234"), "'a' has no shape"),
    "an enormous shape": (packed({"a": entry([0, 1 << 62, 1 << 62], 0, 0)}), "'a' has a shape too large"),
    "many axes": (packed({"a": entry([1] * 100, 0, 4)}, b"1234"), "'a' has no shape"),
    "no place": (packed({"a": {"dtype": "F32", "shape": [1]}}, b"1234"), "'a' has no type, shape and place"),
    "nothing": (packed({"a": None}), "'a' has no type, shape and place"),
    "a type of the future": (packed({"a": entry([1], 0, 1, "F4")}, b"1"), "'a' has the type 'F4', which is not read"),
    "a type that is none": (packed({"a": entry([1], 0, 1, {"x": 1})}, b"1"), "which is not read"),
    "metadata": (packed({"__metadata__": {"a": 1}}), "the metadata are no texts"),
    "metadata that are a list": (packed({"__metadata__": ["a"]}), "the metadata are no texts"),
    "escapes": (packed({"\x1b[31m\nx": None}), r"'\x1b[31m\nx' has no type"),
    "a long name": (packed({"x" * 10**6: None}), "xxx... has no type"),
    "a page": (b"<html>not found</html>" * 9, "damaged"),
    "empty": (b"", "it is empty"),
    "short": (b"\x01\0", "a header of 1 bytes in a file of 2"),
    "a pointer": (POINTER, "is a Git LFS pointer, not the file itself: git lfs pull"),
    "a pickle": (b"\x80\x04\x95" + b"x" * 20, "is a pickle"),
    "a zip": (b"PK\x03\x04" + b"x" * 20, "is a pickle"),
}


@pytest.mark.parametrize(("blob", "words"), HEADERS.values(), ids=list(HEADERS))
def test_what_is_no_such_file(tmp_path, blob, words):
    (tmp_path / "x.safetensors").write_bytes(blob)
    refuses(tmp_path / "x.safetensors", "x.safetensors", words)


GOOD = packed({"a": entry([2, 2], 0, 16), "b": entry([3], 16, 19, "U8")}, bytes(range(19)))


@given(st.integers(0, len(GOOD) - 20), st.binary(min_size=1, max_size=9))
def test_any_damage_of_a_header_is_refused_or_harmless(tmp_path_factory, at, noise):
    path = tmp_path_factory.mktemp("damaged") / "x.safetensors"
    path.write_bytes((GOOD[:at] + noise + GOOD[at + len(noise) :])[: len(GOOD)])
    try:
        weights = checkpoint.open(path)
    except MlxworldError as error:
        assert str(error).isprintable()
    else:
        assert sum(weights[name].nbytes for name in weights) == 19


def test_files_that_never_end(tmp_path):
    """A hole of 40 GB, a device, a pipe, a folder: refused from the first bytes."""
    with (tmp_path / "hole").open("wb") as file:
        file.truncate(40 << 30)
    refuses(tmp_path / "hole", "a header of 0 bytes in a file of 42,949,672,960")
    with (tmp_path / "tail").open("wb") as file:
        file.write(packed({"a": entry([1], 0, 4)}, b"1234"))
        file.truncate(40 << 30)
    refuses(tmp_path / "tail", "the arrays take 4 bytes")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "folder").mkdir()
    words = {"pipe": "no regular file", "zero": "no regular file", "loop": "symbolic links", "folder": "No such file"}
    for name, word in words.items():
        refuses(tmp_path / name, word)


def test_a_file_that_is_cut_while_it_is_open(tmp_path):
    path = tmp_path / "x.safetensors"
    checkpoint.save(path, {"a": np.ones(1000), "b": np.ones(1000)})
    weights = checkpoint.open(path)
    os.truncate(path, path.stat().st_size - 10)
    assert weights["a"].sum() == 1000
    with pytest.raises(MlxworldError, match="the file ends within 'b'"):
        _ = weights["b"]


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "c8", *(t for t in ("bfloat16", "float8_e5m2", "float8_e4m3fn"))])
def test_what_is_not_finite_is_named(dtype):
    dtype = np.dtype(getattr(ml_dtypes, dtype, dtype))
    x = np.ones((3, 3)).astype(dtype)
    checkpoint.require_finite("a", x, "w.safetensors")
    x[1, 1] = np.array(np.nan).astype(dtype)
    with pytest.raises(MlxworldError) as failure:
        checkpoint.require_finite("a\x1b", x, "w.safetensors")
    assert str(failure.value) == r"w.safetensors: 'a\x1b' holds NaN or infinity"
    if dtype != ml_dtypes.float8_e4m3fn:  # which has no infinity
        x[1, 1] = -np.array(np.inf).astype(dtype)
        with pytest.raises(MlxworldError, match="holds NaN or infinity"):
            checkpoint.require_finite("a", x, "w.safetensors")
    for whole in (np.ones(2, "i4"), np.ones(2, bool)):
        checkpoint.require_finite("a", whole, "w.safetensors")


PEAK = """
import re, resource, sys
from mlxworld.files import checkpoint
def peak():
    if sys.platform == "darwin":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return 1024 * int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
weights = checkpoint.open(sys.argv[1])
before = peak()
total = sum(float(x[0]) for x in map(weights.__getitem__, weights))
print(peak() - before, total)
"""


@pytest.mark.parametrize("shard_bytes", [None, 100_000_000])
def test_reading_array_by_array_takes_the_memory_of_one(tmp_path, shard_bytes):
    size = 30_000_000
    arrays = {f"x{i}": np.full(size // 4, i, np.float32) for i in range(10)}
    checkpoint.save(tmp_path / "model.safetensors", arrays, shard_bytes=shard_bytes)
    done = subprocess.run([sys.executable, "-c", PEAK, tmp_path], capture_output=True, text=True, check=True)
    peak, total = map(float, done.stdout.split())
    assert total == 45 and size * 0.9 < peak < size * 2.2
