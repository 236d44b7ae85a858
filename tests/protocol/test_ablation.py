"""The ablation's script: its variants are what there is to leave out, and its table is what it measured."""

import json
import shlex
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tyro

from docs import ablation
from mlxworld import train
from mlxworld.errors import MlxworldError
from mlxworld.files import atomic
from mlxworld.models.objectives.uncertainty import Uncertainty
from mlxworld.models.openworld import losses, physics


def test_each_variant_is_a_term_or_flags_that_there_are():
    assert set(ablation.TERMS) <= {*losses.START, *physics.START}
    argv = ["--data", "x", "--out", "y"]
    parsed = {name: train.settings(train.parse([*argv, *flags])) for name, flags in ablation.FLAGS.items()}
    for name, settings in parsed.items():
        assert (settings != parsed["nothing"]) == (name != "nothing"), name


def test_a_term_that_is_left_out_has_no_say(backend):
    ops, engine = backend.ops, backend.engine
    from tests.models import small

    own = small.module(backend, "objectives.uncertainty").Uncertainty
    task = own({"a": -1.0, "b": 0.5})

    def value(name, a, b):
        weighed = ablation.without(backend, own.forward, name)
        return float(engine.numpy(weighed(task, {"a": ops.array(a), "b": ops.array(b)})))

    assert value("a", 1.0, 2.0) == pytest.approx(value("a", 9.0, 2.0)) == pytest.approx(2 * np.exp(-0.5) + 0.5)
    assert value("c", 1.0, 2.0) == pytest.approx(float(engine.numpy(task({"a": ops.array(1.0), "b": ops.array(2.0)}))))
    assert value("learned weights", 1.0, 2.0) == pytest.approx(3)
    assert Uncertainty.__name__ == own.__name__


def test_the_table_has_the_mean_and_spread_of_the_seeds_that_there_are(tmp_path):
    cfg = ablation.AblationConfig(tmp_path, seeds=3, variants=("nothing", "mel"))
    (tmp_path / "figures").mkdir()
    for seed, x in enumerate((1.0, 3.0)):
        (tmp_path / f"figures/nothing-{seed}.json").write_text(json.dumps({"dream_16": x, "auc": 0.9}))
    rows = [line for line in ablation.table(cfg).splitlines() if line.startswith("| ")]
    assert [row.count("|") for row in rows] == [len(ablation.FIGURES) + 2] * 3
    assert "2 ± 1" in rows[1] and "0.9 ± 0" in rows[1] and "±" not in rows[2]


def test_an_unknown_variant_is_one_line(tmp_path):
    with pytest.raises(MlxworldError, match="unknown variant 'sound': choose of nothing, "):
        ablation.ablate(ablation.AblationConfig(tmp_path, variants=("sound",)))


def told(argv: list[str]) -> tuple[str, str]:
    """Variant and seed of a training's command."""
    return argv[argv.index("--variants") + 1], argv[argv.index("--only") + 1]


@pytest.fixture
def no_data(monkeypatch):
    """Nothing is recorded or decoded."""
    monkeypatch.setattr(ablation.record, "main", lambda argv: None)
    monkeypatch.setattr(ablation, "open_frames", lambda folder, size: None)


def test_so_many_trainings_go_on_at_once_as_there_are_jobs(tmp_path, monkeypatch, no_data):
    together, ran = threading.Barrier(2, timeout=20), []

    def run(argv):
        together.wait()  # passes only where two are there
        ran.append(told(argv))
        figure = tmp_path / "figures" / f"{ran[-1][0]}-{ran[-1][1]}.json"
        atomic.write_text(figure, json.dumps({"auc": 0.5}))
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(ablation.subprocess, "run", run)
    cfg = ablation.AblationConfig(tmp_path, seeds=2, variants=("nothing", "mel"), jobs=2, docs=tmp_path / "a.md")
    ablation.ablate(cfg)
    assert sorted(ran) == [("mel", "0"), ("mel", "1"), ("nothing", "0"), ("nothing", "1")]
    assert (tmp_path / "a.md").read_text().count("0.5 ± 0") == 2
    ablation.ablate(cfg)
    assert len(ran) == 4, "what is there is not made again"


def test_after_one_has_failed_none_is_begun(tmp_path, monkeypatch, no_data):
    ran = []
    monkeypatch.setattr(ablation.subprocess, "run", lambda argv: ran.append(argv) or SimpleNamespace(returncode=1))
    with pytest.raises(MlxworldError, match="the training without nothing, seed 0, has failed"):
        ablation.ablate(ablation.AblationConfig(tmp_path, variants=("nothing", "mel"), docs=tmp_path / "a.md"))
    assert len(ran) == 1
    with pytest.raises(MlxworldError, match="--jobs must be at least 1"):
        ablation.ablate(ablation.AblationConfig(tmp_path, jobs=0))


def test_the_commands_of_the_page_are_understood():
    page = (Path(ablation.__file__).parent / "physics.md").read_text().replace("\\\n", " ")
    commands = [line.strip() for line in page.splitlines() if line.strip().startswith("python docs/ablation.py")]
    assert commands
    for command in commands:
        cfg = tyro.cli(ablation.AblationConfig, args=shlex.split(command)[2:])
        assert set(cfg.variants) <= set(ablation.VARIANTS) and ablation.size(cfg) == 128
