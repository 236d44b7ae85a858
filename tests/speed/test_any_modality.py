"""`mlxworld bench` of a model that reads and writes any modality: its figures and their picture."""

import json
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import numpy as np
import pytest

from mlxworld import bench
from mlxworld.configs.omnilatent import MODALITIES
from mlxworld.errors import MlxworldError
from mlxworld.play.translator import Translator
from mlxworld.speed import attribution
from mlxworld.speed import translator as figures_of
from mlxworld.speed.bars import bars
from mlxworld.training import hooks
from tests.translators import CONFIG, SCENES, run_folder


@pytest.mark.parametrize("backend", ["torch", "mlx"])
def test_figures_and_their_picture(tmp_path, capsys, backend):
    folder = run_folder(tmp_path / "run", steps=3, config=replace(SCENES, max_text=4))
    flags = ["--world", str(folder), "--backend", backend, "--items", "4", "--picture", str(tmp_path / "x.svg")]
    bench.main([*flags, "--json"])
    figures = json.loads(capsys.readouterr().out)
    assert figures["steps"] == 3 and figures["data"] == "held-out scenes"
    parts = dict(figures["parameters"])
    assert parts.pop("all") == sum(parts.values()) and parts["blocks"] > parts["norm"] == 32
    assert set(figures["effective_rank"]) == set(MODALITIES) and len(figures["alignment"]) == 6
    assert all(len(row) == 2 and min(row) > 0 for row in figures["layers"].values())
    assert all(ms > 0 for ms in figures["ms"].values())
    assert len(figures["losses"]) == 16 and sum(x["share"] for x in figures["losses"].values()) == pytest.approx(1)
    assert list(figures["hooks"]) == ["fresh, b = -8", "fresh, b = -4", "fresh, b = 0"]
    layers = figures["scaling"]["ms with N layers"]
    assert list(layers) == ["1", "2"] and all(x > 0 for row in figures["scaling"].values() for x in row.values())
    root = ElementTree.parse(tmp_path / "x.svg").getroot()
    words = "".join(root.itertext())
    assert "share of the loss" in words and "attention on hook fresh, b = 0" in words and "N layers" in words
    assert "recall at 1" in words and "3 steps" in words and "blocks" in words
    report = figures_of.report(figures)
    assert "with another's source" in report and "hook fresh, b = -4" in report and "N tokens of text: 1: " in report
    assert "trained for 3 steps" in report and "without a layer, video" in report


def test_a_layer_that_does_nothing_adds_nothing_and_all_are_put_back():
    translator = Translator.untrained(CONFIG, "torch")
    nn, engine = translator.package.nn, translator.package.engine
    still = {n: x * 0 for n, x in nn.parameters(translator.model).items() if n.startswith("blocks.0.") and "gate" in n}
    assert still, "what a block adds is multiplied by a gate"
    nn.assign(translator.model, still)
    batch, data = figures_of.things(translator, 2)
    assert data == "noise"
    before = translator.translate("image", batch["image"], "video")
    rows = attribution.contributions(translator, batch)
    assert all(row[0] == 0 and row[1] > 0 for row in rows.values())
    assert engine.device() and np.array_equal(before, translator.translate("image", batch["image"], "video"))


def losses_of(translator, batch):
    rows = attribution.losses(translator, batch)
    return {pair: row["loss"] for pair, row in rows.items()}, {pair: row["share"] for pair, row in rows.items()}


def test_a_targets_share_of_the_loss_is_that_of_its_weight():
    translator = Translator.untrained(CONFIG, "torch")
    package, model = translator.package, translator.model
    batch, _ = figures_of.things(translator, 3)
    loss, share = losses_of(translator, batch)
    assert share["audio to text"] / share["text to image"] == pytest.approx(
        loss["audio to text"] / loss["text to image"]
    )
    package.nn.assign(
        model, {"objective.log_variance": package.engine.array(np.log([4.0, 1, 1, 1]).astype(np.float32))}
    )
    same, quarter = losses_of(translator, batch)
    assert same == loss
    assert quarter["audio to text"] / quarter["text to image"] == pytest.approx(
        share["audio to text"] / share["text to image"] / 4, rel=1e-5
    )


def test_what_is_owed_to_a_source_is_seen_by_giving_anothers():
    """Two equal things: another's source is the same. A pair that copies its source would lose all by another's."""
    translator = Translator.untrained(CONFIG, "torch")
    batch, _ = figures_of.things(translator, 2)
    twins = {m: np.stack([x[0], x[0]]) for m, x in batch.items()}
    assert all(row["loss"] == row["of another"] for row in attribution.losses(translator, twins).values())
    apart = attribution.losses(translator, batch)
    assert all(row["loss"] != row["of another"] for row in apart.values())


@pytest.mark.parametrize("backend", ["torch", "mlx"])
def test_the_impact_of_hooks_and_the_model_is_what_it_was(tmp_path, backend):
    translator = Translator.untrained(CONFIG, backend)
    batch, _ = figures_of.things(translator, 2)
    before = translator.translate("image", batch["image"], "video")
    fresh = attribution.impact(translator, batch)
    small, middle, large = (row["change"]["video"] for row in fresh.values())
    assert 0 < small < middle < large
    assert all(0 < x < 1 for row in fresh.values() for x in row["mass"])
    assert fresh["fresh, b = 0"]["loss"]["video"] != 0
    assert np.array_equal(before, translator.translate("image", batch["image"], "video"))
    assert not translator.model.opened


def test_hooks_of_files_join_a_model_and_stay(tmp_path):
    folder, paths = run_folder(tmp_path / "run", config=CONFIG), []
    for i, name in enumerate(("a", "b")):
        made = Translator.load(folder, "torch")
        hooks.add(made.package, made.model, name, 3, "omnilatent", seed=i, gate=2.0)
        hooks.save(made.package, made.model, tmp_path)
        paths.append(tmp_path / f"{name}.safetensors")
    plain, hooked = Translator.load(folder, "torch"), Translator.load(folder, "torch", hooks=paths)
    batch, _ = figures_of.things(plain, 2)
    one, two = (t.translate("text", batch["text"], "image") for t in (plain, hooked))
    assert not np.array_equal(one, two)
    half = Translator.load(folder, "torch", "bfloat16", paths).translate("text", batch["text"], "image")
    assert np.abs(half - two).max() < 0.1
    rows = attribution.impact(hooked, batch)
    assert list(rows) == ["a", "b"] and [h.cfg.name for h in hooked.model.hooks] == ["a", "b"]
    assert np.array_equal(two, hooked.translate("text", batch["text"], "image"))


def test_the_longest_bar_is_the_greatest_number():
    root = ElementTree.fromstring(bars("a < b", {"group": {"one": 1.0, "four": 4.0}}))
    widths = [float(r.attrib["width"]) for r in root.iter() if r.tag.endswith("rect") and "class" not in r.attrib]
    assert widths[1] == 4 * widths[0] and "a < b" in "".join(root.itertext())


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (["--model", "omnilatent", "--preset", "nano", "--frames", "3"], "--frames says nothing of an untrained model"),
        (["--model", "omnilatent", "--preset", "nano", "--weights", "int8"], "--weights says nothing"),
        (["--model", "omnilatent", "--preset", "nano", "--hooks", "a.safetensors"], "--hooks says nothing"),
        (["--model", "omnilatent", "--preset", "nano", "--items", "1"], "--items must be at least 2"),
        (["--preset", "nano", "--items", "3"], "--items says nothing of a world"),
        (["--preset", "nano", "--picture", "x.svg"], "--picture says nothing of a world"),
    ],
)
def test_flags_of_the_other_kind_are_one_line(flags, line):
    with pytest.raises(MlxworldError, match=line):
        bench.main(flags)
