"""The doctor tells what is there, and what to do about each thing that is not."""

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import mlxworld
from mlxworld import doctor
from tests.compiler import CAN_COMPILE, needs_compiler

WELL_TORCH = {
    **{"version": "2.13.0", "device": "cpu", "chip": "A chip", "precision": "float32", "blas": "PyTorch's"},
    **{"tflops": {"float32": 0.2}, "copy_gbs": 20.0, "launch_us": 2.0, "compile_s": 5.0},
}
WELL = {
    "machine": {
        "system": "Linux 6.1",
        "chip": "A chip",
        "cpu": "x86_64",
        "cores": 8,
        "memory_gib": 16.0,
        "disk_free_gib": 99.0,
        "python": "3.11.7",
    },
    "versions": {"mlxworld": "0.1.0"},
    "backends": {"torch": WELL_TORCH},
    "codecs": {"h264": True, "aac": True},
    "extras": {"atari": "0.12.1", "doom": "1.3.2", "physics": None, "coreml": None},
    "tools": {"compiler": "/usr/bin/g++", "python_headers": True, "encoding": "UTF-8"},
    "openal": True,
    "worlds": ["pong"],
}
SLOW_MLX = WELL_TORCH | {"blas": doctor.REFERENCE}
NO_TOOLS = WELL["tools"] | {"compiler": None}
NO_COMPILER = WELL_TORCH | {"compile_s": None, "compile_error": "g++ not found"}
MAC = WELL["machine"] | {"system": "Darwin 26.0", "cpu": "arm64", "chip": "Apple M5 Max"}


def m5(tflops: float) -> dict:
    return WELL_TORCH | {"device": "metal", "chip": "Apple M5 Max", "tflops": {"bfloat16": tflops}}


ILLS = [  # what is amiss, a word of the advice
    ({"backends": {}}, "pip install torch"),
    ({"backends": {"mlx": SLOW_MLX}}, "slow on this CPU"),
    ({"backends": {"torch": NO_COMPILER}, "tools": NO_TOOLS}, "apt-get install g++"),
    ({"machine": MAC, "backends": {"mlx": NO_COMPILER}, "tools": NO_TOOLS}, "xcode-select"),
    ({"backends": {"torch": NO_COMPILER}, "tools": WELL["tools"] | {"python_headers": False}}, "python3-dev"),
    (
        {
            "backends": {"torch": NO_COMPILER | {"compile_error": "'ascii' codec can't decode byte 0xe2"}},
            "tools": WELL["tools"] | {"encoding": "ANSI_X3.4-1968"},
        },
        "ANSI_X3.4-1968: set PYTHONUTF8=1",
    ),
    ({"machine": MAC, "backends": {"mlx": m5(14.9)}}, "not Homebrew's"),
    ({"openal": False}, "libopenal1"),
    ({"codecs": {"h264": True, "aac": False}}, "cannot write aac"),
    ({"machine": WELL["machine"] | {"memory_gib": 4.0}}, "Under 8 GiB"),
    ({"machine": WELL["machine"] | {"disk_free_gib": 1.0}}, "Under 5 GiB"),
    ({"machine": WELL["machine"] | {"system": "Darwin 26.0", "cpu": "arm64"}}, "pip install mlx"),
    ({"machine": WELL["machine"] | {"system": "Darwin 26.0", "chip": "Apple M1"}}, "Rosetta"),
]


def test_a_sound_machine_needs_nothing():
    assert doctor.advice(WELL) == []
    assert doctor.report(WELL | {"advice": []}).endswith("All well.")
    assert doctor.advice(WELL | {"machine": MAC, "backends": {"mlx": m5(40.0)}}) == []


@pytest.mark.parametrize(("ill", "word"), ILLS, ids=[word for _, word in ILLS])
def test_each_ill_has_its_advice(ill, word):
    facts = WELL | ill
    advice = doctor.advice(facts)
    assert any(word in line for line in advice)
    assert doctor.report(facts | {"advice": advice}).splitlines()[-1].startswith("-> ")


def test_what_it_says_of_this_machine(capsys):
    doctor.main(["--json"])
    facts = json.loads(capsys.readouterr().out)
    assert set(facts["backends"]) == {"mlx", "torch"}
    for name, b in facts["backends"].items():
        plays = mlxworld.on(name).engine.rollout_precision()
        assert (b["device"], b["precision"]) == ("cpu", plays) and b["chip"] == facts["machine"]["chip"]
        assert 1e-3 < b["tflops"]["float32"] < 20 and b["copy_gbs"] > 0.1 and b["launch_us"] > 0
        assert (b["compile_s"] is not None) == (CAN_COMPILE or name == "mlx"), "MLX compiles nothing in tests"
    assert facts["machine"]["memory_gib"] > 1 and facts["machine"]["chip"]
    assert facts["codecs"] == {"h264": True, "aac": True}
    assert facts["extras"]["atari"] and facts["extras"]["doom"] and facts["extras"]["physics"]


def test_it_looks_for_every_extra_that_a_person_can_choose():
    extras = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    assert set(doctor.EXTRAS) == set(extras) - {"dev", "torch", "mlx-cpu", "mlx-cuda"}
    assert all(extras[extra][0].startswith(package) for extra, package in doctor.EXTRAS.items())


def test_what_cannot_compile_is_told_not_raised(backend, monkeypatch):
    def broken(fn):
        raise RuntimeError("no g++ here\nand much more")

    monkeypatch.setattr(backend.engine, "compile", broken)
    assert doctor.compiling(backend) == {"compile_s": None, "compile_error": "no g++ here"}


def test_what_is_there_is_not_blamed():
    """A compiler that is installed and fails all the same, for a reason that only its message tells."""
    broken = NO_COMPILER | {"compile_error": "internal compiler error"}
    (line,) = doctor.advice(WELL | {"backends": {"torch": broken}})
    assert line == "torch cannot compile (internal compiler error)"


@needs_compiler
def test_the_encoding_of_a_locale_is_told_not_taken_for_a_missing_compiler():
    locale = {"LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    code = "import json; from mlxworld import doctor; print(json.dumps(doctor.examine()))"
    environment = os.environ | locale
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=200)
    assert done.returncode == 0, done.stderr[-2000:]
    facts = json.loads(done.stdout.splitlines()[-1])
    assert not [line for line in facts["advice"] if "g++" in line.rpartition(")")[2]], facts["advice"]
    if facts["backends"]["torch"]["compile_s"] is None:
        assert any("set PYTHONUTF8=1" in line for line in facts["advice"])
