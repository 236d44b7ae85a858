"""The `mlxworld` command: fast, lazy, and one line with exit code 2 for whatever a person can put right."""

import errno
import subprocess
import sys

import pytest

from mlxworld import cli
from mlxworld.errors import MlxworldError


def mlxworld(*argv: str, code: str = "from mlxworld.cli import run; run()") -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", code, *argv], capture_output=True, text=True, timeout=120)


def test_alone_prints_the_verbs():
    done = mlxworld()
    assert done.returncode == 0 and not done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()[2:]] == list(cli.VERBS)


def test_unknown_verb_is_one_line():
    done = mlxworld("dance")
    assert done.returncode == 2 and not done.stdout
    assert done.stderr.count("\n") == 1 and done.stderr.startswith("mlxworld: unknown verb 'dance'")


@pytest.mark.parametrize("verb", cli.VERBS)
def test_every_verb_of_the_table_exists(verb):
    assert callable(cli.verb_main(verb))


@pytest.mark.parametrize("verb", cli.VERBS)
def test_a_verb_is_the_module_of_its_name(verb):
    """`mlxworld VERB` and `python -m MODULE` take the same flags, and fail in the same way."""
    module, _ = cli.VERBS[verb]
    for argv in (["-m", "mlxworld", verb], ["-m", module]):
        done = subprocess.run([sys.executable, *argv, "--no-such-flag"], capture_output=True, text=True, timeout=120)
        assert done.returncode == 2 and "Traceback" not in done.stderr, f"{argv}: {done.stderr[-500:]}"
        assert f"mlxworld {verb}" in done.stderr or verb == "convert", done.stderr[-500:]


def test_the_table_imports_nothing_heavy():
    code = "import sys; from mlxworld import cli; cli.main([]); print(','.join(sys.modules))"
    loaded = set(mlxworld(code=code).stdout.splitlines()[-1].split(","))
    assert "mlxworld.cli" in loaded and not loaded & {"numpy", "torch", "mlx", "tyro", "rich", "av", "mlxworld.train"}


ENDS = [
    (MlxworldError("no such\nworld"), 2, "mlxworld: no such world\n"),
    (OSError(errno.ENOSPC, "No space left on device", "x.mp4"), 2, "mlxworld: No space left on device: x.mp4\n"),
    (OSError(errno.ENAMETOOLONG, "File name too long", "xxx"), 2, "mlxworld: File name too long: xxx\n"),
    *(
        (
            kind(line),
            2,
            f"mlxworld: there is too little memory for this: make less of it at once, or all of it smaller ({line})\n",
        )
        for kind, line in (
            (RuntimeError, "DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
            (RuntimeError, "CUDA out of memory. Tried to allocate 2.00 GiB"),
            (RuntimeError, "[malloc] Unable to allocate 9 bytes."),
            (MemoryError, "Unable to allocate 9 GiB for an array"),
        )
    ),
    (KeyboardInterrupt(), 130, ""),
]


@pytest.mark.parametrize(("error", "code", "line"), ENDS, ids=lambda v: type(v).__name__)
def test_how_an_entry_point_ends(error, code, line, capsys):
    def main():
        raise error

    with pytest.raises(SystemExit) as end:
        cli.entry(main)
    assert end.value.code == code and capsys.readouterr().err == line


def test_a_mistake_of_ours_keeps_its_traceback():
    for error in (ValueError("ours"), RuntimeError("ours"), OSError(errno.EINVAL, "ours")):
        with pytest.raises(type(error)):
            cli.entry(lambda error=error: (_ for _ in ()).throw(error))


def test_a_closed_pipe_is_quiet():
    script = f"{sys.executable} -c 'from mlxworld import cli; cli.entry(lambda: print(\"x\" * 10**6))' | head -c 1"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=60)
    assert done.stdout == "x" and not done.stderr


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize(("argv", "code"), [("--version", 0), ("", 0), ("bench --help", 0), ("dance", 2)])
def test_closed_streams_lead_nowhere(argv, code, closed):
    done = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m mlxworld {argv} {closed}"], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == code and "Traceback" not in done.stderr


def test_help_is_of_the_command_and_for_its_reader(capsys):
    commands = [verb.split() for verb in cli.VERBS if verb != "convert"]
    commands += [["convert", kind] for kind in ("coreml", "coreai", "weights", "words")]
    commands += [["bench", "words"], ["bench", "hooks"], ["evaluate", "--model-mode", "all"]]
    commands += [["train", "--model", "omnilatent"]]
    for command in commands:
        with pytest.raises(SystemExit):
            cli.main([*command, "--help"])
        text = " ".join(capsys.readouterr().out.split())
        words = command[: command.index(next((w for w in command if w[0] == "-"), command[-1]))] or command
        assert text.startswith(f"usage: mlxworld {' '.join(words)}"), text[:80]
        assert "pyright" not in text and "noqa" not in text
