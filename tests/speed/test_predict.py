"""The prediction: the roofline by hand, fits that find what made the times, and times that were measured."""

import dataclasses
import importlib
import json
import os
import re
import subprocess
import sys
import time

import numpy as np
import pytest

from mlxworld import bench, on
from mlxworld.configs.openworld import OpenWorldConfig, preset
from mlxworld.speed import counts, forecast, machine, measure, predict
from mlxworld.speed.chips import CHIPS, SOURCES, Chip
from mlxworld.speed.parts import parts
from mlxworld.speed.predict import Fit, Rates, Sample
from tests.models.small import lively
from tests.play.small_world import small_world

WITHIN = 1.4  # of what was measured


def test_the_roofline_by_hand():
    operations = np.array([[2e9, 1e6, 3], [0, 4e8, 2]])  # FLOPs, bytes, how often
    rates, fit = Rates(gemm=1e12, copy=1e11), Fit(compute=0.5, bandwidth=0.8, launch=1e-5)
    expected = 3 * 2e9 / 0.5e12 + 2 * 4e8 / 0.8e11 + 5 * 1e-5
    assert predict.seconds(operations, rates, fit) == pytest.approx(expected)


def test_a_fit_finds_what_made_the_times():
    rng, true = np.random.default_rng(0), Fit(0.4, 0.6, 2e-5)
    samples = []
    for flops, moved in ((1e9, 1e4), (1e5, 1e8), (1e4, 1e3), (1e8, 1e7)):  # one mostly of each, and a mixture
        operations = np.c_[rng.uniform(0, flops, 40), rng.uniform(0, moved, 40), np.ones(40)]
        rates = Rates(1e11, 2e10)
        samples.append(Sample(operations, rates, predict.seconds(operations, rates, true)))
    found = predict.fit(samples)
    assert dataclasses.astuple(found) == pytest.approx(dataclasses.astuple(true), rel=0.05)


def groups():
    return [pytest.param(rows, id=" ".join(kind)) for kind, rows in predict.measured().items() if len(rows) > 1]


@pytest.mark.parametrize("rows", groups())
def test_each_measured_step_of_one_world_is_foretold_by_the_other_rows(rows):
    for row in (r for r in rows if r["batch"] == 1):
        found = predict.fit(predict.all_samples([r for r in rows if r is not row]))
        step = predict.samples(row)["step"]
        ratio = predict.seconds(step.operations, step.rates, found) / step.seconds
        assert 1 / WITHIN < ratio < WITHIN, row["world"]


def timed(backend, cfg: OpenWorldConfig, rates: Rates, *names: str) -> list[Sample]:
    """Parts of a model, measured now."""
    models = importlib.import_module(f"{backend.__name__}.models.openworld.model")
    model = backend.engine.place(models.TransformerWorldModel(cfg))
    found, pieces = [], parts(backend, model)
    for part in (pieces[name] for name in names):
        ops = counts.operations(backend, part.fn, part.state, *part.inputs)
        ms = measure.part(backend.engine, part, 5, compiled=False)["p50_ms"]
        found.append(Sample(np.array(counts.histogram(ops)), rates, ms / 1e3))
    return found


def test_this_machine_is_foretold_from_other_models(backend, monkeypatch):
    """nano, from a smaller and a larger model and the machine's rates, all of this run; nothing of nano is in the fit.

    Processor time is what is measured: the clock of a busy machine tells of others. Three tries.
    """
    monkeypatch.setattr(time, "perf_counter", time.process_time)
    nano, ratios = preset("nano"), []
    smaller, larger = (
        dataclasses.replace(
            nano,
            dynamics=dataclasses.replace(nano.dynamics, dim=64 * heads, heads=heads, depth=depth),
            decoder=dataclasses.replace(nano.decoder, dim=64 * heads, heads=heads, channels=channels),
        )
        for heads, depth, channels in ((2, 4, (64, 32, 32, 16)), (6, 6, (160, 96, 64, 32)))
    )
    for _ in range(3):
        told = machine.rates(backend.engine, "float32")
        rates = Rates(told["gemm_tflops"] * 1e12, told["copy_gbs"] * 1e9)
        known = [s for cfg in (smaller, larger) for s in timed(backend, cfg, rates, "dynamics", "decoder")]
        (step,) = timed(backend, nano, rates, "step")
        ratios.append(predict.seconds(step.operations, rates, predict.fit(known)) / step.seconds)
        if 1 / WITHIN < ratios[-1] < WITHIN:
            return
    pytest.fail(f"predicted / measured: {ratios}")


def test_every_chip_has_a_band_and_sources():
    rows = forecast.forecast(preset("nano-64"))
    macs = {r["chip"].removeprefix("Apple "): r for r in rows if r["chip"].startswith("Apple")}
    assert set(macs) == {chip.name for chip in CHIPS}
    for r in rows:
        assert 0 < r["fps_low"] < r["fps_high"] and r["source"]
    for weak, strong in (("M1", "M1 Max"), ("M2", "M2 Pro"), ("M2 Pro", "M2 Max"), ("M4", "M4 Pro"), ("M5", "M5 Max")):
        assert macs[weak]["fps_high"] < macs[strong]["fps_high"] and macs[weak]["fps_low"] < macs[strong]["fps_low"]
    assert all(set(chip.sources) <= set(SOURCES) for chip in CHIPS)


def test_a_forecast_of_quantised_weights(monkeypatch):
    plain, packed = (
        forecast.step(on("mlx"), preset("play-64"), "float16", True, weights) for weights in (None, "int8")
    )
    assert (packed[:, 1] * packed[:, 2]).sum() < 0.75 * (plain[:, 1] * plain[:, 2]).sum()
    asked = []
    monkeypatch.setattr(forecast, "step", lambda *args: asked.append(args[-1]) or packed)
    rows = forecast.forecast(preset("nano-64"), "int8")
    assert set(asked) == {"int8"} and len(rows) == len(CHIPS), "no machine was measured with such weights"


def test_a_band_spans_what_was_achieved_and_what_is_published():
    chip = Chip("X", bandwidth=100, peak=(4.0, 4.0), achieved=(1.0, (50, 60)))
    compute, moved = np.array([[1e9, 0, 1]]), np.array([[0, 1e8, 1]])
    perfect = Fit(1, 1, 0)
    band = predict.unseen(compute, chip, perfect, perfect)
    assert (band.least, band.most) == pytest.approx((1e9 / (predict.GEMM * 4e12), 1e9 / 1e12))
    band = predict.unseen(moved, chip, perfect, perfect)
    assert (band.least, band.most) == pytest.approx((1e8 / (predict.COPY[1] * 1e11), 1e8 / 5e10))


def test_macs_are_foretold_from_gpus_where_there_are_any():
    def row(device, seconds):
        timed = {name: {"p50_ms": 1e3 * seconds} for name in predict.PARTS.values()}
        histogram: dict = {part: [[10**9, 10**7, 1]] for part in predict.PARTS}
        return {"device": device, "rates": {"gemm_tflops": 1, "copy_gbs": 1e3}, "histogram": histogram} | timed

    cpu, gpu = [row("cpu", 1e-2)], [row("cuda", 2e-3)]  # a tenth of the product's rate, and half of it
    low, high = predict.shares({("a",): cpu, ("b",): gpu})
    assert low.compute == pytest.approx(high.compute) and 0.4 < low.compute < 0.6
    low, high = predict.shares({("a",): cpu})
    assert low.compute < 0.2 and (low.launch, high.launch) == predict.METAL[::-1]


@pytest.mark.parametrize("as_json", [False, True])
def test_the_command_prints_bands(as_json, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(bench, "open_world", lambda cfg: pytest.fail("a prediction runs nothing"))
    bench.main(["--world", str(small_world(tmp_path)), "--predict", *(["--json"] if as_json else [])])
    told = capsys.readouterr().out
    if as_json:
        assert {"chip", "fps_low", "fps_high", "source"} <= set(json.loads(told)["predict"][0])
    else:
        assert re.search(r"Apple M2 Max +mlx +float16 +\d+ to \d+ +\[\d\]", told) and "\n[1] " in told


DOT = """
import re, sys
import mlx.core as mx
from mlxworld import on
from mlxworld.backend import count
from mlxworld.speed.parts import parts
from tests.models.small import lively
package = on("mlx")
part = parts(package, package.engine.place(lively(package)))["dynamics"]
mx.export_to_dot(sys.argv[1], *count._leaves(mx.compile(part.fn)(part.state, *part.inputs)))
"""


def test_fused_kernels_are_about_those_of_mlx_compile(tmp_path):
    """Its compiled graph as MLX draws it; on the CPU a norm is three of its nodes and an attention four, on a GPU
    one."""
    environment = {k: v for k, v in os.environ.items() if k != "MLX_DISABLE_COMPILE"}
    subprocess.run([sys.executable, "-c", DOT, str(tmp_path / "dot")], check=True, env=environment, timeout=100)
    labels = re.findall(r'label ="([^"]+)"', (tmp_path / "dot").read_text())
    from mlxworld.backend import count

    names = [n for n in labels if n not in count.REORDERS | count.VIEWS | count.RESHAPES]
    package = on("mlx")
    part = parts(package, package.engine.place(lively(package)))["dynamics"]
    ops = counts.operations(package, part.fn, part.state, *part.inputs)
    one = [op for op in counts.fused(ops) if op[0] not in count.RESHAPES]
    expected = len(names) - 2 * names.count("Sum") - 3 * names.count("Softmax")
    assert len(one) == pytest.approx(expected, rel=0.1) and len(ops) > 1.5 * len(one)
