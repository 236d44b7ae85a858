"""What lies in a folder of films: those to read, and what is left aside."""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ...errors import MlxworldError
from ...files.reading import listed, shown_name

SUFFIXES = (
    *(".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".vob", ".ts", ".mts", ".m2ts"),
    *(".wmv", ".asf", ".flv", ".ogv", ".3gp", ".gif", ".y4m", ".mxf", ".dv", ".m2v", ".f4v"),
)
_BESIDE = (".actions.csv", ".state.npz", ".srt", ".txt")  # what lies beside an episode's film


@dataclass(frozen=True)
class Listing:
    """Films in the order of their names, and what is not read; what is hidden is not listed."""

    films: tuple[Path, ...]
    runs: tuple[Path, ...]  # folders of trainings: a training's own pictures are no data
    others: tuple[Path, ...]  # files that are no films
    dead: tuple[Path, ...]  # links that lead nowhere, folders that cannot be opened, what is no file

    @property
    def unused(self) -> list[str]:
        """A line for each kind of thing that is not read."""
        kinds = Counter(shown_name(path.suffix.lower()) if path.suffix else "without suffix" for path in self.others)
        some = ", ".join(f"{n} {kind}" for kind, n in kinds.most_common(5))
        more = f" and {len(kinds) - 5} kinds more" if len(kinds) > 5 else ""
        lines = [f"{path}: a training's folder is not read as data" for path in self.runs]
        if self.others:
            lines.append(f"{len(self.others)} files are no films and not used ({some}{more})")
        if self.dead:
            lines.append(f"{len(self.dead)} links or folders cannot be followed: {listed(p.name for p in self.dead)}")
        return lines


def listing(folder: str | os.PathLike) -> Listing:
    """What lies in a folder and in the folders within it, links followed. Raises MlxworldError if there is none."""
    folder = Path(folder)
    if not folder.is_dir():
        raise MlxworldError(f"{folder}: no such folder")
    if not os.access(folder, os.R_OK | os.X_OK):
        raise MlxworldError(f"{folder}: cannot be opened")
    films, runs, others, dead = [], [], [], []
    for place, names in _walk(folder, runs, dead):
        files = [place / name for name in names]
        films += [path for path in files if path.suffix.lower() in SUFFIXES]
        stems = {path.stem for path in files if path.suffix.lower() in SUFFIXES}
        known = {"dataset.json", *(stem + suffix for stem in stems for suffix in _BESIDE)}
        others += [path for path in files if path.suffix.lower() not in SUFFIXES and path.name not in known]
    return Listing(*(tuple(sorted(paths)) for paths in (films, runs, others, dead)))


def _walk(folder: Path, runs: list[Path], dead: list[Path]) -> Iterator[tuple[Path, list[str]]]:
    """Each folder once, however links lead to it, and the names of its files."""
    visited = set()
    for place, folders, names in os.walk(folder, followlinks=True, onerror=lambda e: dead.append(Path(e.filename))):
        at = Path(place)
        if at != folder and "train.json" in names:
            runs.append(at)
            folders.clear()
            continue
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        try:
            status = at.stat()
        except OSError:  # it went meanwhile
            dead.append(at)
            continue
        if (status.st_dev, status.st_ino) in visited:
            folders.clear()
            continue
        visited.add((status.st_dev, status.st_ino))
        names = [name for name in names if not name.startswith(".")]
        files = [name for name in names if os.path.isfile(at / name)]
        dead.extend(at / name for name in names if name not in files)
        yield at, files
