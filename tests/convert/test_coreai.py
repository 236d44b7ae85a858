"""Core AI assets, executed: a world's asset dreams what the PyTorch world dreams, and a faulty one is found out."""

import hashlib
import importlib.util
import json
import os
import shutil
import sys

import numpy as np
import pytest
import torch

from convert import check_coreai, parts, to_coreai
from mlxworld import MlxworldError
from tests.play.small_world import small_world
from torch_backend import ops

MAC = sys.platform == "darwin" and importlib.util.find_spec("coreai_torch") is None
pytestmark = [pytest.mark.platform, pytest.mark.skipif(MAC, reason="Core AI has wheels for macOS 26 and later only")]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return small_world(tmp_path_factory.mktemp("worlds") / "small")


@pytest.fixture(scope="module")
def asset(world, tmp_path_factory):
    """The small world's dynamics as the command writes them, after a look at 16 frames, in which the rings wrap."""
    path = tmp_path_factory.mktemp("assets") / "small.aimodel"
    flags = {"world": world, "out": path, "part": "dynamics", "precision": "fp32", "check": 16}
    to_coreai.main([word for name, value in flags.items() for word in (f"--{name}", str(value))])
    return path


def test_the_shipped_world_dreams_32_frames_alike(tmp_path):
    """Start clip observed, 32 frames dreamt and painted, each side from its own state, the end encoded again."""
    pong = parts.load("pong")
    to_coreai.convert(pong, tmp_path / "pong.aimodel", "all")
    found = check_coreai.passed(tmp_path / "pong.aimodel", pong, "fp32", 32)
    assert None not in (found.latents, found.outside, found.noise, found.sound, found.encoded)
    limits = check_coreai.LIMITS["fp32"]
    assert (limits.latents, limits.outside) == (1e-3, 0.01)


def test_float16_agrees_as_far_as_it_can(world, tmp_path):
    source = parts.load(world)
    to_coreai.convert(source, tmp_path / "half.aimodel", "decoder", "fp16")
    found = check_coreai.passed(tmp_path / "half.aimodel", source, "fp16", 8)
    assert found.noise is not None and 1e-6 < found.noise < 0.01
    assert all(p.dtype == torch.float32 for p in source.model.parameters())  # the world itself stays as it was


def test_one_weight_changed_in_the_asset_is_found(world, asset, tmp_path):
    source = parts.load(world)
    broken = tmp_path / "broken.aimodel"
    shutil.copytree(asset, broken)
    row = source.model.dynamics.blocks[1].attn.qkv.weight[-1].numpy().tobytes()  # of the last value
    program = (broken / "main.mlirb").read_bytes()
    assert program.count(row) == 1  # step and observe share it
    at = program.index(row)
    program = program[:at] + np.float32(64.0).tobytes() + program[at + 4 :]
    (broken / "main.mlirb").write_bytes(program)
    (broken / "main.hash").write_bytes(hashlib.sha256(program).digest())
    with pytest.raises(MlxworldError, match=r"latents .* is over the limit"):
        check_coreai.passed(broken, source, "fp32", 8)


def test_one_operation_swapped_is_found(world, tmp_path, monkeypatch):
    source = parts.load(world)
    with monkeypatch.context() as patch:
        patch.setattr(ops, "silu", ops.gelu)
        to_coreai.convert(source, tmp_path / "swapped.aimodel", "decoder")
    with pytest.raises(MlxworldError, match="is over the limit"):
        check_coreai.passed(tmp_path / "swapped.aimodel", source, "fp32", 4)


def test_what_is_no_number_is_over_every_limit(world, asset, monkeypatch):
    monkeypatch.setattr(check_coreai, "compare", lambda *_: check_coreai.Gaps(latents=float("nan")))
    with pytest.raises(MlxworldError, match="latents nan"):
        check_coreai.passed(asset, parts.load(world), "fp32")


def test_the_asset_says_what_it_is(world, asset):
    from coreai.authoring import AIModelAsset

    about = AIModelAsset.load(asset).metadata.creator_defined_metadata  # pyright: ignore[reportAttributeAccessIssue]
    assert json.loads(about["config"]) == json.loads((world / "config.json").read_text())
    functions = json.loads(about["functions"])
    assert list(functions) == ["step", "observe"] and "1 up" in functions["step"]["inputs"]["action"]
    assert functions["step"]["state"] == functions["observe"]["state"] and "clock" in functions["step"]["state"]


def test_refuses_in_one_line_and_leaves_nothing(world, asset, tmp_path, monkeypatch):
    def refuses(match, **options):
        flags = {"world": world, "out": tmp_path / "x.aimodel", "part": "decoder"} | options
        with pytest.raises(MlxworldError, match=match) as failure:
            to_coreai.main([word for name, value in flags.items() for word in (f"--{name}", str(value))])
        assert "\n" not in str(failure.value) and not os.listdir(tmp_path)

    refuses("unknown world", world="nowhere")
    refuses("exists already", out=asset)
    refuses("must end in .aimodel", out=tmp_path / "x")
    refuses("must not be negative", check=-1)
    versions = {"torch": "2.13.0+cpu", "coreai-torch": "0.4.2", "coreai-core": "1.0.0b3"}
    monkeypatch.setattr(to_coreai.importlib.metadata, "version", versions.__getitem__)
    refuses("coreai-torch 0.4.2 is too old: 0.4.3 or later")

    def absent(name):
        raise to_coreai.importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(to_coreai.importlib.metadata, "version", absent)
    refuses(r'not installed: pip install "mlxworld\[coreai\]"')
    monkeypatch.undo()
    monkeypatch.setattr(check_coreai, "compare", lambda *_: check_coreai.Gaps(sound=1.0))
    refuses("sound 1.0e.00 is over the limit", check=4)
