"""`mlxworld bench words`: what is measured of a language model, and foretold."""

import json
from pathlib import Path

import numpy as np
import pytest

from mlxworld import MlxworldError, bench
from mlxworld.files import pretrained
from mlxworld.speed import counts, words

ORACLES = Path(__file__).parents[1] / "oracles"


def run(capsys, *argv: str) -> str:
    bench.main(["words", *argv])
    return capsys.readouterr().out


@pytest.mark.parametrize("family", ["gemma3", "qwen2_vl"])
def test_what_is_measured(capsys, backend, family):
    argv = ["--model", str(ORACLES / family), "--backend", {"mlxworld": "mlx"}.get(backend.__name__, "torch")]
    figures = json.loads(run(capsys, *argv, "--prompt", "40", "--tokens", "4", "--batch", "2", "--json"))
    assert figures["write_tokens_s"] == pytest.approx(2000 / figures["token_ms"])
    assert figures["read_tokens_s"] > 0 and figures["first_ms"] > 0 and figures["share"] > 0
    model = pretrained.load(ORACLES / family, backend, "float32").model
    sizes = [x.shape for x in backend.nn.parameters(model).values()]
    assert sum(figures["parameters"].values()) == sum(map(np.prod, sizes)) == figures["bytes"] / 4
    assert set(figures["parameters"]) == {"vision", "decoder"}
    lines = run(capsys, *argv, "--prompt", "40", "--tokens", "2").splitlines()
    assert [line[:9].strip() for line in lines[1:]] == ["reads", "writes", "weights", "a token", "memory", "numbers"]


def test_a_token_reads_every_weight_of_the_decoder_once(backend):
    """And those of the tower not at all."""
    model = pretrained.load(ORACLES / "llava", backend, "float32").model
    weights = {n: 4 * int(np.prod(x.shape)) for n, x in backend.nn.parameters(model).items()}
    matrices = sum(size for n, size in weights.items() if n.startswith("decoder.blocks") and ".norm" not in n)
    products = [op for op in words.step(backend, model) if op[1] == "product"]
    read = sum(counts.traffic(op) for op in products)
    assert matrices < read < matrices + sum(weights.values()) / 2
    assert model.cfg.decoder.vocab * model.cfg.decoder.block.dim * 2 in {op[2] for op in products}  # all words scored


def test_a_forecast_needs_no_weights_and_fewer_bytes_are_faster(capsys, tmp_path):
    (tmp_path / "config.json").write_text((ORACLES / "llava" / "config.json").read_text())
    rows, packed = (
        json.loads(run(capsys, "--model", str(tmp_path), "--predict", "--json", *more))["predict"]
        for more in ([], ["--weights", "int4"])
    )
    assert {r["chip"] for r in rows} >= {"Apple M1", "Apple M4 Max"}
    assert all(0 < r["fps_low"] < r["fps_high"] for r in rows + packed)
    assert "tokens/s" in run(capsys, "--model", str(tmp_path), "--predict").splitlines()[0]


def test_how_the_model_came_to_be_is_no_part_of_a_token():
    """MLX casts and packs when it must: a model that was only just made must count as one that was used."""
    package = pytest.importorskip("mlxworld").on("mlx")
    fresh = pretrained.untrained(ORACLES / "llava", package, "float16")
    before = counts.summary(words.step(package, fresh))
    package.engine.place(fresh)
    assert counts.summary(words.step(package, fresh)) == before


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--model", str(ORACLES / "clip")], "is no model that writes text"),
        (["--model", "nowhere"], "is no folder of a published model"),
        (["--model", str(ORACLES / "llava"), "--tokens", "0"], "must be at least 1"),
    ],
)
def test_what_cannot_be_measured(argv, said):
    with pytest.raises(MlxworldError, match=said):
        bench.main(["words", *argv])
