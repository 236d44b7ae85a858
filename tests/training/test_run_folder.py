"""A run's folder: outside the data that it learns from, and of one process at a time."""

import os

import pytest

from mlxworld import MlxworldError, train
from mlxworld.files import checkpoint
from mlxworld.training.run import Run
from mlxworld.training.worlds import lies_inside
from tests.training import processes, tiny


@pytest.fixture
def dots(tmp_path):
    return tiny.dots(tmp_path / "dots")


SPELLINGS = {
    "inside": ("dots", "dots/run"),
    "deep inside": ("dots", "dots/a/b/run"),
    "the folder itself": ("dots", "dots"),
    "hidden": ("dots", "dots/.run"),
    "by two dots": ("dots", "else/../dots/run"),
    "by a link to the data": ("dots", "link/run"),
    "by a link as the data": ("link", "dots/run"),
    "by a link to a run there": ("dots", "into"),
    "in a folder that is linked there": ("dots", "films/run"),
    "in a folder of a folder that is linked there": ("dots", "films/more/run"),
}


@pytest.mark.parametrize(("data", "out"), SPELLINGS.values(), ids=SPELLINGS)
def test_a_run_inside_its_data_is_refused(data, out, dots, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("else", "films/more", "dots/a", "dots/run-before"):
        os.makedirs(name)
    os.symlink("dots", "link")
    os.symlink("dots/run-before", "into")
    os.symlink("../films", "dots/films")
    os.symlink("..", "dots/films/loop")
    before = sorted(str(p) for p in tmp_path.rglob("*"))
    with pytest.raises(MlxworldError) as error:
        train.main(["--data", data, "--out", out, *tiny.argv(backend="torch")])
    line = f"--out {out} lies inside the dataset {data}: a run must not learn from its own dreams"
    assert str(error.value) == line
    after = sorted(str(p) for p in tmp_path.rglob("*"))
    assert [p for p in after if p not in before] in ([], [str(tmp_path / "dots/a/b")]), "only folders"


def test_a_run_beside_its_data_or_above_it_is_not_inside(dots, tmp_path):
    for out in ("dots-run", "run", "dots2/dots", "."):
        assert not lies_inside(tmp_path / out, dots)
    assert lies_inside(tmp_path / "x/y/run", tmp_path / "x") and not lies_inside(tmp_path / "x", tmp_path / "x/y")


def test_a_dataset_that_is_still_to_be_recorded_is_no_place_for_a_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MlxworldError, match="--out data/bounce/run lies inside the dataset data/bounce"):
        train.main(["--data", "bounce", "--out", "data/bounce/run", *tiny.argv(backend="torch")])
    assert not list(tmp_path.rglob("*.mp4"))


def waits(words: list[str], trains, goes_on) -> None:
    """Trains until its second report, then says so and waits."""
    report, reports = Run._report, []

    def waiting(self, *args):
        report(self, *args)
        reports.append(1)
        if len(reports) == 2:
            trains.set()
            assert goes_on.wait(200)

    Run._report = waiting  # type: ignore[method-assign]
    train.main(words)


@pytest.mark.parametrize("end", ["goes on", "is killed"])
def test_a_second_trainer_is_refused_and_the_first_goes_on(end, dots, tmp_path):
    out = tmp_path / "out"
    words = ["--data", str(dots), "--out", str(out), *tiny.argv(backend="torch", **{"save-minutes": 0})]
    trains, goes_on = processes.FORKED.Event(), processes.FORKED.Event()
    first = processes.FORKED.Process(target=waits, args=(words, trains, goes_on))
    first.start()
    try:
        assert trains.wait(120)
        before = {p: p.read_bytes() for p in out.rglob("*") if p.is_file()}
        done = processes.train("", [*words, "--resume"])
        assert done.returncode == 2 and done.stderr == f"mlxworld: {out} is being trained by process {first.pid}\n"
        with pytest.raises(MlxworldError, match="already holds a run"):
            train.main(words)
        assert before == {p: p.read_bytes() for p in out.rglob("*") if p.is_file()}
        if end == "is killed":
            first.kill()
        else:
            goes_on.set()
        first.join(120)
    finally:
        first.kill()
    assert first.exitcode == (-9 if end == "is killed" else 0)
    if end == "is killed":
        train.main([*words, "--resume"])
    state, _ = checkpoint.load(out / "checkpoint.safetensors")
    assert state["place"].tolist() == [3, 0] and not (out / ".lock").exists()


def test_episodes_that_are_too_short_are_counted_once_for_each_length(tmp_path, capsys):
    data = tiny.dots(tmp_path / "dots", lengths=(40, 3, 5, 5, 30))
    train.main(
        ["--data", str(data), "--out", str(tmp_path / "out"), *tiny.argv(backend="torch", **{"forcing.steps": 0})]
    )
    lines = [line for line in capsys.readouterr().err.splitlines() if "are shorter" in line]
    assert lines == [
        f"{data}: 1 of 5 episodes (3 frames) are shorter than a clip of 4 and are not used in one",
        f"{data}: 3 of 5 episodes (13 frames) are shorter than a clip of 6 and are not used in one",
    ]
