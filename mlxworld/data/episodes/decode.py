"""Decoding in processes of their own: a file that brings its decoder down takes nothing else with it.

Each line on stdin is a task in JSON, each line on stdout its answer. `Decoders` starts these processes and talks to
them; a process that dies is replaced, and the file that it died on is named.
"""

import json
import os
import subprocess
import sys
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from ...configs.actions import ActionSpace
from ...errors import MlxworldError
from .actions import read_actions
from .container import require_whole
from .format import rare_steps
from .pictures import read_frames
from .sound import Span, grow, read_sound

_STANDING = 10  # steps a picture, from which on it is told
_ROOT = Path(__file__).parents[3]


def decode(task: dict[str, Any]) -> dict[str, Any]:
    """Decode one file into raw files `to`.video (uint8), `to`.audio (int16), `to`.actions (int32).

    The answer holds `frames`, the lengths of the episodes that the file holds, `sound` (whether there is any), `rare`,
    the numbers of its steps that show something rare, and `notes`, lines for a person to read; or `error`: one line
    that names the file.
    """
    path, to, S = Path(task["path"]), task["to"], task["samples"]
    shown: list[int] = []
    spans: list[Span] = []
    try:
        with open(f"{to}.video", "wb") as file:
            require_whole(path)
            for step in read_frames(path, tuple(task["size"]), task["fps"]):
                file.write(step.picture.data)
                shown.append(step.number)
                grow(spans, step)
        sound, why = read_sound(path, spans, task["fps"], S)
        (np.zeros((len(shown), S), np.int16) if sound is None else sound).tofile(f"{to}.audio")
        read_actions(path, ActionSpace(*map(tuple, task["space"])), np.array(shown)).tofile(f"{to}.actions")
    except MlxworldError as error:
        return {"error": str(error)}
    except OSError as error:
        return {"failed": f"{to}: cannot be written ({error.strerror})"}
    notes = [f"its time stamps jump: it is {len(spans)} episodes"] if len(spans) > 1 else []
    pictures = len(set(shown))
    notes += [f"{pictures} pictures stand for {len(shown):,} steps"] if len(shown) > _STANDING * pictures else []
    notes += [] if why == "" else [why if sound is not None else f"{why}: it is silent"]
    rare: list[int] = []
    try:
        rare = rare_steps(path, np.array(shown)).tolist()
    except MlxworldError as error:
        notes.append(str(error))
    return {"frames": [span.steps for span in spans], "sound": sound is not None, "rare": rare, "notes": notes}


class Decoders:
    """`workers` decoding processes; used with `with`, which ends them."""

    def __init__(self, workers: int):
        self._threads = ThreadPoolExecutor(workers)
        self._local = threading.local()
        self._all: list[subprocess.Popen[str]] = []

    def __enter__(self) -> "Decoders":
        return self

    def __exit__(self, *error: object) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        for process in self._all:
            process.kill()
        self._threads.shutdown()
        for process in self._all:
            process.kill()  # one that a thread had just begun
            process.communicate()

    def submit(self, task: dict[str, Any]) -> Future[dict[str, Any]]:
        """The future answer of `decode(task)`."""
        return self._threads.submit(self._ask, task)

    def _ask(self, task: dict[str, Any]) -> dict[str, Any]:
        process = getattr(self._local, "process", None) or self._start()
        assert process.stdin and process.stdout
        try:
            process.stdin.write(json.dumps(task) + "\n")
            process.stdin.flush()
            answer = process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if answer:
            return json.loads(answer)
        self._local.process = None
        return {"error": f"{task['path']}: its decoder ended unexpectedly (exit code {process.wait()})"}

    def _start(self) -> "subprocess.Popen[str]":
        path = os.pathsep.join(filter(None, (str(_ROOT), os.environ.get("PYTHONPATH"))))
        one_thread = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "VECLIB_MAXIMUM_THREADS": "1"}
        process = subprocess.Popen(
            [sys.executable, "-c", "from mlxworld.data.episodes.decode import serve; serve()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | one_thread | {"PYTHONPATH": path},
            start_new_session=True,  # Ctrl-C is for the owner
        )
        self._local.process = process
        self._all.append(process)
        return process


def serve() -> None:
    """A decoding process: answers tasks until stdin ends."""
    for line in sys.stdin:
        print(json.dumps(decode(json.loads(line))), flush=True)
