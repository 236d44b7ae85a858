"""A budget of time: shared among stages by what their steps take, kept when steps take longer, ended with the learning
rate decayed. By a clock that the work moves, so that no test waits for time."""

import json
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import mlxworld
from mlxworld import MlxworldError, World, train
from mlxworld.configs.optim import OptimConfig
from mlxworld.files import checkpoint
from mlxworld.recipes.openworld import Recipe
from mlxworld.training import budget as budgets
from mlxworld.training import run as runs
from mlxworld.training.budget import TIMED, Budget, Pace, interval
from mlxworld.training.run import Run
from mlxworld.training.schedule import cosine, warmup
from mlxworld.training.stage import Stage, phases
from mlxworld.training.turn import Turn
from tests.training import tiny


class Clock:
    """Seconds that pass when told to."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        self.now += seconds


def stage(parts: int = 1, share: float = 1.0, name: str = "dynamics") -> Stage:
    return Stage(name, 1000, (), tuple(lambda start: iter(()) for _ in range(parts)), share=share)  # type: ignore[arg-type]


def schedule_end(steps: int) -> float:
    return cosine(steps - 1, steps, warmup(steps))


def worked(budget, clock, pace, steps, slower=lambda step: 1.0, first=0):
    """Takes the steps of a planned stage as a run does; returns their learning rates."""
    rates, step, every = [], first, interval(steps - first, 20)
    while step < steps:
        part = [step < end for _, end in phases(len(pace.seconds), steps)].index(True)
        rates.append(cosine(step, steps, warmup(steps)))
        clock.wait(pace.seconds[part] * slower(step))
        step += 1
        if step % every == 0 and step < steps:
            steps = budget.correct(step, steps)
            every = interval(steps - step, 20)
    return rates


def test_a_pace_counts_the_steps_that_fit():
    pace = Pace((1.0, 2.0, 4.0), 0.0)
    assert pace.between(0, 30) == 70 and pace.between(5, 30) == 65 and pace.between(25, 30) == 20
    assert pace.steps(0, 70) == 30 and pace.steps(0, 69.9) == 29 and pace.steps(0, 70, slower=2) == 15
    assert pace.steps(25, 20) == 30 and pace.steps(25, 0) == 25 == pace.steps(25, -1)
    for first in (0, 3, 17):
        for seconds in (0.5, 7, 100, 12345):
            n = pace.steps(first, seconds)
            assert n == first or pace.between(first, n) <= seconds
            assert pace.between(first, n + 1) > seconds


def test_stages_share_the_time_that_is_left():
    """By their shares; two hundredths are kept for what comes after the last step."""
    clock = Clock()
    budget = Budget(10, 0.0, clock)
    first, second = stage(share=0.35, name="tokenizer"), stage(3, share=0.65)
    steps = budget.begin(first, [second], Pace((0.1,), 0.0))
    assert steps == pytest.approx(600 * 0.98 * 0.35 / 0.1, abs=1)
    clock.wait(0.1 * steps)
    pace = Pace((0.1, 0.2, 0.3), 0.0)
    more = budget.begin(second, [], pace)
    assert pace.between(0, more) == pytest.approx(600 * 0.98 * 0.65, abs=1) and more == pytest.approx(382.2 / 0.2, 0.01)
    clock.wait(pace.between(0, more))
    assert 0 <= budget.left() < 0.5


def test_what_compiling_takes_is_time_too():
    """Of this stage it has passed already; the parts of later ones are thought to take as long."""
    clock = Clock()
    budget = Budget(10, 0.0, clock)
    clock.wait(60)  # compiled and timed
    steps = budget.begin(stage(share=1.0), [stage(3, share=1.0)], Pace((0.1,), 60.0))
    assert steps == pytest.approx((588 - 60 - 3 * 60) / 2 / 0.1, abs=1)
    clock.wait(0.1 * steps + 180)
    assert budget.begin(stage(3), [], Pace((0.1,) * 3, 180.0)) == pytest.approx(174 / 0.1, abs=1)


def test_a_stage_that_is_off_is_asked_for_by_any_number_of_steps(tmp_path):
    """Which is then planned as all others are."""
    argv = ["--data", "pong", "--out", str(tmp_path / "out"), "--minutes", "5"]
    train.parse([*argv, "--forcing.steps", "1", "--sharpen.steps", "1"]).check()
    with pytest.raises(MlxworldError, match=r"leave out --dynamics\.steps"):
        train.parse([*argv, "--dynamics.steps", "1"]).check()


@pytest.mark.parametrize(
    ("name", "slower"),
    {
        "as measured": lambda step: 1.0,
        "twice as slow": lambda step: 2.0,
        "ten times as slow": lambda step: 10.0,
        "twice as fast": lambda step: 0.5,
        "slow from the middle on": lambda step: 1.0 if step < 400 else 5.0,
        "fast from the middle on": lambda step: 3.0 if step < 200 else 1.0,
        "stopped once": lambda step: 1.0 if step != 300 else 250.0,
        "stopped for longer than there is": lambda step: 1.0 if step != 300 else 10_000.0,
        "uneven": lambda step: 1.0 + (step * 7919 % 13) / 13,
    }.items(),
)
@pytest.mark.parametrize("parts", [1, 3])
def test_it_ends_in_time_with_the_learning_rate_decayed(name, slower, parts):
    clock = Clock()
    budget, pace = Budget(15, 0.0, clock), Pace((1.0, 1.5, 2.0)[:parts], 0.0)
    steps = budget.begin(stage(parts), [], pace)
    rates = worked(budget, clock, pace, steps, slower)
    assert rates[-1] == pytest.approx(schedule_end(len(rates)), rel=1e-9), "the schedule's end, of so many steps"
    assert rates[-1] < 0.03 and max(rates) > 0.9
    over = clock() - 1000 - 900
    if name.startswith("stopped for longer"):
        assert len(rates) <= 300 + 1 + 2 * (steps // 50), "it ends at once"
    else:
        assert -45 < over <= 0, name
    if name == "as measured":
        assert len(rates) == steps
    if "slow" in name:
        assert len(rates) < steps
    if name == "twice as fast":
        assert len(rates) > 1.7 * steps


def test_a_stage_that_is_slower_leaves_the_next_its_share():
    clock = Clock()
    budget, pace = Budget(10, 0.0, clock), Pace((0.5,), 0.0)
    steps = budget.begin(stage(), [stage()], pace)
    worked(budget, clock, pace, steps, lambda _: 3.0)
    assert budget.left() == pytest.approx(294, abs=10)


def test_what_is_resumed_has_the_time_that_is_left():
    clock = Clock()
    budget, pace = Budget(10, 240.0, clock), Pace((0.5, 1.0), 0.0)
    assert budget.left() == pytest.approx(360 - 12)
    steps = budget.begin(stage(2), [], pace, done=100)
    assert pace.between(100, steps) <= 348 < pace.between(100, steps + 1)
    rates = worked(budget, clock, pace, steps, first=100)
    assert 100 + len(rates) == steps and rates[-1] == schedule_end(steps)
    assert Budget(10, 599.0, clock).begin(stage(3), [], Pace((0.5,) * 3, 0.0), done=77) == 78, "one step to end with"


@pytest.mark.parametrize(("minutes", "left"), [(0.1, "2.9"), (0.001, "0.029")])
def test_too_few_minutes_are_one_line(minutes, left):
    budget = Budget(minutes, 0.0, Clock())
    with pytest.raises(MlxworldError) as error:
        budget.begin(stage(3, name="tokenizer"), [stage()], Pace((2.0, 2.0, 2.5), 0.0))
    line = f"--minutes {minutes:g} are too few: 3 steps of tokenizer take 6.5 s, and {left} s are left"
    assert str(error.value) == f"{line}; a smaller --tokenizer.batch is quicker"


def test_steps_are_timed_and_nothing_is_moved_by_it(backend):
    """The pace is that of each part, without its first step; the trainer is then what it was, bit for bit."""
    clock = Clock()
    net = backend.nn.Linear(2, 2)

    def loss(model, batch, key):
        return backend.ops.square(model(batch["x"])).mean(), {}

    turn = Turn("linear", loss, OptimConfig(name="adamw"))
    trainer = backend.engine.Trainer(net, (turn,))
    before, plain, closed = trainer.state(), trainer.step, []

    def step(batch, *args):
        clock.wait(100.0 if not trainer.steps % (1 + TIMED) else float(batch["x"].shape[1]))
        return plain(batch, *args)

    trainer.step = step
    sources = tuple(lambda start, frames=frames: Same(frames, closed) for frames in (4, 8))
    timed = Stage("dynamics", 10, (turn,), sources)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(budgets, "time", SimpleNamespace(monotonic=clock))
        pace = budgets.measure(backend.engine, trainer, timed, seed=3)
    assert pace.seconds == (4.0, 8.0) and pace.measuring == 2 * 100 + TIMED * 12 and closed == [4, 8]
    after = trainer.state()
    assert before.keys() == after.keys() and all(np.array_equal(x, after[n]) for n, x in before.items())


class Same:
    """The same batch without end."""

    def __init__(self, frames: int, closed: list[int]):
        self.frames, self.closed = frames, closed

    def __next__(self) -> dict[str, np.ndarray]:
        return {"x": np.ones((2, self.frames, 2), np.float32)}

    def close(self) -> None:
        self.closed.append(self.frames)


@pytest.fixture(scope="module")
def dots(tmp_path_factory):
    return tiny.dots(tmp_path_factory.mktemp("data") / "dots")


def argv(data, out, minutes, **changed) -> list[str]:
    """A tiny training of two stages and three parts in so many minutes."""
    settings = {name: x for name, x in (tiny.MODEL | tiny.STAGES).items() if not name.endswith(".steps")}
    settings |= {"data": data, "out": out, "minutes": minutes, "backend": "torch", "log-steps": 20} | changed
    return [word for name, x in settings.items() for word in (f"--{name}", *map(str, np.atleast_1d(x)))]


class Watched:
    """A training by a clock that its steps move, by the frames of their clips, and what comes between."""

    def __init__(self, patch: pytest.MonkeyPatch):
        self.clock, self.steps, self.rates, self.said = Clock(), 0, [], []
        self.seconds = {4: 0.4, 6: 0.8}
        fake, engine = SimpleNamespace(monotonic=self.clock), mlxworld.on("torch").engine
        for module in (budgets, runs, train):
            patch.setattr(module, "time", fake)
        real = engine.Trainer.step

        def step(trainer, batch, seed, rate):
            frames = next(iter(batch.values())).shape[1]
            compiled = trainer.__dict__.setdefault("compiled for", set())
            self.clock.wait(self.seconds[frames] if frames in compiled else 2.0)
            compiled.add(frames)
            self.rates.append(rate)
            return real(trainer, batch, seed, rate)

        patch.setattr(engine.Trainer, "step", step)
        patch.setattr(runs.Monitor, "say", lambda _, line: self.said.append(line))
        for where, name, seconds in ((Run, "_sample", 1.5), (Run, "save", 0.5), (Recipe, "_encode", 3.0)):
            patch.setattr(where, name, self.slow(getattr(where, name), seconds))

    def slow(self, method, seconds):
        def slower(*args):
            self.clock.wait(seconds)
            return method(*args)

        return slower


@pytest.fixture
def watched(monkeypatch):
    return Watched(monkeypatch)


def card(out) -> dict[str, Any]:
    return json.loads((out / "config.json").read_text())["card"]


def test_a_run_plans_its_stages_and_ends_in_time(dots, tmp_path, watched):
    begun = watched.clock()
    train.main(argv(dots, tmp_path / "out", 1))
    assert 55 < watched.clock() - begun <= 60.01
    steps = card(tmp_path / "out")["steps"]
    assert steps["tokenizer"] > 20 and steps["dynamics"] > 20 and steps["forcing"] == 0
    plans = [line for line in watched.said if "compiled and timed" in line]
    assert [line.split(",")[0] for line in plans] == [
        f"tokenizer: {steps['tokenizer']} steps of 400 ms",
        f"dynamics: {steps['dynamics']} steps of 400",
    ]
    assert "of 60 s; compiled and timed in 3 s" in plans[0] and "s are left for dynamics" in plans[0]
    assert "of 400, 800 ms, " in plans[1] and plans[1].endswith("; compiled and timed in 8 s, 0 s are left for the end")
    tokenizer, dynamics = watched.rates[1 + TIMED :], watched.rates[-steps["dynamics"] :]
    assert tokenizer[steps["tokenizer"] - 1] == schedule_end(steps["tokenizer"])
    assert dynamics[-1] == schedule_end(steps["dynamics"]) < 0.025
    assert len(watched.rates) == steps["tokenizer"] + steps["dynamics"] + 3 * (1 + TIMED)
    World.load(tmp_path / "out", "torch").reset()


def test_a_run_whose_steps_turn_out_slower_takes_fewer(dots, tmp_path, watched):
    begun, report = watched.clock(), Run._report

    def slower(self, name, step, *args):
        watched.seconds = {4: 1.2, 6: 2.4}
        report(self, name, step, *args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Run, "_report", slower)
        train.main(argv(dots, tmp_path / "out", 1))
    assert watched.clock() - begun <= 60 + 2.4, "at most a step too late"
    steps = card(tmp_path / "out")["steps"]
    planned = int(watched.said[0].split()[1])
    assert 3 < steps["tokenizer"] < 0.6 * planned, (steps, planned)
    assert watched.rates[-1] == schedule_end(steps["dynamics"])


def test_the_clock_is_looked_at_more_often_towards_the_end():
    assert [interval(n, 20) for n in (100_000, 1000, 500, 99, 10, 0)] == [20, 20, 10, 1, 1, 1]
    run: Any = object.__new__(Run)
    told: list[int] = []
    run.cfg, run.monitor, run._steps, run._log = SimpleNamespace(log_steps=20), SimpleNamespace(), {"dynamics": 900}, 18
    run.monitor.steps, run.engine = told.append, mlxworld.on("torch").engine
    run._budget = SimpleNamespace(correct=lambda step, steps: steps - 300)
    run._correct("dynamics", 100)
    assert (run._steps, told, run._log) == ({"dynamics": 600}, [600], 10)


class Killed(BaseException):
    pass


@pytest.mark.parametrize("minutes", [1, 2])
def test_a_run_that_was_killed_has_the_time_that_was_left(dots, tmp_path, watched, minutes):
    """Counted to its last checkpoint. With more minutes it has these."""
    words, save, saves = argv(dots, tmp_path / "out", 1, **{"save-minutes": 0.05}), Run.save, []

    def killed(self, index, step):
        save(self, index, step)
        saves.append((index, step))
        if index == 1 and step > 3:
            raise Killed

    begun = watched.clock()
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Run, "save", killed)
        train.main(words)
    first = watched.clock() - begun
    watched.clock.wait(10_000)
    begun = watched.clock()
    watched.said.clear()
    train.main([*words, "--resume", "--minutes", str(minutes)])
    assert 60 * minutes - 5 < first + watched.clock() - begun <= 60.01 * minutes
    steps = card(tmp_path / "out")["steps"]["dynamics"]
    assert watched.said[0] == f"goes on after step {saves[-1][1]} of dynamics" and steps > saves[-1][1]
    assert watched.rates[-1] == schedule_end(steps)


def test_too_short_a_budget_is_one_line_and_leaves_no_run(dots, tmp_path, watched):
    out = tmp_path / "out"
    with pytest.raises(MlxworldError, match=r"^--minutes 0.01 are too few: 1 steps of tokenizer take 0.4 s, and 0 s"):
        train.main(argv(dots, out, 0.01))
    assert not (out / "train.json").exists()
    train.main(argv(dots, out, 1))  # the same folder will do
    assert (out / "checkpoint.safetensors").exists()


def test_what_is_trained_before_the_time_is_up_is_kept(dots, tmp_path, watched):
    """Where the latents take longer than all that is left, the run says how to go on."""
    out, encode = tmp_path / "out", Recipe._encode
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Recipe, "_encode", watched.slow(encode, 100.0))
        with pytest.raises(MlxworldError, match=r"are too few: 2 steps of dynamics .*; go on with --resume and more"):
            train.main(argv(dots, out, 1))
    train.main([*argv(dots, out, 4), "--resume"])
    state, _ = checkpoint.load(out / "checkpoint.safetensors")
    assert state["place"].tolist() == [3, 0] and card(out)["steps"]["dynamics"] > 10


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        ({"minutes": 0}, "--minutes must lie between 0 and a million"),
        ({"minutes": -3}, "--minutes must lie between 0 and a million"),
        ({"minutes": "nan"}, "--minutes must lie between 0 and a million"),
        ({"minutes": "inf"}, "--minutes must lie between 0 and a million"),
        ({"minutes": 1, "tokenizer.share": 0}, "--tokenizer.share must lie between 0 and a million"),
        ({"minutes": 1, "dynamics.share": "inf"}, "--dynamics.share must lie between 0 and a million"),
    ],
)
def test_budgets_that_cannot_be_are_one_line(dots, tmp_path, changed, line):
    with pytest.raises(MlxworldError) as error:
        train.main(argv(dots, tmp_path / "out", **changed))
    assert line in str(error.value) and not (tmp_path / "out").exists()


def test_a_run_by_steps_does_not_become_one_by_minutes(dots, tmp_path):
    out = tmp_path / "out"
    words = ["--data", str(dots), "--out", str(out), *tiny.argv(backend="torch")]
    train.main([*words, "--dynamics.steps", "0", "--forcing.steps", "0"])
    with pytest.raises(MlxworldError, match=r"resume with the same: .*--minutes was None, not 1"):
        train.main([*argv(dots, out, 1), "--resume"])


@pytest.mark.parametrize(("minutes", "ends"), [(0.3, 0), (0.0001, 2)])
def test_the_command_by_a_real_clock(dots, tmp_path, minutes, ends):
    words = argv(dots, tmp_path / "out", minutes)
    done = subprocess.run(
        [sys.executable, "-m", "mlxworld", "train", *words], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == ends, done.stderr[-2000:]
    if ends:
        assert done.stderr.startswith("mlxworld: --minutes 0.0001 are too few: ") and done.stderr.count("\n") == 1
    else:
        assert "tokenizer: " in done.stderr and " s are left for dynamics\n" in done.stderr
        assert min(card(tmp_path / "out")["steps"][name] for name in ("tokenizer", "dynamics")) >= 1
