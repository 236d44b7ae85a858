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
from mlxworld.speed import translator as figures_of
from mlxworld.speed.bars import bars
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
    root = ElementTree.parse(tmp_path / "x.svg").getroot()
    words = "".join(root.itertext())
    assert "recall at 1" in words and "3 steps" in words and "blocks" in words
    report = figures_of.report(figures)
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
    rows = figures_of.contributions(translator, batch)
    assert all(row[0] == 0 and row[1] > 0 for row in rows.values())
    assert engine.device() and np.array_equal(before, translator.translate("image", batch["image"], "video"))


def test_the_longest_bar_is_the_greatest_number():
    root = ElementTree.fromstring(bars("a < b", {"group": {"one": 1.0, "four": 4.0}}))
    widths = [float(r.attrib["width"]) for r in root.iter() if r.tag.endswith("rect") and "class" not in r.attrib]
    assert widths[1] == 4 * widths[0] and "a < b" in "".join(root.itertext())


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (["--model", "omnilatent", "--preset", "nano", "--frames", "3"], "--frames says nothing of a model that is no"),
        (["--model", "omnilatent", "--preset", "nano", "--weights", "int8"], "--weights says nothing"),
        (["--model", "omnilatent", "--preset", "nano", "--items", "1"], "--items must be at least 2"),
        (["--preset", "nano", "--items", "3"], "--items says nothing of a world"),
        (["--preset", "nano", "--picture", "x.svg"], "--picture says nothing of a world"),
    ],
)
def test_flags_of_the_other_kind_are_one_line(flags, line):
    with pytest.raises(MlxworldError, match=line):
        bench.main(flags)
