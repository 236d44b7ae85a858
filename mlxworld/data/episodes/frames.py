"""The decoded dataset: decoded once, then mapped into memory, so that training reads frames at the speed of copying.

FOLDER/.cache/KEY/ holds video.npy (N, H, W, 3) uint8, audio.npy (N, S) int16, actions.npy (N, ...) and cache.json
(episodes, offsets, rare frames, what was skipped). KEY depends on the settings and on the files' names, sizes and
times. It is built in a hidden folder beside it and renamed when whole.
"""

import hashlib
import json
import os
import re
import shutil
import sys
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from ...errors import MlxworldError, one_line
from ...files import atomic
from .actions import actions_file
from .decode import Decoders
from .folder import SUFFIXES, listing
from .format import DatasetInfo, Episode, dataset_info, state_file
from .media import to_float32

_VERSION = 3  # of what decoding gives
_AHEAD = 2  # files for each process that wait decoded


@dataclass(frozen=True)
class FrameStore:
    """A decoded dataset of E episodes, N frames in all. Arrays are read-only and mapped, not loaded."""

    info: DatasetInfo
    video: np.ndarray  # (N, H, W, 3) uint8
    audio: np.ndarray  # (N, S) int16
    actions: np.ndarray  # (N,) int32, or rows (N, A) float32 of buttons and axes
    offsets: np.ndarray  # (E + 1,) int64: episode e is frames offsets[e] to offsets[e + 1]
    names: tuple[str, ...]  # of the episodes' files, in the folder
    skipped: tuple[str, ...]  # one line for each file that could not be used
    silent: tuple[str, ...]  # names of files without sound, whose track is zeros
    rare: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))  # (R,): frames that show something rare
    drawn: np.ndarray | None = None  # (E,) bool: episodes that clips are drawn from; None: all

    def spans(self) -> list[tuple[int, int]]:
        """First and last + 1 frame of each episode."""
        return list(zip(self.offsets[:-1].tolist(), self.offsets[1:].tolist(), strict=True))

    @property
    def longest(self) -> int:
        """Frames of the longest episode."""
        return int(np.diff(self.offsets).max())

    def sound(self, rows: Any) -> np.ndarray:
        """Sound of frames, float32 in [-1, 1): rows (...) -> (..., S)."""
        return to_float32(self.audio[rows])

    def episode(self, e: int) -> Episode:
        """Episode number e, whole."""
        rows = slice(int(self.offsets[e]), int(self.offsets[e + 1]))
        return Episode(np.array(self.video[rows]), self.sound(rows), np.array(self.actions[rows]))


def open_frames(
    folder: str | os.PathLike,
    size: int | tuple[int, int] | None = None,
    fps: float | None = None,
    workers: int = 0,
    cache: Path | None = None,
) -> FrameStore:
    """The decoded dataset of a folder, decoded now if it is not yet: a recording, or a folder of anybody's videos.

    `size` (H, W), or one number for both, and `fps` replace the dataset's own. `workers`: decoding processes, 0 for
    one a core. `cache`: where it is kept; else in the folder itself, or in the user's cache where that is read-only.
    What is not used is named on stderr. Raises MlxworldError if the folder is missing or holds nothing that can be
    used, or the cache cannot be written.
    """
    folder = Path(folder)
    listed = listing(folder)
    files = list(listed.films)
    info = dataset_info(folder, fps, (size, size) if isinstance(size, int) else size)
    if not files:
        aside = "".join(f"; {line}" for line in listed.unused)
        raise MlxworldError(f"{folder}: holds no video ({' '.join(SUFFIXES)}){aside}")
    settings = f"{info.size[0]}x{info.size[1]}-{info.fps:g}fps-"
    key = settings + _key(folder, files, info)
    place = (cache / _own(folder) if cache else folder / ".cache") / key
    if cache is None and not (place / "cache.json").exists() and not _writable(place.parent):
        place = _users_cache() / _own(folder) / key
    if not (place / "cache.json").exists():
        for line in listed.unused:
            print(one_line(f"{folder}: {line}"), file=sys.stderr)
        _build(folder, files, info, place, workers or os.cpu_count() or 1)
        for old in place.parent.glob(f"{settings}*"):
            if old != place:
                shutil.rmtree(old, ignore_errors=True)
    return _open(place, info)


def _own(folder: Path) -> str:
    """The name of a dataset's folder where those of several lie."""
    path = folder.resolve()
    return f"{re.sub(r'[^A-Za-z0-9._-]', '_', path.name)[:40]}-{hashlib.sha256(os.fsencode(path)).hexdigest()[:8]}"


def _writable(folder: Path) -> bool:
    """Whether the folder can be made and written to."""
    try:
        folder.mkdir(exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK)


def _users_cache() -> Path:
    """Where decoded data goes that cannot lie beside its films."""
    own = Path.home() / ("Library/Caches" if sys.platform == "darwin" else ".cache")
    return Path(os.environ.get("XDG_CACHE_HOME") or own) / "mlxworld" / "frames"


def _key(folder: Path, files: list[Path], info: DatasetInfo) -> str:
    decoded = {name: value for name, value in asdict(info).items() if name != "aspect"}  # which changes no pixel
    entries: list[Any] = [_VERSION, decoded]
    for file in files:
        for path in (file, actions_file(file), state_file(file)):
            if path.exists():
                entries.append([str(path.relative_to(folder)), path.stat().st_size, path.stat().st_mtime_ns])
    return hashlib.sha256(json.dumps(entries, sort_keys=True).encode()).hexdigest()[:16]


def _open(place: Path, info: DatasetInfo) -> FrameStore:
    try:
        entries = json.loads((place / "cache.json").read_text())
        video, audio, actions = (
            np.load(place / f"{name}.npy", mmap_mode="r") for name in ("video", "audio", "actions")
        )
        names, skipped, silent = (tuple(entries[name]) for name in ("names", "skipped", "silent"))
        offsets, rare = (np.array(entries[name], np.int64) for name in ("offsets", "rare"))
        return FrameStore(info, video, audio, actions, offsets, names, skipped, silent, rare)
    except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
        raise MlxworldError(f"{place}: broken cache ({error}); remove it, it is made anew") from error


def _build(folder: Path, files: list[Path], info: DatasetInfo, place: Path, workers: int) -> None:
    """Decode all files into a hidden folder beside `place`, then rename it."""
    part = place.with_name(f".{place.name}.{os.getpid()}")
    for old in place.parent.glob(".*.*"):  # left by a process that was killed
        if re.fullmatch(r"\.\d{1,9}", old.suffix) and not _alive(int(old.suffix[1:])):
            shutil.rmtree(old, ignore_errors=True)
    try:
        part.mkdir(parents=True)
        _decode_all(folder, files, info, part, workers)
        try:
            part.rename(place)
        except OSError:
            if not (place / "cache.json").exists():  # nobody else was quicker
                raise
    except OSError as error:
        raise MlxworldError(f"{place}: the cache cannot be written ({error.strerror})") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's
        return True
    return True


def _decode_all(folder: Path, files: list[Path], info: DatasetInfo, part: Path, workers: int) -> None:
    console = Console(stderr=True)
    names, offsets, rare, skipped, silent, space = [], [0], [], [], [], info.action_space
    columns = [TextColumn("[bold]decoding"), BarColumn(), DownloadColumn(), TimeElapsedColumn()]
    columns += [TextColumn("left"), TimeRemainingColumn()]
    with (
        Decoders(min(workers, len(files))) as decoders,
        Progress(*columns, console=console) as bar,
        Growing(part / "video.npy", (*info.size, 3), np.uint8) as video,
        Growing(part / "audio.npy", (info.samples,), np.int16) as audio,
        Growing(part / "actions.npy", space.shape, space.dtype) as actions,
    ):
        task = bar.add_task("", total=sum(file.stat().st_size for file in files))
        for number, answer in enumerate(_answers(decoders, files, info, part, workers)):
            raw, name = part / str(number), str(files[number].relative_to(folder))
            if "failed" in answer:
                raise MlxworldError(answer["failed"])
            if "error" in answer:
                skipped.append(one_line(answer["error"]))
                console.print(f"skipped {skipped[-1]}", markup=False, highlight=False, soft_wrap=True)
            else:
                for note in answer["notes"]:
                    console.print(one_line(f"{name}: {note}"), markup=False, highlight=False, soft_wrap=True)
                silent += [] if answer["sound"] else [name]
                rare += [offsets[-1] + step for step in answer["rare"]]
                for frames in answer["frames"]:
                    names.append(name)
                    offsets.append(offsets[-1] + frames)
                for array, suffix in ((video, "video"), (audio, "audio"), (actions, "actions")):
                    array.append(Path(f"{raw}.{suffix}"))
            for suffix in ("video", "audio", "actions"):
                Path(f"{raw}.{suffix}").unlink(missing_ok=True)
            bar.advance(task, files[number].stat().st_size)
    if not names:
        raise MlxworldError(f"{folder}: none of its {len(files)} videos can be used; the first: {skipped[0]}")
    print(
        one_line(f"{folder}: {offsets[-1]:,} frames of {len(set(names))} videos decoded, ")
        + f"{len(skipped)} of {len(files)} skipped, {len(silent)} without sound",
        file=sys.stderr,
    )
    entries = {"names": names, "offsets": offsets, "rare": rare, "skipped": skipped, "silent": silent}
    atomic.write(part / "cache.json", json.dumps(entries).encode())


def _answers(
    decoders: Decoders, files: list[Path], info: DatasetInfo, part: Path, workers: int
) -> Iterator[dict[str, Any]]:
    """Answers in the order of the files; only a few files are decoded ahead."""
    common = {"size": info.size, "fps": info.fps, "samples": info.samples}
    common |= {"space": (info.actions, info.buttons, info.axes)}
    waiting: list[Future] = []
    for number, file in enumerate(files):
        waiting.append(decoders.submit({"path": str(file), "to": str(part / str(number)), **common}))
        if len(waiting) > _AHEAD * workers:
            yield waiting.pop(0).result()
    for future in waiting:
        yield future.result()


class Growing:
    """An .npy file (N, *shape) to which raw files are appended; its header is set right when N is known."""

    def __init__(self, path: Path, shape: tuple[int, ...], dtype: type):
        self._shape, self._dtype, self._rows = shape, np.dtype(dtype), 0
        self._file: BinaryIO = path.open("wb")

    def __enter__(self) -> "Growing":
        self._header()
        return self

    def _header(self) -> None:
        header = {"descr": self._dtype.str, "fortran_order": False, "shape": (self._rows, *self._shape)}
        np.lib.format.write_array_header_1_0(self._file, header)  # numpy leaves room for N to grow

    def append(self, raw: Path) -> None:
        """Append the rows of a raw file."""
        row = int(np.prod(self._shape, dtype=np.int64)) * self._dtype.itemsize
        self._rows += raw.stat().st_size // row
        with raw.open("rb") as file:
            shutil.copyfileobj(file, self._file, 1 << 22)

    def __exit__(self, kind: type | None, *error: object) -> None:
        if kind is None:
            self._file.seek(0)
            self._header()
        self._file.close()
