"""The bench: numbers of a world that fits its flags, as JSON that a program can read; else one line and exit code 2."""

import json
import mmap
import sys

import numpy as np
import pytest

from mlxworld import bench
from mlxworld.cli import entry
from mlxworld.configs.openworld import OpenWorldConfig
from mlxworld.errors import MlxworldError
from mlxworld.play.world import Clip, World
from mlxworld.speed import measure
from mlxworld.speed.training import training
from tests.play.small_world import small_world

PARTS = ("rollout", "dynamics", "decoder", "encoder")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return str(small_world(tmp_path_factory.mktemp("world")))


def test_json_is_one_object(folder, capsys):
    argv = ["--world", folder, "--backend", "torch", "--frames", "20", "--batch", "2", "--steps", "1", "--json"]
    bench.main([*argv, "--batches", "1,3"])
    told = json.loads(capsys.readouterr().out)
    assert (told["world"], told["backend"], told["steps"], told["batch"]) == ("small", "torch", 1, 2)
    found = told["rollout"]
    assert 0 < found["p50_ms"] <= found["p99_ms"] and found["first_ms"] > 0
    assert 1 / 3 < found["fps"] * found["p50_ms"] / 2000 < 3  # both worlds count
    assert found["stream_fps"] > 0.3 * found["fps"]
    assert min(found["p99_early_ms"], found["p99_late_ms"]) <= found["p99_ms"]
    assert set(told["batches"]) == {"1", "3"} and all(told[part]["fps"] > 0 for part in PARTS)
    assert told["counts"]["step"]["flops"] == told["counts"]["dynamics"]["flops"] + told["counts"]["decoder"]["flops"]
    assert told["memory"]["peak"] >= told["memory"]["active"] > 0 and min(told["rates"].values()) > 0


def test_data_that_cannot_be_read_costs_no_measurement(folder, monkeypatch):
    monkeypatch.setattr(measure, "rollout", lambda *a: pytest.fail("measured"))
    with pytest.raises(MlxworldError, match="nowhere: no such folder"):
        bench.main(["--world", folder, "--backend", "torch", "--data", "nowhere"])


def test_without_parts_it_measures_the_step_alone(folder, capsys):
    bench.main(["--world", folder, "--backend", "mlx", "--frames", "2", "--no-parts"])
    told = capsys.readouterr().out
    assert "rollout" in told and "dynamics" not in told and "MFLOP" not in told


def test_memory_that_grows_and_frames_that_slow_down_are_seen(folder, monkeypatch):
    world = World.load(folder, "torch")
    step, frames, held, now = world.step, 40, [], [0.0]

    def leaking(action):
        pages = mmap.mmap(-1, 1 << 22)  # 4 MiB, touched: no memory that an allocator had left
        pages.write(b"1" * (1 << 22))
        held.append(pages)
        now[0] += 0.001 * len(held)
        return step(action)

    monkeypatch.setattr(world, "step", leaking)
    monkeypatch.setattr(measure.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(measure, "_stream", lambda world, frames: 0.0)
    times, memory = measure.rollout(world, frames)
    assert memory["process_growth"] * memory["process"] > 0.5 * frames * 2**22
    warm = len(held) - frames
    assert warm >= world.config.context_frames and times["first_ms"] == pytest.approx(1)
    assert times["p99_early_ms"] == pytest.approx(warm + 3.97) and times["p99_late_ms"] == pytest.approx(warm + 39.97)
    assert times["fps"] == pytest.approx(1e3 / (warm + 20.5))


@pytest.fixture(scope="module")
def trained(folder):
    """What training takes on either backend."""
    rows = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mlxworld.speed.training.SECONDS", 0.0)
        for backend in ("mlx", "torch"):
            world = World.load(folder, backend)
            rows[backend] = training(world.package, world.config, 4, "float32", False, 1e-3)
    return rows


def flops(row: dict) -> float:
    """Of a clip."""
    return row["tflops"] * 1e12 / row["samples_per_s"]


def test_training(trained):
    for rows in trained.values():
        assert rows.keys() == {"tokenizer", "dynamics"}, "what is off by default is not measured"
        for row in rows.values():
            assert row["samples_per_s"] == pytest.approx(4 * row["steps_per_s"]) and 0 <= row["loader_wait"] < 1
            assert row["utilisation"] == row["tflops"] / 1e-3
        assert (rows["tokenizer"]["frames"], rows["dynamics"]["frames"]) == (8, 32)
    for stage in ("tokenizer", "dynamics"):
        assert flops(trained["mlx"][stage]) == pytest.approx(flops(trained["torch"][stage]), rel=0.1), stage


def test_flops_of_a_training_step_by_hand(folder, trained):
    """Each of T frames is predicted over a clean copy of all: the projections of 2T frames; local layers look at three
    windows. A quarter of the clips has a teacher of two more passes, which nothing is learnt of. A backward pass has
    twice the products of the forward one, but for the first layer, whose input learns nothing."""
    cfg, (K, D) = World.load(folder, "torch").config, (5, 16)
    assert isinstance(cfg, OpenWorldConfig)
    d = cfg.dynamics
    T, hidden = 32, 64 * -(-d.dim * 8 // 3 // 64)
    tokens = 2 * T * K
    block = 2 * tokens * d.dim * (4 * d.dim + 3 * hidden)
    local, wide = (4 * tokens * frames * K * d.dim for frames in (3 * d.local_window, 2 * T))
    first = 2 * tokens * D * d.dim
    one = 2 * block + local + wide + 2 * first
    assert flops(trained["torch"]["dynamics"]) == pytest.approx((1 + 2 / 4 + 2) * one - first, rel=1e-3)


@pytest.mark.parametrize(
    ("flags", "differs"), [(["--precision", "float32"], False), (["--precision", "bfloat16"], True)]
)
def test_what_a_precision_costs_stands_beside_its_speed(folder, flags, differs, capsys, monkeypatch):
    def clips(world, data, count, frames):
        rng = np.random.default_rng(0)
        video = rng.integers(0, 256, (frames, *world.size, 3), np.uint8)
        audio = rng.uniform(-0.1, 0.1, (frames, world.samples)).astype(np.float32)
        return [Clip(video, audio, np.zeros(frames, np.int32))] * 2

    monkeypatch.setattr(bench, "clips_for", clips)
    argv = ["--world", folder, "--backend", "torch", "--frames", "1", "--no-parts", "--data", "held", *flags]
    bench.main([*argv, "--json"])
    found = json.loads(capsys.readouterr().out)["quality"]
    assert (found["change"] != 0) == differs and found["horizon"] == 16
    bench.main(argv)
    assert "dB" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (["--world", "FOLDER", "--preset", "nano"], "give either --world or --preset"),
        ([], "give either --world or --preset"),
        (["--preset", "huge"], "unknown preset 'huge' of openworld: choose one of nano"),
        (["--world", "nowhere"], "unknown world 'nowhere'"),
        (["--world", "FOLDER", "--frames", "0"], "--frames must be at least 1, got 0"),
        (["--world", "FOLDER", "--batch", "0"], "batch must be at least 1, and at most 65536, got 0"),
        (["--world", "FOLDER", "--batches", "1,x"], "--batches are whole numbers from 1 up, not x"),
        (["--world", "FOLDER", "--train", "--clips", "0"], "--clips must be at least 1, got 0"),
        (["--preset", "nano", "--predict", "--batch", "2"], "--predict is of one world"),
        (["--preset", "nano", "--data", "x"], "--data measures what a trained world shows"),
    ],
)
def test_what_cannot_be_measured_is_one_line(folder, flags, line, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["bench", *(folder if word == "FOLDER" else word for word in flags)])
    with pytest.raises(SystemExit) as ended:
        entry(bench.main)
    told = capsys.readouterr()
    assert ended.value.code == 2 and told.out == ""
    assert told.err.startswith(f"mlxworld: {line}") and told.err.count("\n") == 1
