"""Published models with quantised weights: written in their own layout, read on both backends, and back."""

import json
import shutil
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

import mlxworld
from convert import weights
from mlxworld import MlxworldError
from mlxworld.files import checkpoint, hub, pretrained, quantized
from mlxworld.files.layouts import open_clip
from mlxworld.text.generate import Generator
from mlxworld.text.prompt import prompt
from tests.models.small import gap
from tests.models.vision_language.oracle_vision import published, reference

ORACLES = Path(__file__).parents[1] / "oracles"
PROMPT = [[1, 50, 60, 70, 80, 90, 100]]


@pytest.fixture
def bfloat16(tmp_path) -> Path:
    """Qwen2-VL as it is published: in bfloat16, in shards."""
    folder = tmp_path / "bfloat16"
    shutil.copytree(ORACLES / "qwen2_vl", folder)
    arrays = {n: x.astype(ml_dtypes.bfloat16) for n, x in checkpoint.open(folder).items()}
    checkpoint.save(folder / "model.safetensors", arrays, {"format": "pt"}, shard_bytes=200_000)
    return folder


def run(*argv) -> None:
    weights.main([str(a) for a in argv])


def logits(folder: Path, backend: str, how: str | None = None) -> np.ndarray:
    package = mlxworld.on(backend)
    model = pretrained.load(folder, package, "float32", how).model
    return Generator(package, model).logits(prompt(PROMPT, grids=()))


@pytest.mark.parametrize(("to", "how"), [("mlx-q8", "int8"), ("mlx-q4", "int4"), ("mlx-mxfp8", "mxfp8")])
def test_it_is_the_model_that_is_quantised_when_it_is_read(tmp_path, to, how):
    out, source = tmp_path / "out", ORACLES / "qwen2_vl"
    run(source, out, "--to", to)
    packed = checkpoint.open(out)
    names = {n.removesuffix(".scales") for n in packed if n.endswith(".scales")}
    # As mlx-lm has it, q, k and v apart, though they are one matrix here; the tower's first layer stays.
    assert {f"model.layers.1.self_attn.{x}_proj" for x in "qkv"} <= names and "visual.patch_embed.proj" not in names
    assert packed["model.layers.0.self_attn.q_proj.weight"].dtype == np.uint32
    assert json.loads((out / "config.json").read_text())["quantization"] == quantized.KINDS[how]
    beforehand = logits(out, "mlx")
    assert gap(logits(source, "mlx", how), beforehand) < 1e-6 < 1e-3 < gap(beforehand, logits(source, "mlx"))
    assert gap(logits(out, "torch"), beforehand) < 1e-4


@pytest.mark.parametrize("to", ["mlx-q8", "mlx-mxfp8"])
def test_scales_are_as_exact_as_the_weights_were(bfloat16, tmp_path, to):
    run(bfloat16, tmp_path / "out", "--to", to)
    packed = checkpoint.open(tmp_path / "out")
    scales, others = packed["model.layers.0.mlp.up_proj.scales"], packed["model.norm.weight"]
    assert scales.dtype == (np.uint8 if to == "mlx-mxfp8" else ml_dtypes.bfloat16)
    assert others.dtype == ml_dtypes.bfloat16
    assert gap(logits(tmp_path / "out", "mlx"), logits(bfloat16, "mlx")) < 0.5


def test_all_else_comes_along_and_every_bit_comes_back(bfloat16, tmp_path):
    (bfloat16 / "chat_template.jinja").write_text("{{ messages }}")
    run(bfloat16, tmp_path / "same")
    files = {p.name for pattern in hub.MODEL_FILES for p in bfloat16.glob(pattern) if "model" not in p.name}
    assert files <= {p.name for p in (tmp_path / "same").iterdir()} and "chat_template.jinja" in files
    before, after = checkpoint.open(bfloat16), checkpoint.open(tmp_path / "same")
    assert set(before) == set(after)
    for name, x in before.items():
        assert x.dtype == after[name].dtype and x.tobytes() == after[name].tobytes(), name
    assert json.loads((tmp_path / "same" / "config.json").read_text()) == json.loads(
        (bfloat16 / "config.json").read_text()
    )


def test_what_was_packed_comes_out_as_its_values(tmp_path):
    run(ORACLES / "qwen2_vl", tmp_path / "packed", "--to", "mlx-q8")
    run(tmp_path / "packed", tmp_path / "plain")
    plain = checkpoint.open(tmp_path / "plain")
    assert not [n for n in plain if n.endswith(".scales")] and set(plain) == set(checkpoint.open(ORACLES / "qwen2_vl"))
    assert "quantization" not in json.loads((tmp_path / "plain" / "config.json").read_text())
    before = logits(tmp_path / "packed", "mlx")
    assert gap(logits(tmp_path / "plain", "mlx"), before) < 1e-4
    run(tmp_path / "packed", tmp_path / "again", "--to", "mlx-q8")
    files = [tmp_path / name / "model.safetensors" for name in ("packed", "again")]
    assert files[0].read_bytes() == files[1].read_bytes()


@pytest.fixture
def biomedclip(tmp_path) -> Path:
    """In open_clip's layout, with its sizes where a configuration may give them."""
    folder = tmp_path / "biomedclip"
    shutil.copytree(ORACLES / "biomedclip", folder, ignore=shutil.ignore_patterns("reference"))
    about = published("biomedclip")
    (folder / open_clip.FILE).write_text(json.dumps({n: x for n, x in about.items() if n != "model_type"}))
    return folder


def fits(folder: Path, backend: str, how: str | None = None) -> np.ndarray:
    """How well the reference's pictures fit its texts."""
    package, r = mlxworld.on(backend), reference("biomedclip")
    x, ids = r["in.pixel_values"].transpose(0, 2, 3, 1), r["in.input_ids"].astype(np.int32)
    model = pretrained.load(folder, package, "float32", how).model
    with package.engine.inference():
        return package.engine.numpy(model(package.engine.array(np.ascontiguousarray(x)), package.engine.array(ids)))


def test_open_clip_is_written_in_its_own_layout(biomedclip, tmp_path):
    run(biomedclip, tmp_path / "same")
    assert {p.name for p in (tmp_path / "same").iterdir()} == {open_clip.FILE, open_clip.WEIGHTS}
    read = [json.loads((folder / open_clip.FILE).read_text()) for folder in (biomedclip, tmp_path / "same")]
    assert read[0] == read[1]
    before, after = (checkpoint.open(folder / open_clip.WEIGHTS) for folder in (biomedclip, tmp_path / "same"))
    assert set(before) == set(after)
    assert all(x.shape == after[n].shape and x.tobytes() == after[n].tobytes() for n, x in before.items())
    run(biomedclip, tmp_path / "q8", "--to", "mlx-q8")
    assert "visual.trunk.blocks.0.mlp.fc2.scales" in checkpoint.open(tmp_path / "q8" / open_clip.WEIGHTS)
    whole, packed = fits(biomedclip, "mlx"), fits(tmp_path / "q8", "mlx")
    assert gap(fits(biomedclip, "mlx", "int8"), packed) < 1e-5 < gap(whole, packed)
    assert gap(fits(tmp_path / "q8", "torch"), packed) < 1e-4
    run(biomedclip, tmp_path / "q8", "--force")  # a folder that is its own is replaced
    assert gap(fits(tmp_path / "q8", "torch"), whole) < 1e-4


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("llava", "x.pt"), "stay safetensors"),
        (("llava", "x", "--like", "pong"), "--like WORLD"),
    ],
)
def test_what_is_refused(tmp_path, argv, said):
    family, out, *more = argv
    with pytest.raises(MlxworldError, match=said):
        run(ORACLES / family, tmp_path / out, *more)
    assert not list(tmp_path.iterdir())


def test_numbers_that_are_none_are_refused_and_nothing_is_left(bfloat16, tmp_path):
    arrays = dict(checkpoint.open(bfloat16).items())
    arrays["model.norm.weight"] = arrays["model.norm.weight"] * np.float32("nan")
    checkpoint.save(bfloat16 / "model.safetensors", arrays)
    with pytest.raises(MlxworldError, match="NaN"):
        run(bfloat16, tmp_path / "out", "--to", "mlx-q8")
    assert [p.name for p in tmp_path.iterdir()] == ["bfloat16"]
