"""`mlxworld VERB ...` is `python -m mlxworld.VERB ...`; `entry` is how every verb starts and how it ends when it fails.

A verb is a module with `main(argv)`, or a package whose `__main__` has it. It is imported only when it is asked for, so
that the table of verbs appears at once.
"""

import errno
import importlib
import importlib.util
import os
import sys
from collections.abc import Callable

from .errors import MlxworldError, one_line

VERBS = {
    "evaluate": ("mlxworld.evaluate", "measure a world on held-out episodes, beside baselines"),
    "play": ("mlxworld.apps.play", "play inside a world in the browser, with sound"),
    "new": ("mlxworld.new", "a world of your own: record or take a film, train, play"),
    "record": ("mlxworld.record", "record a game, or any other environment, as a dataset"),
    "train": ("mlxworld.train", "train a world model on a dataset"),
    "ask": ("mlxworld.ask", "ask a vision-language model about pictures and films"),
    "convert": ("mlxworld.convert", "a world to Core ML, Core AI or other weights"),
    "bench": ("mlxworld.bench", "measure how fast a world runs here"),
    "doctor": ("mlxworld.doctor", "say what this machine can do and what is missing"),
}
PERSONS_MATTER = {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG, errno.ELOOP}
NO_MEMORY = ("out of memory", "allocate memory", "to allocate")  # as the frameworks say it


def entry(main: Callable[[], None]) -> None:
    """Runs `main()`; what a person can put right ends as one line on stderr, `mlxworld: ...`, and exit code 2.

    That is every MlxworldError, a full, read-only or forbidden disk, a path that cannot be one, and too little memory.
    Ctrl-C exits with 130, a closed pipe on stdout with 141, both without a traceback. Any other exception is a mistake
    in mlxworld and keeps its traceback.
    """
    _open_streams()
    try:
        main()
        sys.stdout.flush()
    except MlxworldError as error:
        _fail(str(error))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the interpreter complains while it exits
        sys.exit(141)
    except OSError as error:
        if error.errno not in PERSONS_MATTER:
            raise
        _fail(f"{error.strerror}: {error.filename}" if error.filename else str(error.strerror))
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and not any(words in str(error) for words in NO_MEMORY):
            raise
        _fail(f"there is too little memory for this: make less of it at once, or all of it smaller ({error})")
    except KeyboardInterrupt:
        sys.exit(130)


def _open_streams() -> None:
    """A stream that was closed before Python began leads nowhere; else what is opened next would take its place."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115


def main(argv: list[str] | None = None) -> None:
    """Runs the verb named first in `argv` (default: the command line) on the rest; with no verb, prints the table."""
    argv = sys.argv[1:] if argv is None else argv
    if not argv or argv[0] in ("-h", "--help"):
        print(table())
    elif argv[0] == "--version":
        from . import __version__

        print(__version__)
    elif argv[0] not in VERBS:
        raise MlxworldError(f"unknown verb {argv[0]!r}: choose one of {', '.join(VERBS)}")
    else:
        verb_main(argv[0])(argv[1:])


def verb_main(verb: str) -> Callable[[list[str]], None]:
    """The `main` of a verb of the table, imported now."""
    name, _ = VERBS[verb]
    spec = importlib.util.find_spec(name)
    is_package = spec is not None and spec.submodule_search_locations is not None
    return importlib.import_module(f"{name}.__main__" if is_package else name).main


def table() -> str:
    """The verbs, one a line with what each does."""
    width = max(map(len, VERBS))
    lines = [f"  {verb:<{width}}  {line}" for verb, (_, line) in VERBS.items()]
    return "\n".join(["usage: mlxworld VERB [--help] ...", "", *lines])


def run() -> None:
    """The `mlxworld` command."""
    entry(main)


def _fail(message: str) -> None:
    print(f"mlxworld: {one_line(message)}", file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    run()
