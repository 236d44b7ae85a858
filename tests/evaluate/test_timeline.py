"""What is told of time: figures against their definitions, of models that know all and nothing, and by the command."""

import json
from dataclasses import replace

import numpy as np
import pytest

from mlxworld.errors import MlxworldError
from mlxworld.evaluate import __main__ as verb
from mlxworld.evaluate import timeline
from tests.translators import CONFIG, SCENES, film, run_folder

FILMS, N = 40, 6


def clips():
    """Latents of which each holds when it is, its scene, and who it is."""
    r = np.random.default_rng(0)
    time = np.cumsum(10 ** r.uniform(0, 2.2, (FILMS, N)), axis=1)
    scene = np.cumsum(r.random((FILMS, N)) < 0.3, axis=1)
    who = 1e4 * r.normal(size=(FILMS, N, 16))
    z = np.concatenate([time[..., None], scene[..., None] + 100.0 * np.arange(FILMS)[:, None, None], who], axis=2)
    return z, time, scene


def knowing(z):
    """Reads all that a latent holds; the next clip's is that of the row's next one."""
    a, b = np.triu_indices(N, 1)
    apart = z[:, b, 0] - z[:, a, 0]
    distance = np.eye(4)[timeline.distance_class(apart)]
    following = np.concatenate([z[:, 1:], z[:, :1]], axis=1)
    return {"order": apart, "distance": distance, "boundary": np.abs(np.diff(z[..., 1])) - 0.5, "next": following}


def test_whoever_knows_all_is_right_and_shuffled_clips_tell_nothing():
    z, time, scene = clips()
    table = timeline.report(knowing, z, time, scene)
    assert all(row["right"] == 1 for row in table.values()), table
    assert abs(table["order of two clips"]["shuffled"] - 0.5) < 0.15
    assert table["distance of two clips"]["shuffled"] < 0.5 and table["scene boundary"]["shuffled"] < 0.6
    a, b = np.triu_indices(N, 1)
    counts = np.unique(np.digitize(time[:, b] - time[:, a], [10, 60, 300]), return_counts=True)[1]
    assert table["distance of two clips"]["usual"] == pytest.approx(counts.max() / counts.sum())
    same = (np.diff(scene, axis=1) == 0).mean()
    assert table["scene boundary"]["usual"] == pytest.approx(max(same, 1 - same))
    assert table["next clip, nearest"]["usual"] == pytest.approx(1 / (FILMS * (N - 1)))


def test_latents_that_are_all_one_are_not_the_nearest():
    z, time, scene = clips()
    table = timeline.report(knowing, np.ones_like(z), time, scene)
    assert table["next clip, nearest"]["right"] == 0 and table["order of two clips"]["right"] == 0


def test_classes_are_those_that_a_model_learns():
    assert timeline.distance_class(np.array([0, 9.9, 10, 59, 60, 300, 300.1, -11])).tolist() == [0, 0, 1, 1, 2, 2, 3, 1]
    assert len(timeline.DISTANCES) == 4


def asked(run, mode, *more):
    verb.main(["--world", str(run), "--model-mode", mode, "--backend", "torch", *map(str, more)])


def test_the_command_tells_of_days_and_of_films(tmp_path, capsys):
    run = run_folder(tmp_path / "run", steps=5, config=replace(SCENES, timeline=True))
    asked(run, "temporal", "--items", 3, "--clips", 4, "--out", tmp_path)
    made = json.loads((tmp_path / "figures.json").read_text())
    assert set(made["temporal"]) == {
        *("order of two clips", "distance of two clips", "next clip, nearest", "scene boundary")
    }
    out = capsys.readouterr().out
    assert "| temporal | right | shuffled | usual |" in out and "on 3 of held-out scenes" in out
    asked(run, "all", "--items", 2, "--clips", 2)
    assert "| order of two clips |" in capsys.readouterr().out
    other = run_folder(tmp_path / "other", config=replace(CONFIG, timeline=True))
    film(tmp_path / "films/a.mp4", 16, "a grey room that grows bright")
    asked(other, "temporal", "--items", 2, "--clips", 3, "--data", tmp_path / "films")
    assert "| scene boundary |" in capsys.readouterr().out
    with pytest.raises(MlxworldError, match="no film of 5 clips: give fewer --clips"):
        asked(other, "temporal", "--clips", 5, "--data", tmp_path / "films")
