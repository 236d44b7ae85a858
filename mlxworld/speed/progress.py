"""A bar with the time left, drawn between what is timed and never during it."""

import time
from collections.abc import Iterable

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


def show(name: str, turns: Iterable[int]) -> Iterable[int]:
    """The turns, with a bar and the time left on a terminal's stderr; drawn between turns, never during one."""
    turns, console = list(turns), Console(stderr=True)
    if not console.is_terminal:
        yield from turns
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("left"))
    drawn = 0.0
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True, auto_refresh=False) as bar:
        task = bar.add_task(name, total=len(turns))
        for done, turn in enumerate(turns, 1):
            yield turn
            bar.update(task, completed=done)
            if time.monotonic() - drawn > 0.2:
                drawn = time.monotonic()
                bar.refresh()
