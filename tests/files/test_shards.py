"""Sets of shards: read as one, replaced as one, and refused where index and files do not agree."""

import json
import os
import threading

import numpy as np
import pytest
import safetensors.numpy

from mlxworld import MlxworldError
from mlxworld.files import atomic, checkpoint, shards
from mlxworld.files.tensor_file import TensorFile

ARRAYS = {name: np.full(10, i, np.float32) for i, name in enumerate("abcde")}
INDEX = "model.safetensors.index.json"


@pytest.fixture
def folder(tmp_path):
    save(tmp_path)
    return tmp_path


def save(folder, value=0.0, shard_bytes: int | None = 80):
    arrays = {name: x + np.float32(value) for name, x in ARRAYS.items()}
    checkpoint.save(folder / "model.safetensors", arrays, {"value": str(float(value))}, shard_bytes=shard_bytes)


def value(folder):
    """What was added to every array. Fails unless it is one number."""
    weights = checkpoint.open(folder)
    values = {float(x[0] - ARRAYS[name][0]) for name, x in weights.items()}
    assert list(weights) == list(ARRAYS) and len(values) == 1 and weights.metadata == {"value": str(*values)}
    return values.pop()


def edit(folder, change):
    path = folder / INDEX
    index = json.loads(path.read_text())
    change(index["weight_map"])
    path.write_text(json.dumps(index))


def refuses(folder, *words):
    with pytest.raises(MlxworldError) as failure:
        checkpoint.open(folder)
    message = str(failure.value)
    assert message.isprintable() and all(word in message for word in words), message


def test_files_are_named_as_on_hubs(folder):
    names = [f"model-0000{i}-of-00003.safetensors" for i in (1, 2, 3)]
    assert sorted(os.listdir(folder)) == sorted([*names, INDEX])
    index = json.loads((folder / INDEX).read_text())
    assert index["metadata"]["total_size"] == 200
    assert index["weight_map"] == {n: names[i // 2] for i, n in enumerate(ARRAYS)}
    read = {n: x for name in names for n, x in safetensors.numpy.load_file(folder / name).items()}
    assert set(read) == set(ARRAYS)


def test_folder_file_and_index_name_one_set(folder):
    for path in (folder, folder / "model.safetensors", folder / INDEX):
        assert value(path) == 0
    arrays, metadata = checkpoint.load(folder)
    assert set(arrays) == set(ARRAYS) and metadata == {"value": "0.0"}


def test_a_large_array_has_a_file_of_its_own(tmp_path):
    save(tmp_path, shard_bytes=1)
    assert len(list(tmp_path.glob("model-*"))) == 5 and value(tmp_path) == 0


@pytest.mark.parametrize("sizes", [(80, 80), (80, 120), (80, None), (None, 80), (80, 1000), (None, None)])
def test_a_new_set_leaves_nothing_of_the_old(tmp_path, sizes):
    for number, size in enumerate(sizes):
        save(tmp_path, number, size)
    assert value(tmp_path) == 1
    count = len(os.listdir(tmp_path))
    assert count == (1 if sizes[1] in (None, 1000) else 4 if sizes[1] == 80 else 3)


@pytest.mark.parametrize("sizes", [(80, 80), (80, 120), (80, None), (None, 80)])
@pytest.mark.parametrize("kind", [OSError, KeyboardInterrupt])
def test_a_writer_that_dies_at_any_moment_leaves_one_whole_set(tmp_path, monkeypatch, sizes, kind):
    """Each call that moves, writes or removes something fails in its turn: the old set or the new one is read."""
    for moment in range(30):
        folder = tmp_path / str(moment)
        save(folder, 0, sizes[0])
        calls = 0

        def failing(original, moment=moment):
            def call(*args, **options):
                nonlocal calls
                calls += 1
                if calls == moment + 1:
                    raise kind(5, "Input/output error")
                return original(*args, **options)

            return call

        with monkeypatch.context() as patch:
            for name in ("replace", "unlink", "write_bytes"):
                patch.setattr(f"pathlib.Path.{name}", failing(getattr(type(folder), name)))
            patch.setattr(atomic, "sync_folder", failing(atomic.sync_folder))
            try:
                save(folder, 1, sizes[1])
            except (MlxworldError, KeyboardInterrupt):
                assert value(folder) in (0, 1)
            else:
                break
        save(folder, 2, sizes[1])
        assert value(folder) == 2 and len(os.listdir(folder)) in (1, 3, 4)
    assert moment > 5 and calls < moment + 1


def test_what_a_killed_writer_left_goes_with_the_next_set(folder):
    left = ["model-1-00001-of-00002.safetensors", ".model-1-00002-of-00002.safetensors.part"]
    others = ["model-00001.safetensors", "other-00001-of-00002.safetensors", "xmodel-00001-of-00002.safetensors"]
    for name in (*left, *others):
        (folder / name).touch()
    save(folder, 1, 120)
    assert value(folder) == 1 and not set(left) & set(os.listdir(folder))
    assert set(others) <= set(os.listdir(folder)) and len(os.listdir(folder)) == 3 + len(others)


def test_what_is_open_stays_what_it_was(folder):
    weights = checkpoint.open(folder)
    save(folder, 5)
    assert [float(weights[name][0]) for name in weights] == [0, 1, 2, 3, 4]


def test_a_later_set_of_the_same_names_is_not_mixed_in(folder, monkeypatch):
    """Two sets take the place of the one that is being opened: the second bears its names again."""
    opened = []

    def tensor_file(path):
        if len(opened) == 1:
            save(folder, 1)
            save(folder, 2)
        opened.append(path.name)
        return TensorFile(path)

    monkeypatch.setattr(shards, "TensorFile", tensor_file)
    assert value(folder) == 2 and opened[0] == opened[3]


def test_readers_never_see_a_mixture(folder):
    """A writer replaces set by set, of several sizes and sometimes one file, while another thread reads."""
    stop, failures = threading.Event(), []

    def write():
        try:
            for number in range(60):
                save(folder, number, (80, 80, 120, None)[number % 4])
        except BaseException as error:
            failures.append(error)
        stop.set()

    writer = threading.Thread(target=write)
    writer.start()
    values = []
    while not stop.is_set():
        values.append(value(folder))
    writer.join()
    assert not failures and values == sorted(values) and len(set(values)) > 3


def test_a_shard_that_is_missing_or_cut(folder):
    shard = folder / "model-00002-of-00003.safetensors"
    blob = shard.read_bytes()
    shard.write_bytes(blob[:-3])
    refuses(folder, "model-00002-of-00003.safetensors is damaged, cut short")
    shard.unlink()
    refuses(folder, "model-00002-of-00003.safetensors: No such file")
    shard.symlink_to(shard.name)
    refuses(folder, "model-00002-of-00003.safetensors: Too many levels of symbolic links")
    shard.unlink()
    os.mkfifo(shard)
    refuses(folder, "no regular file")


def test_links_to_shards_are_followed(folder, tmp_path):
    """As the cache of a hub has them."""
    (folder / "blobs").mkdir()
    for shard in folder.glob("model-*"):
        shard.rename(folder / "blobs" / shard.name[6:11])
        shard.symlink_to(f"blobs/{shard.name[6:11]}")
    assert value(folder) == 0


FIRST, SECOND = "model-00001-of-00003.safetensors", "model-00002-of-00003.safetensors"
NAMES = ["../x.safetensors", "/etc/x.safetensors", "..", ".", "", "a/b.safetensors", "x.bin", "x\x1b.safetensors", 3]
NAMES += ["..\\x.safetensors", None, [FIRST], "x" * 300 + ".safetensors", "\0.safetensors"]


@pytest.mark.parametrize("name", NAMES)
def test_an_index_that_names_what_is_no_shard(folder, name):
    edit(folder, lambda shard_of: shard_of.update(a=name))
    refuses(folder, INDEX, "which is no file name of a shard")


def test_an_index_that_does_not_agree_with_its_files(folder):
    edit(folder, lambda shard_of: shard_of.update(a=SECOND))
    refuses(folder, f"'{FIRST}' holds 'a', and the index has it in '{SECOND}'")
    edit(folder, lambda shard_of: shard_of.pop("a"))
    refuses(folder, f"'{FIRST}' holds 'a', and the index does not name it")
    edit(folder, lambda shard_of: shard_of.update(a=FIRST, z=FIRST))
    refuses(folder, f"'z' is not in '{FIRST}', where the index has it")
    edit(folder, lambda shard_of: shard_of.update({"z\x1b\n": shard_of.pop("z")}))
    refuses(folder, r"'z\x1b\n' is not in")


def test_one_shard_under_two_names(folder):
    (folder / "model-copy.safetensors").symlink_to(FIRST)
    edit(folder, lambda shard_of: shard_of.update(z="model-copy.safetensors"))
    refuses(folder, "holds 'a', and the index has it in")


@pytest.mark.parametrize("text", ['{"weight_map": {}}', '{"weight_map": ["a"]}', "[]", "3", '{"metadata": {}}'])
def test_an_index_that_is_none(folder, text):
    (folder / INDEX).write_text(text)
    refuses(folder, INDEX, "is no index of weights")


def test_an_index_that_is_damaged(folder):
    (folder / INDEX).write_text("[" * 100_000)
    refuses(folder, INDEX, "nested too deep")
    (folder / INDEX).write_text(f'{{"weight_map": {{"a": "{FIRST}", "a": "{SECOND}"}}}}')
    refuses(folder, INDEX, "the name 'a' is there twice")
    (folder / INDEX).unlink()
    (folder / INDEX).symlink_to(INDEX)
    refuses(folder, "symbolic links")


def test_a_folder_without_weights(tmp_path):
    refuses(tmp_path, "model.safetensors: No such file")
