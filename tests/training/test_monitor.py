"""The monitor: clean lines where no terminal is, a bar where one is, events that TensorBoard reads."""

import errno
import io

import pytest
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.summary.writer.record_writer import RecordWriter

from mlxworld.errors import MlxworldError
from mlxworld.training import monitor
from mlxworld.training.monitor import Monitor


def scalars(folder) -> dict[str, list[tuple[int, float]]]:
    """{tag: [(step, value), ...]} as TensorBoard reads a folder of events."""
    read = EventAccumulator(str(folder))
    read.Reload()
    return {tag: [(e.step, round(e.value, 4)) for e in read.Scalars(tag)] for tag in read.Tags()["scalars"]}


def test_lines_without_a_terminal(tmp_path, capsys):
    with Monitor(tmp_path) as shown:
        shown.stage("tokenizer", 30)
        for step in (10, 20, 30):
            shown.update(step, {f"loss{i}": 1 / 3 for i in range(20)}, "8 frames")
        shown.say("a [sample] in a/b")
    losses = " ".join(f"loss{i} 0.3333" for i in range(20))
    first, last, said = capsys.readouterr().err.splitlines()
    assert first.startswith(f"tokenizer 10/30, 8 frames, {losses}, ") and first.endswith(" min left")
    assert (last, said) == (f"tokenizer 30/30, 8 frames, {losses}", "a [sample] in a/b")


def test_a_bar_with_losses_and_time_left_on_a_terminal(tmp_path, monkeypatch):
    screen = io.StringIO()
    monkeypatch.setattr(
        monitor, "Console", lambda **_: Console(file=screen, force_terminal=True, width=80, color_system=None)
    )
    with Monitor(tmp_path) as shown:
        shown.stage("dynamics", 30, done=10)
        shown.update(20, {"loss": 0.25, "flow": 0.125})
    last = screen.getvalue().split("dynamics")[-1]
    assert "20/30" in last and "left" in last and "loss 0.25 flow 0.125" in last


def test_events_stand_one_after_the_other_and_a_resumed_run_replaces_its_own(tmp_path):
    with Monitor(tmp_path) as shown:
        shown.stage("tokenizer", 2)
        shown.update(1, {"loss": 3.0, "lr": 0.5})
        shown.update(2, {"loss": 2.0, "lr": 0.25})
        shown.stage("dynamics", 9, first=2)
        for step in (1, 2, 3):
            shown.update(step, {"loss": 1.0})  # killed here, its last checkpoint is of step 1
    with Monitor(tmp_path) as shown:
        shown.resumed(3)
        shown.stage("dynamics", 9, done=1, first=2)
        shown.update(2, {"loss": 0.5})
    assert scalars(tmp_path) == {
        "tokenizer/loss": [(1, 3.0), (2, 2.0)],
        "tokenizer/lr": [(1, 0.5), (2, 0.25)],
        "dynamics/loss": [(3, 1.0), (4, 0.5)],
    }


def test_a_full_disk_is_one_line(tmp_path, monkeypatch):
    with Monitor(tmp_path) as shown:
        shown.stage("tokenizer", 2)

        def full(self):
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(RecordWriter, "flush", full)
        with pytest.raises(MlxworldError, match=r"cannot write .* events in .* No space left on device$"):
            shown.update(1, {"loss": 3.0})
