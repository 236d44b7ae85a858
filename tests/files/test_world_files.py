"""A world's folder from somebody else: each of its files damaged, swapped or enormous ends in one line on each backend;
what is only written in another way plays."""

import codecs
import json
import os
import struct

import numpy as np
import pytest

from mlxworld import MlxworldError, World
from mlxworld.files import checkpoint
from tests.play.played import play, same, write

MODEL, STARTS, CONFIG = "model.safetensors", "starts.safetensors", "config.json"
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 24137646\n"


@pytest.fixture
def folder(tmp_path):
    return write(tmp_path / "small")


def refuses(folder, *words):
    for backend in ("mlx", "torch"):
        with pytest.raises(MlxworldError) as failure:
            World.load(folder, backend)
        message = str(failure.value)
        assert message.isprintable() and len(message) < 500 and all(word in message for word in words), message


def edited(folder, change):
    about = json.loads((folder / CONFIG).read_text())
    change(about)
    (folder / CONFIG).write_text(json.dumps(about))


def sparse(path, size):
    """A valid file of one array "z" of `size` numbers, a hole on the disk."""
    header = {"z": {"dtype": "F32", "shape": [size], "data_offsets": [0, 4 * size]}}
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text)
    os.truncate(path, 8 + len(text) + 4 * size)


@pytest.mark.parametrize("file", [MODEL, STARTS, CONFIG])
def test_a_git_lfs_pointer(folder, file):
    (folder / file).write_text(POINTER)
    refuses(folder, file, "is a Git LFS pointer", "git lfs pull")


@pytest.mark.parametrize("file", [MODEL, STARTS])
def test_a_file_without_end(folder, file):
    sparse(folder / file, 10 << 30)
    refuses(folder, file, "does not fit this model")
    (folder / file).unlink()
    (folder / file).symlink_to("/dev/zero")
    refuses(folder, file, "no regular file")


def test_start_clips_without_end(folder):
    shapes = {name: list(shape) for name, shape in checkpoint.open(folder / STARTS).shapes.items()}
    shapes["z"][0] = shapes["actions"][0] = 10**8
    header, end = {}, 0
    for name, dtype in (("z", "F32"), ("actions", "I32")):
        begin, end = end, end + 4 * int(np.prod(shapes[name]))
        header[name] = {"dtype": dtype, "shape": shapes[name], "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    (folder / STARTS).write_bytes(struct.pack("<Q", len(text)) + text)
    os.truncate(folder / STARTS, 8 + len(text) + end)
    refuses(folder, STARTS, "is too large: start clips take at most")


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("which", [0, -1])
def test_weights_that_are_not_finite(folder, number, which):
    weights, metadata = checkpoint.load(folder / MODEL)
    name = sorted(weights)[which]
    x = weights[name].copy()
    x.reshape(-1)[-1] = number
    checkpoint.save(folder / MODEL, weights | {name: x}, metadata)
    refuses(folder, MODEL, f"'{name}' holds NaN or infinity")


def test_names_that_move_the_cursor(folder):
    weights, metadata = checkpoint.load(folder / MODEL)
    checkpoint.save(folder / MODEL, weights | {"\x1b[2J\n" + "x" * 200: np.ones(1, np.float32)}, metadata)
    refuses(folder, r"'\x1b[2J\nxxx", "is unknown")
    edited(folder, lambda about: about["model"].update(actions=["noop", "\x1b[31mfire"]))
    refuses(folder, r"the action '\x1b[31mfire' cannot be printed")
    edited(folder, lambda about: about["model"].update(family="\x1b[31m" + "x" * 10**5))
    refuses(folder, r"'\x1b[31mxxx")


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 50_000, "[" * 5000 + "]" * 5000])
def test_a_deep_config(folder, text):
    (folder / CONFIG).write_text(text)
    refuses(folder, CONFIG, "nested too deep")


@pytest.mark.parametrize("depth", [100_000, 2**31, 2**63])
def test_a_config_of_a_huge_model(folder, depth):
    edited(folder, lambda about: about["model"]["dynamics"].update(depth=depth))
    refuses(folder, "depth must be int" if depth == 2**63 else "than the weights of this model have")


HUGE = {
    **{"vision": {"dim": 10**9}, "audio": {"dim": 10**9}, "decoder": {"channels": [10**9, 16, 16]}},
    **{"dynamics": {"noise_levels": 2**40}},
}


@pytest.mark.parametrize("part", HUGE)
def test_a_config_of_huge_arrays(folder, part):
    edited(folder, lambda about: about["model"][part].update(HUGE[part]))
    refuses(folder, "the configuration")


@pytest.mark.parametrize("name", ["bands", "overlap"])
def test_a_config_of_endless_spectra(folder, name):
    edited(folder, lambda about: about["model"]["audio"].update({name: 10**9}))
    refuses(folder, f"audio.{name}", "must be at most")


def test_what_is_written_in_another_way_plays_the_same(folder):
    """A byte order mark, shards, links, an unknown setting: the same frames."""
    worlds = [World.load(folder, "torch", precision="float32")]
    edited(folder, lambda about: about["model"].update(later={"than": "this"}))
    (folder / CONFIG).write_bytes(codecs.BOM_UTF8 + (folder / CONFIG).read_bytes())
    weights, metadata = checkpoint.load(folder / MODEL)
    checkpoint.save(folder / MODEL, weights, metadata, shard_bytes=20_000)
    (folder / STARTS).rename(folder / "blob")
    (folder / STARTS).symlink_to("blob")
    assert len(list(folder.glob("model-*.safetensors"))) > 2 and not (folder / MODEL).exists()
    worlds.append(World.load(folder, "torch", precision="float32"))
    for world in worlds:
        world.reset(seed=3)
    assert same(play(worlds[0]), play(worlds[1]))


def test_a_digest_of_shards_is_of_their_weights(folder):
    weights, metadata = checkpoint.load(folder / MODEL)
    checkpoint.save(folder / MODEL, weights, metadata, shard_bytes=20_000)
    first = World.load(folder, "torch").digest
    name = sorted(weights)[0]
    checkpoint.save(folder / MODEL, weights | {name: weights[name] + 1}, metadata, shard_bytes=20_000)
    assert World.load(folder, "torch").digest != first


def test_weights_in_bfloat16_play(folder):
    import ml_dtypes

    weights, metadata = checkpoint.load(folder / MODEL)
    checkpoint.save(folder / MODEL, {n: x.astype(ml_dtypes.bfloat16) for n, x in weights.items()}, metadata)
    for backend in ("mlx", "torch"):
        world = World.load(folder, backend, precision="float32")
        own = world.package.engine.numpy(world.package.nn.parameters(world.model))
        for name, x in own.items():
            np.testing.assert_array_equal(x, weights[name].astype(ml_dtypes.bfloat16).astype(np.float32))
