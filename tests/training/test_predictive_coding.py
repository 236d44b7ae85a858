"""--method pc: its flags reach the training, anneal, and are refused in a line where they make no sense."""

import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mlxworld import families, on, train
from mlxworld.configs.load import from_dict
from mlxworld.configs.omnilatent import Config
from mlxworld.errors import MlxworldError
from mlxworld.files import checkpoint
from mlxworld.recipes.omnilatent import SHARE, Recipe, Settings
from tests.training.test_any_modality import argv


def weights(tmp_path, name, *flags) -> dict[str, np.ndarray]:
    """Of a model that learns pictures and words of noise for two steps."""
    few = ("--steps=2", "--fractions", "1", "0", "--method=pc", "--inference-steps=2")
    train.main(argv("synthetic", tmp_path / name, *few, *flags))
    return checkpoint.load(tmp_path / name / "model.safetensors")[0]


def same(a, b) -> bool:
    return all(a[name].tobytes() == b[name].tobytes() for name in a)


def test_flags_reach_a_training_which_says_what_it_was(tmp_path):
    assert not same(weights(tmp_path, "coded"), weights(tmp_path, "annealed", "--blend-anneal=2"))
    settings = json.loads((tmp_path / "annealed/train.json").read_text())
    assert (settings["method"], settings["blend_anneal"], settings["inference_steps"]) == ("pc", 2, 2)
    with pytest.raises(MlxworldError, match="--blend-anneal was 2, not 3"):
        weights(tmp_path, "annealed", "--blend-anneal=3", "--resume")


def test_its_share_grows_in_each_phase(tmp_path):
    cfg = train.parse(argv("synthetic", tmp_path, "--method=pc", "--blend=0.5", "--blend-anneal=10"))
    assert isinstance(cfg, Settings)
    run: Any = SimpleNamespace(package=on("torch"))
    for stage in Recipe(cfg).stages(run)[:2]:
        assert stage.extend is not None
        shares = [stage.extend({"text": np.zeros((2, 3))}, step)[SHARE] for step in (0, 5, 10, 11)]
        assert np.array_equal(shares, np.repeat([[0], [0.25], [0.5], [0.5]], 2, axis=1)), stage.name


def test_on_a_gpu_it_is_neither_compiled_nor_rounded_unless_asked_for(tmp_path):
    given = [
        (train.parse(argv("synthetic", tmp_path, *flags)).resolved(on_gpu=True))
        for flags in ((), ("--method=pc",), ("--method=pc", "--precision=bfloat16", "--compile=True"))
    ]
    assert [(c.precision, c.compile) for c in given] == [("bfloat16", True), ("float32", False), ("bfloat16", True)]


MEMORY = ("--memory.steps=2", "--memory.batch=4", "--memory.clips=2", "--memory.bptt=2")


def test_a_memory_learns_by_it_too(tmp_path):
    few = ("--memory.steps=1", "--memory.batch=2", "--inference-steps=6", "--to", "text", "--steps=1")
    after = weights(tmp_path, "a", *MEMORY, *few)
    package = on("torch")
    config = from_dict(Config, json.loads((tmp_path / "a/config.json").read_text())["model"])
    model = families.model(package, "omnilatent")(config).init(package.random.key(0))
    before = package.engine.numpy(package.nn.parameters(model))
    for name in ("memory.gate.weight", "memory.content.weight", "memory.slots"):
        assert np.abs(after[name] - before[name].astype(np.float16)).max() > 1e-4, name


WRONG = [
    (("--blend=0.5",), "are of --method pc"),
    (("--method=pc", "--blend=1.5"), "--blend lies between 0 and 1"),
    (("--method=pc", "--inference-steps=0"), "--inference-steps lies between 1 and 10000"),
    (("--method=pc", "--inference-rate=nan"), "--inference-rate lies above 0"),
    (("--method=pc", "--nudge=0"), "--nudge lies between"),
    (("--method=pc", "--config.num-layers=9", "--inference-steps=9"), "--inference-steps must be at least 10"),
    (("--method=pc", "--analytical", "--fixed-prediction"), "not both"),
    (("--method=pc", "--precisions", "1", "2", "3"), "--precisions are 1 number, or 2"),
    (("--method=pc", "--precisions", "1", "0"), "--precisions lie between"),
    (("--method=pc", *MEMORY, "--inference-steps=5"), "--inference-steps must be at least 6"),
    (("--method=pc", *MEMORY, "--precisions", "1", "2"), "--precisions are 1 number with --memory.steps"),
    (("--method=pc", "--shard"), "--shard does not go with --method pc"),
    (("--method=pc", "--config.checkpointing"), "--config.checkpointing does not go with --method pc"),
]


@pytest.mark.parametrize(("flags", "line"), WRONG)
def test_what_cannot_be_is_one_line(tmp_path, flags, line):
    with pytest.raises(MlxworldError, match=line) as caught:
        train.main(argv("synthetic", tmp_path / "run", *flags))
    assert "\n" not in str(caught.value) and not (tmp_path / "run").exists()
