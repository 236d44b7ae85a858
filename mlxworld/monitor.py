"""What a long run shows: a progress bar with losses and time left, TensorBoard events, a line where no terminal is."""

import time
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from tensorboard.compat.proto.event_pb2 import Event  # pyright: ignore[reportAttributeAccessIssue]
from tensorboard.compat.proto.summary_pb2 import Summary  # pyright: ignore[reportAttributeAccessIssue]
from tensorboard.summary.writer.event_file_writer import EventFileWriter


class Monitor:
    """`with Monitor(folder) as m: m.stage("dynamics", 1000); m.update(step, {"loss": 0.1})`."""

    def __init__(self, folder: Path):
        self.console = Console(stderr=True)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        times = (TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(), TextColumn("{task.fields[note]}"))
        self._progress = Progress(*columns, *times, console=self.console)
        self._events = EventFileWriter(str(folder))
        self._stage, self._task, self._said = "", None, 0.0

    def __enter__(self):
        self._progress.start()
        return self

    def __exit__(self, *_):
        self._progress.stop()
        self._events.close()

    def say(self, line: str) -> None:
        """A line above the bar."""
        self._progress.console.print(line, highlight=False)

    def stage(self, name: str, steps: int) -> None:
        """A new bar."""
        self._stage, self._steps = name, steps
        self._task = self._progress.add_task(name, total=steps, note="")

    def update(self, step: int, values: dict[str, float], note: str = "") -> None:
        """`step` steps of this stage are done; values go to TensorBoard as STAGE/NAME."""
        assert self._task is not None
        text = " ".join(f"{name} {value:.4g}" for name, value in values.items())
        self._progress.update(self._task, completed=step, note=f"{note} {text}")
        rows = [Summary.Value(tag=f"{self._stage}/{name}", simple_value=value) for name, value in values.items()]
        self._events.add_event(Event(wall_time=time.time(), step=step, summary=Summary(value=rows)))
        if not self.console.is_terminal and (time.time() - self._said > 30 or step >= self._steps):
            self._said = time.time()
            self.say(f"{self._stage} {step}/{self._steps} {note} {text}")
