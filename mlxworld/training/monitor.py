"""What a long run shows: a bar with losses and time left, TensorBoard events, a page, a line where no terminal is.

On TensorBoard's axis the stages of a run stand one after the other; what a killed run wrote after its last checkpoint
is replaced when it goes on. Knows nothing of training.
"""

import contextlib
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text
from tensorboard.compat.proto import event_pb2, summary_pb2
from tensorboard.summary.writer.record_writer import RecordWriter

from ..errors import MlxworldError, one_line
from .page import Page

EVERY = 30.0  # seconds between two lines where no terminal is


class Monitor:
    """with Monitor(folder) as monitor: monitor.stage("dynamics", 1000); monitor.update(20, {"loss": 0.1})

    folder: of the TensorBoard events, None for none; page: is told all of it, too. Raises MlxworldError when they
    cannot be written.
    """

    def __init__(self, folder: Path | None, quiet: bool = False, page: Page | None = None):
        self.console = Console(stderr=True, quiet=quiet)
        self._bars = _Bars(console=self.console) if self.console.is_terminal else None
        self._stage, self._steps, self._first = "", 0, 0
        self._task, self._begun, self._said = None, (0.0, 0), 0.0
        self._folder, self._page, self._told = folder, page, False
        if folder is not None:
            name = f"events.out.tfevents.{time.time():.0f}.{socket.gethostname()}.{os.getpid()}"
            with _writing(folder):
                folder.mkdir(parents=True, exist_ok=True)
                self._events = RecordWriter((folder / name).open("ab"))
            self._write(file_version="brain.Event:2")

    def __enter__(self) -> "Monitor":
        if self._bars:
            self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, *_: object) -> None:
        if self._bars:
            self._bars.stop()
        if self._folder is not None:
            with contextlib.suppress(OSError):  # every event was flushed: an error was told then
                self._events.close()
        if self._page:
            self._page.end("done" if kind is None else one_line(f"stopped: {error or kind.__name__}"))

    def say(self, line: str) -> None:
        """A line, above the bar where there is one."""
        self.console.print(line, highlight=False, markup=False, soft_wrap=True)
        if self._page:
            self._page.say(line)

    def sample(self, path: Path) -> None:
        """What the model makes now can be seen in PATH.png, PATH.mp4 ..."""
        self.say(f"sample: {path}.*")
        if self._page:
            self._page.sample(path)

    def stage(self, name: str, steps: int, done: int = 0, first: int = 0) -> None:
        """What comes now: `steps` steps called `name`, of which `done` are done; `first` steps came before it."""
        self._stage, self._steps, self._first = name, steps, first
        self._begun = time.monotonic(), done
        if self._page:
            if not self._told:
                self.say(f"to watch it: {self._page.path}")
                self._told = True
            self._page.stage(name, steps, done, first)
        if self._bars:
            self._task = self._bars.add_task(name, total=steps, completed=done)
            self._bars.losses = ""

    def steps(self, steps: int) -> None:
        """The present stage has so many steps now."""
        self._steps = steps
        if self._page:
            self._page.steps(steps)
        if self._bars and self._task is not None:
            self._bars.update(self._task, total=steps)

    def resumed(self, step: int) -> None:
        """TensorBoard forgets the events after `step`, counted over all stages: they come again."""
        start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)  # pyright: ignore[reportAttributeAccessIssue]
        self._write(step=step + 1, session_log=start)
        if self._page:
            self._page.resumed(step)

    def update(self, step: int, values: dict[str, float], note: str = "") -> None:
        """`step` steps of this stage are done. Values are shown, and go to TensorBoard as STAGE/NAME."""
        text = " ".join(f"{name} {value:.4g}" for name, value in values.items())
        if self._bars and self._task is not None:
            self._bars.losses = "  ".join(filter(None, [note, text]))
            self._bars.update(self._task, completed=step)
        elif time.monotonic() - self._said > EVERY or step >= self._steps:
            self._said = time.monotonic()
            self.say(", ".join(filter(None, [f"{self._stage} {step}/{self._steps}", note, text, self._left(step)])))
        if self._page:
            self._page.update(step, values)
        if values:
            value = summary_pb2.Summary.Value  # pyright: ignore[reportAttributeAccessIssue]
            rows = [value(tag=f"{self._stage}/{name}", simple_value=x) for name, x in values.items()]
            summary = summary_pb2.Summary(value=rows)  # pyright: ignore[reportAttributeAccessIssue]
            self._write(step=self._first + step, summary=summary)

    def _left(self, step: int) -> str:
        begun, done = self._begun
        rate = (step - done) / max(time.monotonic() - begun, 1e-9)
        return f"{rate:.3g}/s, {(self._steps - step) / rate / 60:.1f} min left" if rate and step < self._steps else ""

    def _write(self, **event) -> None:
        if self._folder is None:
            return
        made = event_pb2.Event(wall_time=time.time(), **event)  # pyright: ignore[reportAttributeAccessIssue]
        with _writing(self._folder):
            self._events.write(made.SerializeToString())
            self._events.flush()


class _Bars(Progress):
    """A bar for each stage; under them, on a line of their own, the losses of the present one."""

    losses = ""

    def __init__(self, console: Console):
        times = (TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), *times)
        super().__init__(*columns, console=console)

    def get_renderables(self) -> Iterator[RenderableType]:
        yield self.make_tasks_table(self.tasks)
        if self.losses:
            yield Text(self.losses, style="dim")


@contextlib.contextmanager
def _writing(folder: Path):
    try:
        yield
    except OSError as error:
        raise MlxworldError(f"cannot write the TensorBoard events in {folder}: {error.strerror}") from error
