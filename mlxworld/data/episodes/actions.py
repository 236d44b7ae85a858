"""NAME.actions.csv: one row for each frame of a film; the action is the one that led to the frame."""

import csv
import io
import os
from pathlib import Path

import numpy as np

from ...configs.actions import ActionSpace
from ...errors import MlxworldError
from ...files import atomic
from ...files.reading import listed, open_regular, shown

_MOST_BYTES = 256 << 20  # of an actions file: some days of play


def actions_file(film: Path) -> Path:
    """Where a film's actions are."""
    return film.with_name(f"{film.stem}.actions.csv")


def write_actions(film: Path, space: ActionSpace, actions: list[np.ndarray]) -> None:
    """Write the actions of a film, whole or not at all: their names, and the numbers of buttons and axes."""
    numbers = [[f"{x:.9g}" for x in np.atleast_1d(action)] if space.shape else [] for action in actions]
    named = [(t, space.name(action), *row) for t, (action, row) in enumerate(zip(actions, numbers, strict=True))]
    _write(film, [("step", "action", *space.buttons, *space.axes), *named])


def write_names(film: Path, names: list[str]) -> None:
    """Write the names of a film's actions, whole or not at all."""
    _write(film, [("step", "action"), *enumerate(names)])


def _write(film: Path, rows: list[tuple]) -> None:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    atomic.write(actions_file(film), text.getvalue().encode())


def read_names(path: Path) -> list[str]:
    """Action names frame by frame, in the order of the column "step" where there is one.

    Raises MlxworldError for what is no csv with a column "action", for rows of too many cells, for names that are empty
    or not printable, and for steps that are not 0, 1, 2 ... each once.
    """
    columns, *rows = table(path)
    if columns.count("action") != 1 or columns.count("step") > 1:
        raise MlxworldError(f'{path}: needs one column "action", and at most one "step"')
    if "step" in columns:
        rows = [row for row in rows if row]  # an empty line is no row: the steps tell whether one is missing
    while rows and not rows[-1]:
        rows.pop()
    action, names = columns.index("action"), []
    for number, row in enumerate(rows, 1):
        name = row[action].strip() if len(row) > action else ""
        if not name or not name.isprintable():
            raise MlxworldError(f"{path}: row {number}: {shown(name)} is no name of an action")
        if any(cell.strip() for cell in row[len(columns) :]):
            raise MlxworldError(
                f"{path}: row {number} has more cells than the head; a name with a comma is put in quotes"
            )
        names.append(name)
    if "step" not in columns:
        return names
    step = columns.index("step")
    return _ordered(path, names, [row[step] if len(row) > step else "" for row in rows])


def table(path: Path) -> list[list[str]]:
    """The cells of a csv file; those of its first row stripped."""
    with os.fdopen(open_regular(path), encoding="utf-8-sig", newline="") as file:
        if os.fstat(file.fileno()).st_size > _MOST_BYTES:
            raise MlxworldError(f"{path} is too large: at most {_MOST_BYTES:,} bytes of actions are read")
        try:
            head, *rows = list(csv.reader(file)) or [[]]
        except (OSError, ValueError, csv.Error) as error:
            raise MlxworldError(f"{path}: not a readable csv file ({error})") from error
    return [[cell.strip() for cell in head], *rows]


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


def read_actions(film: Path, space: ActionSpace, numbers: np.ndarray) -> np.ndarray:
    """Actions (T,) int32 of a film of which step t shows the frame `numbers[t]`; rows (T, A) float32 of buttons and
    axes.

    Without an actions file they are all noop, unless the dataset has more actions: then the film is of no use.
    """
    path, actions = actions_file(film), space.names
    if not path.exists():
        if len(actions) > 1:
            raise MlxworldError(f"{film}: has no {path.name} beside it, and the dataset has actions")
        return np.zeros(len(numbers), np.int32)
    names = read_names(path)
    unknown = sorted(set(names) - set(actions))
    if unknown:
        raise MlxworldError(f"{path}: unknown action {shown(unknown[0])}; the dataset has {listed(actions, 20)}")
    rows = None if not space.shape else _rows(path, space, len(names))
    if not has_rows(len(names), numbers):
        raise MlxworldError(f"{path}: {len(names)} rows, but its film has {numbers[-1] + 1} frames")
    return (np.array([actions.index(name) for name in names], np.int32) if rows is None else rows)[numbers]


def has_rows(count: int, numbers: np.ndarray) -> bool:
    """Whether so many rows, one a frame, are those of a film of which step t shows the frame `numbers[t]`: what it has
    after its last step is less than a step."""
    stride = max(1, *np.diff(numbers)) if len(numbers) > 1 else 1
    return bool(0 < count - numbers[-1] <= stride)


def _rows(path: Path, space: ActionSpace, steps: int) -> np.ndarray:
    """The numbers of buttons and axes (steps, A), in the order of the column "step" where there is one."""
    columns, *rows = table(path)
    rows = [row for row in rows if row]
    if "step" in columns:
        rows = sorted(rows, key=lambda row: int(row[columns.index("step")]))
    missing = [name for name in (*space.buttons, *space.axes) if columns.count(name) != 1]
    if missing:
        raise MlxworldError(f"{path}: needs one column {shown(missing[0])}")
    places = [columns.index(name) for name in (*space.buttons, *space.axes)]
    try:
        values = np.array([[float(row[place]) for place in places] for row in rows], np.float32)
    except (ValueError, IndexError) as error:
        raise MlxworldError(f"{path}: a button or an axis is no number ({error})") from error
    if len(values) != steps or not space.holds(values):
        raise MlxworldError(f"{path}: buttons are 0 or 1 in every row, axes from -1 to 1")
    return values
