"""The ablation's script: its variants are what there is to leave out, and its table is what it measured."""

import json

import numpy as np
import pytest

from docs import ablation
from mlxworld import train
from mlxworld.errors import MlxworldError
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
