"""The script that says what each remedy does: its flags are such as there are, its table is what was measured."""

import json

import pytest

from docs import remedies
from mlxworld import train
from mlxworld.errors import MlxworldError
from mlxworld.evaluate.free import pong as free
from mlxworld.evaluate.worlds import pong as clips
from mlxworld.recipes.openworld import Recipe, Settings
from mlxworld.training.stage import Batch
from tests.training import tiny


def test_each_remedy_is_flags_that_there_are():
    argv = ["--data", "x", "--out", "y"]
    numbers = {"half": "5", "twice": "20"}
    parsed = {}
    for name, flags in remedies.REMEDIES.items():
        cfg = train.parse([*argv, *(word.format(**numbers) for word in flags)])
        cfg.check()
        parsed[name] = train.settings(cfg)
    for name, settings in parsed.items():
        assert (settings != parsed["nothing"]) == (name != "nothing"), name
    assert len({json.dumps(s, default=str) for s in parsed.values()}) == len(parsed)


def test_the_figures_are_such_as_readers_give():
    from pathlib import Path

    source = "".join(Path(module.__file__ or "").read_text() for module in (clips, free))
    assert all(f'"{key}"' in source for key in remedies.FIGURES if key != "detail_ratio")


def test_the_table_has_a_row_for_each_that_was_measured_under_real_games(tmp_path):
    cfg = remedies.RemediesConfig(tmp_path, remedies=("nothing", "rare moments", "learned queries"))
    (tmp_path / "figures").mkdir()
    for name, x in (("nothing", 0.5), ("learned-queries", 0.75)):
        figures = {"paddle_near": {"dream": x, "real": 1.0}, "game_ends": {"dream": float("nan"), "real": 1.0}}
        (tmp_path / f"figures/{name}.json").write_text(json.dumps(figures))
    rows = [line for line in remedies.table(cfg).splitlines() if line.startswith("| ")]
    assert [row.split("|")[1].strip() for row in rows[1:]] == ["*real games*", "nothing", "learned queries"]
    assert "1.000" in rows[1] and "0.500" in rows[2] and "0.750" in rows[3] and "nan" not in "".join(rows)
    assert {row.count("|") for row in rows} == {len(remedies.FIGURES) + 2}


def test_what_cannot_be_is_one_line(tmp_path):
    with pytest.raises(MlxworldError, match="unknown remedy 'prayer': choose of nothing"):
        remedies.main(remedies.RemediesConfig(tmp_path, remedies=("prayer",)))
    for argv in (["--own-frames", "-1"], ["--critic", "-1"]):
        cfg = train.parse(["--data", "x", "--out", "y", *tiny.argv(), *argv])
        assert isinstance(cfg, Settings)
        with pytest.raises(MlxworldError, match="must not be negative"):
            Recipe(cfg)


@pytest.mark.parametrize(("own", "seen"), [(0, 3), (1, 5), (4, 2), (99, 1)])
def test_self_forcing_dreams_the_frames_that_it_is_told(own, seen, tmp_path):
    """The rest of the dream is what was seen."""
    from types import SimpleNamespace

    import numpy as np

    import mlxworld

    torch = mlxworld.on("torch")
    frames = tiny.dots(tmp_path / "dots")
    cfg = train.parse(["--data", str(frames), "--out", "y", *tiny.argv(**{"own-frames": own})])
    assert isinstance(cfg, Settings)
    recipe = Recipe(cfg)
    model = mlxworld.families.model(torch, "openworld")(recipe.config).init(torch.random.key(0))
    run = SimpleNamespace(package=torch, engine=torch.engine, model=model)
    recipe._run, recipe._observe, recipe._step = run, model.dynamics.observe, model.dynamics.step  # type: ignore
    rng = np.random.default_rng(0)
    z = rng.normal(size=(2, 6, *recipe.config.latent_shape)).astype(np.float32)
    batch: Batch = {"z": z, "actions": rng.integers(0, 3, (2, 6)).astype(np.int32)}
    dream = torch.engine.numpy(recipe._dreamt(batch, 0)["dream"])
    same = [np.array_equal(dream[:, t], z[:, t]) for t in range(6)]
    assert same == [t < seen for t in range(6)]
