"""Every family is trained, killed and resumed, saved, loaded on the other backend, measured and exported by the same
code: OpenWorld, and a toy that touches no file of the package."""

import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import mlxworld
from mlxworld import World, bench, families
from mlxworld.errors import MlxworldError
from mlxworld.files import checkpoint
from tests.training import processes, tiny

ROOT, ROOMS = Path(__file__).parents[2], Path(__file__).parent / "rooms"
FLAGS = {
    "openworld": tiny.argv(**{"forcing.steps": 0, "tokenizer.steps": 4, "dynamics.steps": 4, "log-steps": 2}),
    "toy": ["--model", "toy", "--learn.steps", "8", "--log-steps", "2"],
}
BOTH = ("mlx", "torch")


@pytest.fixture(scope="module", autouse=True)
def own_rooms():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLXWORLD_FAMILIES", str(ROOMS))
        yield


@pytest.fixture(scope="module")
def dots(tmp_path_factory):
    return tiny.dots(tmp_path_factory.mktemp("data") / "dots")


@pytest.fixture(scope="module", params=[(family, backend) for family in FLAGS for backend in BOTH], ids=" ".join)
def run(request, dots, tmp_path_factory):
    """A training that went through."""
    family, backend = request.param
    folder = tmp_path_factory.mktemp(f"{family}-{backend}")
    argv = ["--data", dots, "--backend", backend, "--sample-minutes", "0", *FLAGS[family]]
    done = processes.train("", [*argv, "--out", folder / "whole"])
    assert done.returncode == 0, done.stderr[-3000:]
    other = next(name for name in BOTH if name != backend)
    return SimpleNamespace(family=family, backend=backend, other=other, whole=folder / "whole", argv=argv)


def arrays(folder: Path) -> dict[str, np.ndarray]:
    files = ("checkpoint", "model", "starts")
    loaded = {f"{f}/{n}": x for f in files for n, x in checkpoint.load(folder / f"{f}.safetensors")[0].items()}
    loaded.pop("checkpoint/seconds")
    return loaded


@pytest.mark.parametrize("run", [("toy", backend) for backend in BOTH], ids=" ".join, indirect=True)
def test_killed_twice_it_resumes_to_the_same_weights_bit_for_bit(run, tmp_path):
    """OpenWorld is killed in more places in tests/training/test_resume.py."""
    argv = [*run.argv, "--out", tmp_path / "killed", "--save-minutes", "0"]
    deaths = [f"mlxworld.training.run:Run._write:{-n}" for n in (1, 2)]  # a checkpoint is written
    for death, more in (deaths[0], []), (deaths[1], ["--resume"]), ("", ["--resume"]):
        done = processes.train(death, [*argv, *more], fresh=not death)
        assert done.returncode == (-9 if death else 0), done.stderr[-3000:]
    whole, killed = arrays(run.whole), arrays(tmp_path / "killed")
    assert whole.keys() == killed.keys()
    assert [name for name, x in whole.items() if x.tobytes() != killed[name].tobytes()] == []


def test_the_world_is_the_same_on_the_other_backend(run):
    frames = []
    for backend in (run.backend, run.other):
        world = World.load(run.whole, backend=backend, precision="float32")
        frames.append([world.reset(seed=3), *(world.step(a) for a in (1, 2, 0, "up"))])
    for ours, theirs in zip(*frames, strict=True):
        assert np.abs(ours.video.astype(int) - theirs.video).max() <= 1
        np.testing.assert_allclose(ours.audio, theirs.audio, atol=1e-3)
    assert len({frame.video.tobytes() for frame in frames[0]}) > 1, "the world does not stand still"


def test_what_it_makes_was_shown_and_its_mean_frame_is_the_data_s(run):
    assert (run.whole / "samples/final.png").exists() and (run.whole / "samples/final.mp4").exists()
    buffers = {n: x for n, x in checkpoint.load(run.whole / "model.safetensors")[0].items() if n.endswith("mean_frame")}
    (mean,) = buffers.values()
    assert mean.dtype == np.float32 and 0.2 < mean.mean() < 0.4, "60 of 255 and a bright dot, never cast to float16"


def test_it_is_measured(run, capsys, monkeypatch):
    monkeypatch.setattr("mlxworld.speed.training.SECONDS", 0.0)  # as few steps as can be
    bench.main(
        ["--world", str(run.whole), "--backend", run.backend, "--frames", "4", "--train", "--clips", "4", "--json"]
    )
    figures = json.loads(capsys.readouterr().out)
    assert figures["rollout"]["fps"] > 0 and figures["counts"]["step"]["flops"] > 0
    stages = {"openworld": {"tokenizer", "dynamics"}, "toy": {"learn"}}[run.family]
    assert figures["train"].keys() == stages
    assert all(row["steps_per_s"] > 0 and 0 < row["utilisation"] < 2 for row in figures["train"].values())


def test_its_int8_weights_play_nearly_alike(run, tmp_path):
    from convert import weights

    weights.main([str(run.whole), str(tmp_path / "q8"), "--to", "mlx-q8"])
    frames = []
    for folder in (run.whole, tmp_path / "q8"):
        world = World.load(folder, backend=run.other, precision="float32")
        world.reset(seed=3)
        frames.append(world.step(1).video.astype(float))
    assert np.abs(frames[0] - frames[1]).mean() < 3


@pytest.mark.parametrize("run", [("toy", "torch")], ids=" ".join, indirect=True)
def test_its_core_ml_package_dreams_alike(run, tmp_path, monkeypatch):
    """Conversion reads the same file of weights whatever trained it. OpenWorld's packages: tests/convert."""
    from convert import to_coreml
    from tests.convert.packages import evaluated

    path = tmp_path / "toy.mlpackage"
    to_coreml.main(["--world", str(run.whole), "--out", str(path)])
    evaluated(monkeypatch)
    frames = []
    for name, backend in ((run.whole, "torch"), (path, None)):
        world = World.load(name, backend=backend)
        frames.append([world.reset(seed=3), *(world.step(a) for a in (1, 2, 0))])
    for ours, theirs in zip(*frames, strict=True):
        assert np.abs(ours.video.astype(int) - theirs.video).max() <= 2


@pytest.mark.parametrize("run", [("openworld", "torch")], ids=" ".join, indirect=True)
def test_what_conversion_reads_of_it_dreams_alike(run):
    """The parts that leave the house, made from the folder that a training wrote, paint what its world decodes."""
    from convert import parts, rehearsal

    source, world = parts.load(run.whole), World.load(run.whole, backend="torch", precision="float32")
    assert source.about == json.loads((run.whole / "config.json").read_text())
    calls = rehearsal.rehearse(source, dreamt=3)
    assert {call.part for call in calls} == set(parts.GROUPS["all"])
    engine = world.package.engine
    with engine.inference():
        for call in calls:
            if call.part == "video":
                video = engine.numpy(world.model.decode(engine.array(call.inputs["z"]))[0])
                np.testing.assert_allclose(call.outputs["video"], video, atol=1e-5)
    assert len({call.outputs["video"].tobytes() for call in calls if call.part == "video"}) > 3


def test_a_family_that_there_is_not_is_one_line_with_those_that_there_are():
    with pytest.raises(
        MlxworldError, match=r"unknown model family 'jepa': choose one of omnilatent, openworld, toy, vision_language$"
    ):
        families.preset("jepa", "nano")
    with pytest.raises(MlxworldError, match=r"unknown preset 'huge' of toy: choose one of nano, wide$"):
        families.preset("toy", "huge")


def test_without_the_variable_there_is_no_toy(monkeypatch):
    monkeypatch.delenv("MLXWORLD_FAMILIES")
    code = "from mlxworld import families; print(families.names())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "['omnilatent', 'openworld', 'vision_language']"


def test_the_toy_is_small():
    files = sorted(ROOMS.rglob("*.py"))
    assert len(files) == 3
    assert sum(len(path.read_text().splitlines()) for path in files) < 120


def test_no_file_outside_a_family_s_rooms_names_it():
    """Door 8; one default excepted."""
    own = re.compile(r"mlxworld/(models|configs|recipes|files/layouts)/|mlxworld/worlds/|tests/|docs/|README")
    models = ROOT / "mlxworld" / "models"
    rooms = {path.parent.name for path in models.glob("*/__init__.py")} - {"blocks", "objectives"}
    assert {"openworld", "omnilatent", "vision_language"} <= rooms
    tracked = subprocess.run(
        ["git", "-c", "safe.directory=*", "grep", "-ilE", "|".join(rooms)], cwd=ROOT, capture_output=True, text=True
    ).stdout.split()
    outside = [path for path in tracked if not own.match(path)]
    assert outside == ["mlxworld/training/settings.py"]
    assert (ROOT / outside[0]).read_text().lower().count("openworld") == 1
    assert mlxworld.__name__
