"""A decoder as a Core ML package, evaluated operation by operation beside PyTorch: rings of windows, M-RoPE."""

import dataclasses

import numpy as np
import pytest
import torch

import mlxworld
from convert import to_coreml_words
from convert.mil_evaluator import Evaluated
from mlxworld import MlxworldError
from tests.models.vision_language.oracle_models import load
from tests.models.vision_language.oracle_vision import ORACLES

STEPS = 12  # past Gemma's window of 8


def shorter(model, first: int, last: int):
    """The model with some of its blocks alone."""
    decoder = dataclasses.replace(model.cfg.decoder, layers=model.cfg.decoder.layers[first:last])
    model.decoder.blocks, model.decoder.cfg = model.decoder.blocks[first:last], decoder
    model.cfg = dataclasses.replace(model.cfg, decoder=decoder)
    return model


@pytest.mark.parametrize(("family", "blocks"), [("gemma3", (4, 6)), ("qwen2_vl", (0, 2))])
def test_a_package_writes_as_the_model_does(family, blocks, tmp_path):
    path, model = tmp_path / "words.mlpackage", shorter(load(mlxworld.on("torch"), family), *blocks)
    to_coreml_words.write(path, to_coreml_words.parts(model, 16), "fp16", {"model_type": family})
    embed, write = Evaluated(path, "embed"), Evaluated(path, "write")
    held, state = write.make_state(), model.decoder.init_state(1, 16, like=torch.zeros(1))
    places = (1, 1, 3) if model.cfg.decoder.rope.sections else (1, 1)
    for t, token in enumerate(np.random.default_rng(0).integers(4, 250, STEPS)):
        x = embed.predict({"ids": np.array([[token]], np.int32)})["embedding"]
        ours = write.predict({"embedding": x, "position": np.full(places, t, np.int32)}, held)["logits"]
        with torch.no_grad():
            theirs, state = model.step(state, torch.tensor([int(token)]))
        assert np.abs(ours - theirs.numpy()).max() < 0.03, t


def test_the_verb_writes_a_package(tmp_path, capsys):
    path = tmp_path / "cohere.mlpackage"
    to_coreml_words.main(["--model", f"{ORACLES}/cohere", "--out", str(path), "--tokens", "8", "--precision", "int8"])
    assert "functions embed and write" in capsys.readouterr().out and (path / "Manifest.json").exists()


def test_what_is_refused(tmp_path):
    for argv, said in (
        (["--model", f"{ORACLES}/mllama", "--out", f"{tmp_path}/a.mlpackage"], "attends to pictures"),
        (["--model", f"{ORACLES}/phi3", "--out", f"{tmp_path}/a"], r"\.mlpackage"),
        (["--model", f"{ORACLES}/phi3", "--out", f"{tmp_path}/a.mlpackage", "--tokens", "4096"], r"1 \.\. 2048"),
    ):
        with pytest.raises(MlxworldError, match=said):
            to_coreml_words.main(argv)
    assert not list(tmp_path.iterdir())
