"""A training in a process of its own, which may kill itself: forked from one that has imported all and run nothing.

To import PyTorch takes longer than to train a tiny world. A process that is `fresh` starts as the command does; beside
one that does, a training that depended on the order of a set, which each start of Python has anew, would be seen.
"""

import functools
import importlib
import multiprocessing
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace

IMPORTED = (
    *("torch._dynamo", "torch.distributed.fsdp", "torch_backend.engine", "torch_backend.models.openworld"),
    *("mlxworld.engine", "mlxworld.models.openworld", "mlxworld.recipes.openworld", "mlxworld.train"),
    *("mlxworld.play.encode", "tensorboard.summary.writer.event_file_writer", "tests.training.processes"),
)
FRESH = multiprocessing.get_context("spawn")
FORKED = FRESH if sys.platform == "darwin" else multiprocessing.get_context("forkserver")
if FORKED is not FRESH:
    FORKED.set_forkserver_preload(list(IMPORTED))


def train(death: str, argv: Sequence[object], fresh: bool = False) -> SimpleNamespace:
    """Runs `mlxworld train` with these words and returns its `returncode` and what it said on `stderr`.

    death: "MODULE:FUNCTION:N", and the process kills itself with SIGKILL at the beginning of the N-th call of a
    function, which a negative N counts at their end; "" lets it live.
    """
    with tempfile.TemporaryDirectory() as folder:
        said = Path(folder) / "stderr"
        words = [str(word) for word in argv]
        process = (FRESH if fresh else FORKED).Process(target=_train, args=(death, words, dict(os.environ), said))
        process.start()
        process.join(120)
        if process.is_alive():
            process.kill()
            raise TimeoutError(f"{words}: {said.read_text()[-2000:]}")
        return SimpleNamespace(returncode=process.exitcode, stderr=said.read_text())


def _train(death: str, words: list[str], environment: dict[str, str], said: Path) -> None:
    with open(said, "w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.environ.clear()
    os.environ.update(environment)
    from mlxworld.cli import entry
    from mlxworld.train import main

    if death:
        module, name, n = death.split(":")
        *path, last = name.split(".")
        place = functools.reduce(getattr, path, importlib.import_module(module))
        setattr(place, last, _deadly(getattr(place, last), int(n)))
    entry(lambda: main(words))


def _deadly(function: Callable, n: int) -> Callable:
    calls = 0

    def counted(*args, **kwargs):
        nonlocal calls
        calls += 1
        if calls == n:
            os.kill(os.getpid(), signal.SIGKILL)
        result = function(*args, **kwargs)
        if calls == -n:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    return counted
