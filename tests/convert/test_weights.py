"""Weights between formats: bit for bit where nothing is quantised, MLX's own packing where something is, and one line
for whatever cannot be read or written."""

import json
import os
import pickle
from typing import Any

import numpy as np
import pytest

import mlxworld
from convert import weights
from mlxworld import MlxworldError
from mlxworld.files import checkpoint, names, quantized
from mlxworld.files.layouts import plain_torch
from tests.play.small_world import SMALL, small_world

KINDS = {"mlx-q8": 8, "mlx-q4": 4, "mlx-mxfp8": 8}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return small_world(tmp_path_factory.mktemp("worlds") / "small")


def run(*argv):
    weights.main([str(a) for a in argv])


def arrays(folder):
    return checkpoint.load(folder / "model.safetensors")[0]


def same(ours, theirs):
    assert set(ours) == set(theirs)
    for name, x in ours.items():
        assert x.dtype == theirs[name].dtype and x.tobytes() == theirs[name].tobytes(), name


def refuses(*argv, match):
    with pytest.raises(MlxworldError, match=match) as failure:
        run(*argv)
    assert "\n" not in str(failure.value)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_through_torch_and_back_bit_for_bit(world, tmp_path, dtype):
    import torch

    source = tmp_path / "source"
    run(world, source)
    held = {n: x.astype(dtype) for n, x in arrays(world).items()}
    checkpoint.save(source / "model.safetensors", held)
    run(source, tmp_path / "x.pt")
    state = torch.load(tmp_path / "x.pt", weights_only=True)
    head = torch.nn.Conv2d(16, 12, 3)  # the picture's last layer as plain torch makes it
    head.load_state_dict({n: state[f"tokenizer.video_decoder.head.{n}"].float() for n in ("weight", "bias")})
    ours = torch.tensor(held["tokenizer.video_decoder.head.weight"]).float()
    assert torch.equal(head.weight, ours.movedim(-1, 1))
    run(tmp_path / "x.pt", tmp_path / "back", "--like", world)
    same(arrays(tmp_path / "back"), held)


def test_every_kernel_of_the_model_is_in_the_table_of_torch(world):
    kernels = {n for n, x in arrays(world).items() if n.endswith("weight") and x.ndim > 2}
    turned = names.to_theirs(arrays(world), plain_torch.TABLE, "x", partial=True)
    assert kernels and {n for n, x in arrays(world).items() if turned[n].shape != x.shape} == kernels


@pytest.mark.parametrize("to", KINDS)
def test_packed_as_mlx_packs(world, tmp_path, to):
    """Names, shapes and bits are those of mlx.nn.quantize; config.json says how, as mlx-lm's does."""
    import mlx.core as mx
    import mlx.nn
    from mlx.utils import tree_flatten

    run(world, tmp_path / "q", "--to", to)
    about = json.loads((tmp_path / "q/config.json").read_text())["quantization"]
    mode = "mxfp8" if to == "mlx-mxfp8" else "affine"
    assert about == {"group_size": 64 if mode == "affine" else 32, "bits": KINDS[to], "mode": mode}
    model: Any = mlxworld.World.load(world, "mlx").model

    layers = mlxworld.on("mlx").engine.packing(model, weights.PACKED[to])
    mlx.nn.quantize(model, class_predicate=lambda name, _: name in layers, **about)
    theirs = {n: np.array(x) for n, x in tree_flatten(model.parameters())}
    same(arrays(tmp_path / "q"), theirs)
    assert len(quantized.layers(theirs)) > 10
    ours = quantized.plain(theirs, {n: x.shape for n, x in arrays(world).items()}, "x")
    for layer in quantized.layers(theirs):
        parts = [mx.array(theirs[n]) for n in (f"{layer}.weight", f"{layer}.scales", f"{layer}.biases") if n in theirs]
        expected = np.array(mx.dequantize(*parts, **about).astype(mx.float32))  # pyright: ignore[reportArgumentType]
        np.testing.assert_allclose(ours[f"{layer}.weight"], expected, rtol=1e-6, atol=1e-7)


def test_every_8_bit_number_of_mxfp8():
    import mlx.core as mx

    codes = np.arange(256, dtype=np.uint8).reshape(8, 32)
    scales = np.arange(120, 128, dtype=np.uint8)[:, None]
    packed = codes.view(np.uint32)
    ours = quantized.plain({"x.weight": packed, "x.scales": scales}, {"x.weight": (8, 32)}, "x")["x.weight"]
    expected = mx.dequantize(mx.array(packed), mx.array(scales), group_size=32, bits=8, mode="mxfp8")
    np.testing.assert_array_equal(ours, np.array(expected.astype(mx.float32)))


@pytest.mark.parametrize("to", ["mlx-q4", "mlx-mxfp8"])
def test_a_quantised_world_plays_alike_on_both_backends(world, tmp_path, to):
    """Packed on MLX, plain on PyTorch, and what was unpacked into a folder: one world, another than the exact one."""
    run(world, tmp_path / "q", "--to", to)
    run(tmp_path / "q", tmp_path / "plain")
    seen = {}
    for folder in (world, tmp_path / "q", tmp_path / "plain"):
        for backend in ("mlx", "torch"):
            played = mlxworld.World.load(folder, backend)
            played.reset(seed=1)
            seen[folder.name, backend] = played.step("up").video.astype(int)
            packed = [n for n in played.package.nn.parameters(played.model) if n.endswith("scales")]
            assert bool(packed) == (folder.name == "q" and backend == "mlx")
    for pair in (("q", "torch"), ("plain", "mlx"), ("plain", "torch")):
        assert np.abs(seen["q", "mlx"] - seen[pair]).max() <= 1, pair
    assert np.abs(seen["q", "mlx"] - seen["small", "mlx"]).max() > 1


def test_packing_again_the_same_way_changes_nothing(world, tmp_path):
    run(world, tmp_path / "a", "--to", "mlx-q4")
    run(tmp_path / "a", tmp_path / "b", "--to", "mlx-q4")
    same(arrays(tmp_path / "a"), arrays(tmp_path / "b"))
    run(tmp_path / "a", tmp_path / "c", "--to", "mlx-q8")
    assert json.loads((tmp_path / "c/config.json").read_text())["quantization"]["bits"] == 8
    run(tmp_path / "c", tmp_path / "d")
    assert "quantization" not in json.loads((tmp_path / "d/config.json").read_text())


def test_foreign_names_containers_and_wrappers(world, tmp_path):
    """A table there and back; what torch.compile, DistributedDataParallel a trainer's dict add is no matter."""
    import torch

    table = tmp_path / "names.json"
    table.write_text(
        json.dumps(
            {
                "layers.{}.w{}.k": "dynamics.blocks.{}.norm{}.weight",
                "freqs": None,
                "top.w": "tokenizer.video_decoder.head.weight",
            }
        )
    )
    run(world, tmp_path / "x.pt", "--names", table)
    state = torch.load(tmp_path / "x.pt", weights_only=True)
    assert {"layers.1.w2.k", "top.w"} <= set(state) and "dynamics.blocks.1.norm2.weight" not in state
    wrapped = {f"module._orig_mod.{n}": x for n, x in state.items()} | {"freqs": torch.ones(3)}
    torch.save({"state_dict": wrapped, "epoch": 3}, tmp_path / "y.pt")
    run(tmp_path / "y.pt", tmp_path / "back", "--names", table, "--like", world)
    same(arrays(tmp_path / "back"), arrays(world))
    table.write_text(json.dumps({"freqs": "dynamics.norm.weight"}))
    refuses(tmp_path / "y.pt", tmp_path / "z", "--names", table, "--like", world, match="two arrays would be named")
    table.write_text(json.dumps({"a.{}": "b"}))
    refuses(world, tmp_path / "z.pt", "--names", table, match="differ in how many")
    table.write_text("[1]")
    refuses(world, tmp_path / "z.pt", "--names", table, match="no table of names")


def test_a_folder_is_ready_for_a_hub(world, tmp_path):
    """Four files; a card is written for a world that has none, and kept where there is one."""
    run(world, tmp_path / "a")
    files = ["README.md", "config.json", "model.safetensors", "starts.safetensors"]
    assert sorted(os.listdir(tmp_path / "a")) == files
    card = (tmp_path / "a/README.md").read_text()
    assert card.startswith("---\nlibrary_name: mlxworld\n") and all(name in card for name in SMALL.actions)
    (tmp_path / "a/README.md").write_text("mine")
    run(tmp_path / "a", tmp_path / "b", "--to", "mlx-q8")
    assert (tmp_path / "b/README.md").read_text() == "mine" and sorted(os.listdir(tmp_path / "b")) == files
    same(arrays(tmp_path / "a"), arrays(world))


def test_nothing_is_replaced_unasked_nor_half_written(world, tmp_path, monkeypatch):
    run(world, tmp_path / "a")
    refuses(world, tmp_path / "a", match="exists already")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/x").touch()
    refuses(world, tmp_path / "photos", "--force", match="something else")
    before = (tmp_path / "a/model.safetensors").read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(weights.shutil, "copyfile", full)
        refuses(world, tmp_path / "a", "--force", "--to", "mlx-q4", match="No space left")
    assert (tmp_path / "a/model.safetensors").read_bytes() == before
    run(world, tmp_path / "a", "--force", "--to", "mlx-q4")
    assert (tmp_path / "a/model.safetensors").stat().st_size < len(before)
    assert sorted(os.listdir(tmp_path)) == ["a", "photos"]


def test_a_run_is_not_replaced_by_a_world(world, tmp_path):
    run(world, tmp_path / "a")
    (tmp_path / "a/checkpoint.safetensors").write_text("days of training")
    refuses(world, tmp_path / "a", "--force", match=r"holds something else too \('checkpoint.safetensors'\)")
    assert (tmp_path / "a/checkpoint.safetensors").read_text() == "days of training"


def test_weights_in_shards_are_read(world, tmp_path):
    run(world, tmp_path / "a")
    checkpoint.save(tmp_path / "a/model.safetensors", arrays(world), {"format": "1"}, shard_bytes=50_000)
    assert len(list((tmp_path / "a").glob("model-*.safetensors"))) > 1
    run(tmp_path / "a", tmp_path / "b", "--to", "safetensors")
    same(arrays(tmp_path / "b"), arrays(world))
    run(world, tmp_path / "a", "--force")
    assert not list((tmp_path / "a").glob("model-*"))


def test_numbers_that_are_not_finite_are_refused(world, tmp_path):
    import torch

    weights = {n: torch.tensor(x) for n, x in arrays(world).items()}
    weights["dynamics.norm.weight"][3] = torch.nan
    torch.save(weights, tmp_path / "x.pt")
    refuses(tmp_path / "x.pt", tmp_path / "out", "--like", world, match="'dynamics.norm.weight' holds NaN or infinity")


def test_a_config_of_a_huge_model_and_weights_that_are_not_finite(world, tmp_path):
    run(world, tmp_path / "a")
    about = json.loads((tmp_path / "a/config.json").read_text())
    about["model"]["dynamics"]["depth"] = 2**31
    (tmp_path / "a/config.json").write_text(json.dumps(about))
    refuses(tmp_path / "a", tmp_path / "out", match="than the weights of this model have")
    run(world, tmp_path / "a", "--force")
    name, weights = "dynamics.norm.weight", arrays(world)
    checkpoint.save(tmp_path / "a/model.safetensors", weights | {name: weights[name] * np.float32(np.nan)})
    for out in ("out", "out.pt"):
        refuses(tmp_path / "a", tmp_path / out, match=f"'{name}' holds NaN or infinity")
    assert not list(tmp_path.glob("out*"))


def test_refuses_what_it_cannot_use(world, tmp_path):
    import torch

    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "boom"),)

    out, like = tmp_path / "out", ("--like", world)
    (tmp_path / "bomb.pt").write_bytes(pickle.dumps(Bomb()))
    torch.save({"x": Bomb()}, tmp_path / "zip.pt")
    for name in ("bomb.pt", "zip.pt"):
        refuses(tmp_path / name, out, *like, match="more than tensors")
    assert not (tmp_path / "boom").exists()
    torch.save({"x": torch.ones(2)}, tmp_path / "other.pt")
    refuses(tmp_path / "other.pt", out, *like, match="does not fit this model")
    blob = (tmp_path / "other.pt").read_bytes()
    (tmp_path / "cut.pt").write_bytes(blob[: len(blob) // 2])
    refuses(tmp_path / "cut.pt", out, *like, match="damaged")
    torch.save(torch.ones(2), tmp_path / "lone.pt")
    refuses(tmp_path / "lone.pt", out, *like, match="no state_dict")
    refuses(tmp_path / "absent.pt", out, *like, match="No such file")
    refuses(tmp_path / "other.pt", out, match="--like")
    refuses(world, out, *like, match="--like")
    refuses(world, out, "--to", "torch", match="writes a file")
    refuses(world, tmp_path / "x.pt", "--to", "mlx-q4", match="writes a folder")
    refuses("no-such-world", out, match="unknown world")
    other = small_world(tmp_path / "other")
    (other / "config.json").write_text((other / "config.json").read_text().replace('"openworld"', '"os"'))
    refuses(other, out, match="unknown model family 'os'")
    assert not out.exists()


def test_a_packing_that_is_not_read_is_refused(world, tmp_path):
    run(world, tmp_path / "q", "--to", "mlx-q4")
    held = arrays(tmp_path / "q")
    name = "dynamics.blocks.0.attn.qkv"
    without = {n: x for n, x in held.items() if n != f"{name}.biases"}
    narrow, short = held[f"{name}.weight"][:, :3], held[f"{name}.scales"][:-1]
    for changed in (without, held | {f"{name}.weight": narrow}, held | {f"{name}.scales": short}):
        checkpoint.save(tmp_path / "q/model.safetensors", changed)
        refuses(tmp_path / "q", tmp_path / "out", match="packed in a way")
    checkpoint.save(tmp_path / "q/model.safetensors", held | {"dynamics.norm.scales": held[f"{name}.scales"]})
    refuses(tmp_path / "q", tmp_path / "out", match="no quantised layer")


def test_the_command_line(world, tmp_path):
    import subprocess
    import sys

    script = weights.__file__
    done = subprocess.run([sys.executable, script, world, world], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (2, "") and done.stderr.count("\n") == 1
    assert done.stderr.startswith("mlxworld: ") and "exists already" in done.stderr
