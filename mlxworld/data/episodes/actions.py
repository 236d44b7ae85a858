"""NAME.actions.csv: one row for each frame of a film; the action is the one that led to the frame."""

import csv
import io
from pathlib import Path

import numpy as np

from ...errors import MlxworldError
from ...files import atomic
from ...files.reading import listed, shown


def actions_file(film: Path) -> Path:
    """Where a film's actions are."""
    return film.with_name(f"{film.stem}.actions.csv")


def write_actions(film: Path, actions: list[str]) -> None:
    """Write the actions of a film, whole or not at all."""
    rows = io.StringIO(newline="")
    csv.writer(rows, lineterminator="\n").writerows([("step", "action"), *enumerate(actions)])
    atomic.write(actions_file(film), rows.getvalue().encode())


def read_names(path: Path) -> list[str]:
    """Action names frame by frame, in the order of the column "step" where there is one.

    Raises MlxworldError for what is no csv with a column "action", for names that are empty or not printable, and for
    steps that are not 0, 1, 2 ... each once.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            table = csv.DictReader(file)
            columns = [(name or "").strip() for name in table.fieldnames or ()]
            table.fieldnames = columns
            rows = list(table)
    except (OSError, ValueError, csv.Error) as error:
        raise MlxworldError(f"{path}: not a readable csv file ({error})") from error
    if columns.count("action") != 1 or columns.count("step") > 1:
        raise MlxworldError(f'{path}: needs one column "action", and at most one "step"')
    names = [(row["action"] or "").strip() for row in rows]
    for number, name in enumerate(names, 1):
        if not name or not name.isprintable():
            raise MlxworldError(f"{path}: row {number}: {shown(name)} is no name of an action")
    return _ordered(path, names, [row["step"] or "" for row in rows]) if "step" in columns else names


def _ordered(path: Path, names: list[str], steps: list[str]) -> list[str]:
    """The names by their steps."""
    numbers = [int(step) if step.strip().isdecimal() and len(step) < 20 else -1 for step in steps]
    for number, step in zip(numbers, steps, strict=True):
        if number < 0:
            raise MlxworldError(f"{path}: {shown(step)} is no number of a step")
    order = sorted(range(len(names)), key=numbers.__getitem__)
    for expected, row in enumerate(order):
        if numbers[row] != expected:
            what = "is there twice" if numbers[row] < expected else f"is missing, the next is {numbers[row]}"
            raise MlxworldError(f"{path}: step {min(expected, numbers[row])} {what}")
    return [names[row] for row in order]


def read_actions(film: Path, actions: tuple[str, ...], numbers: np.ndarray) -> np.ndarray:
    """Actions (T,) int32 of a film of which step t shows the frame `numbers[t]`.

    Without an actions file they are all noop, unless the dataset has more actions: then the film is of no use.
    """
    path = actions_file(film)
    if not path.exists():
        if len(actions) > 1:
            raise MlxworldError(f"{film}: has no {path.name} beside it, and the dataset has actions")
        return np.zeros(len(numbers), np.int32)
    names = read_names(path)
    unknown = sorted(set(names) - set(actions))
    if unknown:
        raise MlxworldError(f"{path}: unknown action {shown(unknown[0])}; the dataset has {listed(actions, 20)}")
    stride = max(1, *np.diff(numbers)) if len(numbers) > 1 else 1
    if not 0 < len(names) - numbers[-1] <= stride:
        raise MlxworldError(f"{path}: {len(names)} rows, but its film has {numbers[-1] + 1} frames")
    return np.array([actions.index(name) for name in names], np.int32)[numbers]
