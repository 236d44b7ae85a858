"""The table and the plot of speed say what the results say, and nothing else in the page moves."""

import json
import re
import xml.etree.ElementTree as ET

import pytest

from benchmarks import report
from mlxworld import MlxworldError


def result(world="nano", backend="torch", chip="NVIDIA H100 80GB HBM3", fps=905.0, **more):
    device = "cpu" if "EPYC" in chip else "cuda"
    about = {"world": world, "backend": backend, "device": device, "chip": chip, "precision": "float16", "steps": 2}
    rollout = {"fps": fps, "p50_ms": 1e3 / fps, "p99_ms": 2e3 / fps}
    return about | {"batch": 1, "compiled": True, "cores": 2, "rollout": rollout} | more


@pytest.fixture
def place(tmp_path):
    found = {
        "a": result(),
        "slower": result(fps=300.0),
        "mlx": result(backend="mlx", fps=260.0),
        "cpu": result(chip="AMD EPYC", fps=41.26, compiled=False, precision="float32", weights="int8")
        | {"quality": {"change": -0.04}, "rates": {"gemm_tflops": 0.1, "copy_gbs": 50.0}}
        | {"counts": {"step": {"flops": 5e8, "bytes_fused": 2e8}}},
        "many": result(fps=6134.0, batch=64),
    }
    (tmp_path / "results").mkdir()
    for name, r in found.items():
        (tmp_path / "results" / f"{name}.json").write_text(json.dumps(r))
    (tmp_path / "README.md").write_text("before\n<!-- speed -->\nold\n<!-- /speed -->\nafter\n")
    return tmp_path


def run(place):
    flags = {"results": place / "results", "readme": place / "README.md", "plot": place / "docs" / "speed.svg"}
    report.main([word for name, path in flags.items() for word in (f"--{name}", str(path))])


def test_the_table_and_nothing_else(place):
    run(place)
    run(place)  # again, over its own
    lines = (place / "README.md").read_text().splitlines()
    assert lines[:2] == ["before", "<!-- speed -->"] and lines[-2:] == ["<!-- /speed -->", "after"]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines[4:-2]]
    assert [row[0] for row in rows] == ["nano", "nano", "nano", "nano, 64 worlds", "nano"]
    assert rows[0][1:7] == ["H100", "PyTorch", "float16, compiled", "2", "**905**", "1.10 / 2.21"]
    assert rows[-1][1:] == [
        *("2 CPU cores", "PyTorch", "float32, int8 weights", "2", "**41.3**", "24.24 / 48.47", "21%", "-0.04 dB")
    ]


def test_bars_are_as_long_as_their_figures(place):
    run(place)
    root = ET.parse(place / "docs" / "speed.svg").getroot()
    tag = "{http://www.w3.org/2000/svg}"
    bars = [(e.get("class"), float(e.get("width") or 0)) for e in root.iter(f"{tag}rect")]
    texts = [e.text or "" for e in root.iter(f"{tag}text")]
    assert [kind for kind, _ in bars] == ["torch", "mlx", *["bar"] * 6, "torch", *["bar"] * 3]  # by length, two panels
    assert bars[1][1] / bars[0][1] == pytest.approx(260 / 905, abs=1e-3)
    assert bars[2][1] / bars[0][1] == pytest.approx(179 / 905, abs=1e-3)
    assert "300" not in texts and "6,134" not in texts and "2 CPU cores: frames a second, one world" in texts
    ends = [float(e.get("x") or 0) for e in root.iter(f"{tag}text") if re.fullmatch(r"[\d,.]+", e.text or "")]
    assert max(ends) < report.WIDTH - 40  # the figures have room


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("results/a.json", "{", "a.json is no readable JSON file"),
        ("results/a.json", '{"world": "nano"}', "is not what mlxworld bench --json prints: it lacks backend, batch"),
        ("README.md", "no markers", "README.md lacks the markers <!-- speed --> and <!-- /speed -->"),
    ],
)
def test_what_cannot_be_used_is_one_line(place, name, text, line):
    (place / name).write_text(text)
    with pytest.raises(MlxworldError, match=line):
        run(place)
    assert not (place / "docs").exists()
