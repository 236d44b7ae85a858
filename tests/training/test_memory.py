"""The phase of recurrent memory: off unless asked for, stopped and resumed, loaded on the other backend, bad input."""

import json

import numpy as np
import pytest

from mlxworld import train
from mlxworld.errors import MlxworldError
from mlxworld.files import checkpoint
from mlxworld.play.translator import Translator
from mlxworld.recipes.omnilatent import Streams
from tests.training.test_any_modality import LINES, Stopped, argv, settings
from tests.translators import film

MEMORY = ("--steps=1", "--fractions", 0, 1, "--memory.steps=3", "--memory.batch=6", "--memory.clips=3")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("films")
    film(place / "a.mp4", 8, LINES)
    film(place / "b.mp4", 12, "a grey room that grows bright")
    return place


@pytest.fixture(scope="module")
def whole(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "whole"
    train.main(argv(folder, out, *MEMORY, "--memory.bptt=2", "--memory.tokens=4"))
    return out


def weights(run):
    return checkpoint.load(run / "model.safetensors")[0]


def test_stopped_in_its_phase_it_resumes_to_the_same_weights(folder, whole, tmp_path, monkeypatch):
    saved, left = checkpoint.save, [3]

    def save(path, *args, **options):
        saved(path, *args, **options)
        left[0] -= path.name == "checkpoint.safetensors"
        if not left[0]:
            raise Stopped

    flags = (*MEMORY, "--memory.bptt=2", "--memory.tokens=4", "--save-minutes=0")
    monkeypatch.setattr(checkpoint, "save", save)
    with pytest.raises(Stopped):
        train.main(argv(folder, tmp_path / "killed", *flags))
    monkeypatch.setattr(checkpoint, "save", saved)
    assert checkpoint.load(tmp_path / "killed/checkpoint.safetensors")[0]["place"].tolist() == [5, 2]
    train.main(argv(folder, tmp_path / "killed", *flags, "--resume"))
    a, b = weights(whole), weights(tmp_path / "killed")
    assert a.keys() == b.keys() and all(a[name].tobytes() == b[name].tobytes() for name in a)


def test_its_run_remembers_on_either_backend_and_shows_what(whole):
    about = json.loads((whole / "config.json").read_text())
    assert about["card"]["steps"]["memory"] == 3 and about["model"]["memory_tokens"] == 4
    lines = (whole / "samples/final.txt").read_text().splitlines()
    assert len(lines) == 10 and lines[8] == lines[0], "four pictures, then the first as memory has it"
    states = []
    for backend in ("mlx", "torch"):
        translator = Translator.load(whole, backend)
        video = np.random.default_rng(0).random((1, 4, 16, 16, 3), dtype=np.float32)
        start, engine = translator.model.memory.start(1), translator.package.engine
        states.append(engine.numpy(translator.model.remember(start, "video", engine.array(video))[0]))
    assert states[0].shape == (1, 4, 32) and np.abs(states[0]).max() > 1e-3
    np.testing.assert_allclose(*states, atol=1e-5)


def test_there_is_no_memory_unless_it_is_asked_for_and_a_child_keeps_its_parent_s(folder, whole, tmp_path):
    train.main(argv(folder, tmp_path / "without", "--steps=1", "--fractions", 0, 1))
    assert not [name for name in weights(tmp_path / "without") if name.startswith("memory.")]
    train.main(argv(folder, tmp_path / "child", "--steps=1", "--fractions", 0, 1, "--from", whole))
    assert weights(tmp_path / "child")["memory.slots"].shape == (4, 32)
    train.main(argv("synthetic", tmp_path / "more", *MEMORY, "--memory.bptt=3", "--from", tmp_path / "without"))
    assert weights(tmp_path / "more")["memory.slots"].shape == (8, 32)


def test_noise_says_how_fast_its_clips_are(tmp_path):
    flags = ("--steps=1", "--fractions", 0, 1, "--memory.steps=6", "--memory.batch=10", "--memory.accumulate=2")
    train.main(argv("synthetic", tmp_path / "run", *flags))
    line = (tmp_path / "run/samples/final.txt").read_text()
    assert line.startswith("memory: ") and "rows/s of 16 pairs" in line


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (["--memory.bptt", "1"], "--memory.bptt from 2 to --memory.clips"),
        (["--memory.bptt", "6"], "--memory.bptt from 2 to --memory.clips"),
        (["--memory.clips", "1"], "--memory.clips must be at least 2"),
        (["--memory.tokens", "0"], "--memory.tokens lies between 1 and 1024"),
        (["--memory.batch", "8", "--memory.accumulate", "2"], "--memory.batch must be a multiple of --memory.clips"),
        (["--memory.accumulate", "0"], "batch and accumulate must be >= 1"),
        (["--memory.steps", "-1"], "steps and lr must be >= 0"),
    ],
)
def test_bad_input_is_one_line_and_leaves_no_run(tmp_path, flags, line):
    with pytest.raises(MlxworldError, match=line):
        train.main([*argv("synthetic", tmp_path / "run", "--memory.steps=2"), *flags])
    assert not (tmp_path / "run/train.json").exists()


def test_with_minutes_it_has_a_share_beside_all_other_phases():
    planned = settings("synthetic", minutes=5.0, memory=Streams(steps=1))
    planned.check()
    shares = {n: s.share for n, s in planned.planned().stages() if s.steps}
    assert shares.pop("memory") == 0.25 and sum(shares.values()) == pytest.approx(1)
