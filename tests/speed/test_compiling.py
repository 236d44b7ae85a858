"""What bench says before it compiles: a band that goes with the step's own operations, or that nothing is known."""

import contextlib
import io

import pytest
from rich.console import Console

import mlxworld
from mlxworld import World, bench
from mlxworld.speed import compiling, measure
from mlxworld.speed.parts import parts
from tests.models.small import SMALL, changed
from tests.play.small_world import small_world


def step(backend, cfg=SMALL):
    world = World.untrained(cfg, "mlx" if backend.__name__ == "mlxworld" else "torch")
    return parts(backend, world.model)["step"]


def test_a_band_of_seconds_goes_with_what_is_compiled(backend, monkeypatch):
    monkeypatch.setattr(compiling, "busy", lambda: 1.0)
    found = compiling.expected(backend, step(backend))
    deeper = compiling.expected(backend, step(backend, changed(dynamics={"depth": 6})))
    assert found and deeper and 0 < found[0] < found[1] and found[2] == "2 cores"
    if backend.__name__ == "torch_backend":
        assert deeper[0] > 1.2 * found[0]  # it looks at every operation
    else:
        assert deeper[0] < 1.2 * found[0]  # the same kernels again
    monkeypatch.setattr(compiling, "busy", lambda: 3.0)
    slow = compiling.expected(backend, step(backend))
    assert slow and (slow[0], slow[1]) == (found[0], pytest.approx(3 * found[1]))


def test_nothing_is_made_up_where_nothing_was_measured(monkeypatch):
    torch = mlxworld.on("torch")
    part = step(torch)
    monkeypatch.setattr(torch.engine, "device", lambda: "metal")
    assert compiling.expected(torch, part) is None
    assert "was never measured" in compiling.said("step", None)


def test_it_is_said_before_and_shown_while_it_lasts():
    for terminal in (False, True):
        told = io.StringIO()
        with compiling.told("compiling step: 1 to 2 s", Console(file=told, force_terminal=terminal, width=80)):
            assert "compiling step: 1 to 2 s" in told.getvalue()
        assert ("0:00:00" in told.getvalue()) == terminal


def test_bench_waits_aloud_for_each_thing_that_it_compiles(tmp_path, monkeypatch, capsys):
    folder, events = str(small_world(tmp_path)), []

    @contextlib.contextmanager
    def told(line, console=None):
        events.append(line.split(":")[0])
        yield
        events.append("done")

    first = measure._step
    monkeypatch.setattr(compiling, "told", told)
    monkeypatch.setattr(measure, "_step", lambda *args: events.append("step") or first(*args))
    argv = ["--world", folder, "--backend", "torch", "--frames", "1", "--batches", "2", "--json"]
    bench.main(argv)
    assert set(events) == {"step"}  # nothing is compiled here
    events.clear()
    waiting = compiling.waiting
    monkeypatch.setattr(compiling, "waiting", lambda package, parts, compiled: waiting(package, parts, True))
    bench.main(argv)
    assert [e for e in events if e.startswith("compiling")] == [
        *(f"compiling {name}" for name in ("step", "dynamics", "decoder", "encoder", "2 worlds"))
    ]
    assert events[:3] == ["compiling step", "step", "done"]
    capsys.readouterr()
