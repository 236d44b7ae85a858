"""Folders of published models: names in every layout, shards, what is refused, and the memory that loading takes."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import mlxworld
from mlxworld import MlxworldError
from mlxworld.files import checkpoint, pretrained

ORACLES = Path(__file__).parents[1] / "oracles"
BOTH_LAYOUTS = ["llava", "llava_next", "qwen2_vl", "gemma3", "mllama", "idefics", "phi3", "cohere"]


def config(folder: Path) -> dict:
    return json.loads((folder / "config.json").read_text())


def arrays(family: str) -> dict[str, np.ndarray]:
    return checkpoint.load(ORACLES / family)[0]


def write(folder: Path, family: str, weights: dict[str, np.ndarray], shard_bytes: int | None = None, **changes) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config(ORACLES / family) | changes))
    checkpoint.save(folder / "model.safetensors", weights, shard_bytes=shard_bytes)
    return folder


@pytest.mark.parametrize("family", BOTH_LAYOUTS)
def test_newer_names_and_configurations_are_those_published_before(family):
    published, native = config(ORACLES / family), config(ORACLES / family / "native")
    assert pretrained.our_config(native) == pretrained.our_config(published)
    rename = pretrained.types()[family].renamed(native)
    names = json.loads((ORACLES / family / "native" / "names.json").read_text())
    assert sorted(map(rename, names)) == sorted(arrays(family))
    assert all(rename(name) == name for name in arrays(family))


def test_a_third_layout_and_a_mixture_are_read(tmp_path):
    """Published names without `vision_model.`, as transformers 5 writes them, beside newer ones."""
    weights = {name.replace("vision_tower.vision_model.", "vision_tower."): x for name, x in arrays("llava").items()}
    names = {"language_model.lm_head.weight": "lm_head.weight"}
    names |= {name: f"model.{name}" for name in weights if name.startswith("multi_modal_projector")}
    folder = write(tmp_path, "llava", {names.get(name, name): x for name, x in weights.items()})
    ours, theirs = (pretrained.our_weights(f, config(f)) for f in (folder, ORACLES / "llava"))
    assert set(ours) == set(theirs) and all(np.array_equal(ours[name], theirs[name]) for name in ours)
    weights["lm_head.weight"] = weights["language_model.lm_head.weight"]
    with pytest.raises(MlxworldError, match=r"two arrays would be named language_model\.lm_head\.weight"):
        pretrained.our_weights(write(tmp_path, "llava", weights), config(folder))


@pytest.mark.parametrize("family", ["llava", "molmo", "idefics", "mllama", "nvlm_d", "phi3_v"])
def test_our_names_lead_back_to_the_published_ones(family):
    from mlxworld.files.names import to_ours, to_theirs
    from tests.models.vision_language.oracle_vision import published

    about = published(family)
    table, weights = pretrained.types()[about["model_type"]].table(about), arrays(family)
    back = to_theirs(to_ours(weights, table, family), table, family)
    dropped = {name for name in weights if name not in back}
    assert all(np.array_equal(back[name], weights[name]) for name in back) and not set(back) - set(weights)
    assert all("post_layernorm" in name or ".layers.3." in name or "resblocks.4" in name for name in dropped)


def test_shards_are_read(backend, tmp_path):
    folder = write(tmp_path, "cohere", arrays("cohere"), shard_bytes=100_000)
    assert len(list(folder.glob("model-*.safetensors"))) > 2
    loaded = pretrained.load(folder, backend, "float32")
    whole = pretrained.load(ORACLES / "cohere", backend, "float32")
    ours, theirs = (backend.engine.numpy(backend.engine.parameters(x.model)) for x in (loaded, whole))
    assert all(np.array_equal(ours[name], theirs[name]) for name in theirs)
    next(folder.glob("model-00002*")).unlink()
    with pytest.raises(MlxworldError, match="model-00002"):
        pretrained.load(folder, backend)


def test_unknown_and_missing_arrays_are_named(backend, tmp_path):
    weights = arrays("cohere")
    with pytest.raises(MlxworldError, match=r"no place here: 'model\.other\.weight', 'model\.second\.weight'"):
        extra = {"model.other.weight": np.zeros(2, np.float32), "model.second.weight": np.zeros(2, np.float32)}
        pretrained.load(write(tmp_path, "cohere", weights | extra), backend)
    for name, said in (
        ("model.norm.weight", "decoder.norm.weight is missing"),
        ("model.layers.1.mlp.up_proj.weight",) * 2,
    ):
        with pytest.raises(MlxworldError, match=said):
            pretrained.load(write(tmp_path, "cohere", {n: x for n, x in weights.items() if n != name}), backend)
    changed = weights | {"model.norm.weight": np.zeros(47, np.float32)}
    with pytest.raises(MlxworldError, match=r"decoder.norm.weight is \(47,\), not \(48,\)"):
        pretrained.load(write(tmp_path, "cohere", changed), backend)


@pytest.mark.parametrize(
    ("about", "said"),
    [
        ({"model_type": "bert"}, r"model_type 'bert' is not read: known are .*'cohere'"),
        ({"format": 2}, "no model_type"),
        ([1], "no model_type"),
        ({"model_type": "llava", "vision_config": {}}, r"no configuration of 'llava': no 'llm_config'"),
        ({"model_type": "phi3", "hidden_size": "many"}, "no configuration of 'phi3'"),
        ({"model_type": "phi3", "num_attention_heads": 7}, "dim must be a multiple of heads"),
        ({"model_type": "phi3", "rope_scaling": {"type": "yarn"}}, "rotary positions of type 'yarn' are not read"),
        ({"model_type": "llama", "num_hidden_layers": 10**9}, "1000000000 layers; 1 to 1000 are read"),
        (
            {"model_type": "cohere", "hidden_size": 48, "num_attention_heads": 4, "num_key_value_heads": 1},
            "asks for more",
        ),
    ],
)
def test_configurations_that_are_refused(about, said, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(about))
    checkpoint.save(tmp_path / "model.safetensors", arrays("cohere"))
    with pytest.raises(MlxworldError, match=said):
        pretrained.load(tmp_path, mlxworld.on("torch"))


@pytest.mark.parametrize("size", ["hidden_size", "head_dim", "intermediate_size"])
def test_a_size_that_no_array_has_is_refused_in_one_line(backend, tmp_path, size):
    """With weights, and without."""
    about = json.loads((ORACLES / "cohere" / "config.json").read_text()) | {size: 2**44}
    (tmp_path / "config.json").write_text(json.dumps(about))
    checkpoint.save(tmp_path / "model.safetensors", arrays("cohere"))
    for read in (pretrained.load, pretrained.untrained):
        with pytest.raises(MlxworldError) as failure:
            read(tmp_path, backend, "float32")
        assert str(failure.value).isprintable()


def test_a_folder_without_a_configuration(tmp_path):
    with pytest.raises(MlxworldError, match=r"no config\.json"):
        pretrained.load(tmp_path, mlxworld.on("torch"))


MEASURE = """
import sys
import mlxworld
from mlxworld.files import pretrained
package = mlxworld.on(sys.argv[1])
pretrained.load(sys.argv[2], package, "float32")
def kilobytes(name):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(name))
open("/proc/self/clear_refs", "w").write("5")  # the peak is what there is now
before = kilobytes("VmRSS")
loaded = pretrained.load(sys.argv[3], package, sys.argv[4])
print((kilobytes("VmHWM") - before) * 1024)
"""


@pytest.mark.platform
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the peak of memory is told by Linux")
@pytest.mark.parametrize(("name", "precision"), [("torch", "bfloat16"), ("mlx", "float32")])
def test_loading_takes_little_more_than_the_weights(name, precision, tmp_path):
    rng, C = np.random.default_rng(0), 1024
    about = {"model_type": "llama", "hidden_size": C, "intermediate_size": 2048, "num_hidden_layers": 4}
    about |= {"num_attention_heads": 8, "vocab_size": 4096}
    weights = {"model.embed_tokens.weight": (4096, C), "lm_head.weight": (4096, C), "model.norm.weight": (C,)}
    for i in range(4):
        layer = f"model.layers.{i}"
        weights |= {f"{layer}.self_attn.{x}_proj.weight": (C, C) for x in "qkvo"}
        weights |= {f"{layer}.mlp.{x}_proj.weight": (2048, C) for x in ("gate", "up")}
        weights |= {f"{layer}.mlp.down_proj.weight": (C, 2048)}
        weights |= {f"{layer}.{x}_layernorm.weight": (C,) for x in ("input", "post_attention")}
    checkpoint.save(
        tmp_path / "model.safetensors",
        {n: rng.standard_normal(s, np.float32) for n, s in weights.items()},
        shard_bytes=48 << 20,
    )
    (tmp_path / "config.json").write_text(json.dumps(about))
    size = sum(4 * int(np.prod(shape)) for shape in weights.values()) // (2 if precision == "bfloat16" else 1)
    command = [sys.executable, "-c", MEASURE, name, ORACLES / "cohere", tmp_path, precision]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    largest = 4 * 4096 * C  # bytes of one array, which is read, copied and cast
    assert int(done.stdout) < 1.2 * size + 5 * largest, f"{int(done.stdout) / size:.2f} of {size >> 20} MB"


@pytest.mark.parametrize(
    ("device", "fast", "family", "usual"),
    [
        ("cpu", "float32", "gemma3", "float32"),
        ("cuda", "float16", "llava", "bfloat16"),
        ("metal", "float16", "llava", "float16"),
        ("metal", "float16", "gemma3", "bfloat16"),  # whose numbers float16 does not hold
        ("metal", "bfloat16", "gemma3", "bfloat16"),
    ],
)
def test_what_a_model_computes_in(device, fast, family, usual):
    engine: Any = SimpleNamespace(device=lambda: device, rollout_precision=lambda: fast)
    assert pretrained.usual_precision(engine, config(ORACLES / family)) == usual
