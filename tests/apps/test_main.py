"""Starting the app from the command line: what goes wrong is one line and exit code 2."""

import subprocess
import sys

import pytest

from apps.play.__main__ import is_loopback


def play(*flags: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-m", "apps.play", *flags], capture_output=True, text=True, timeout=60)


def test_port_in_use(taken_port):
    done = play("--port", str(taken_port))
    line = f"mlxworld: port {taken_port} on 127.0.0.1 is in use: choose another one with --port\n"
    assert (done.returncode, done.stderr) == (2, line)


@pytest.mark.parametrize(
    ("flags", "word"),
    [
        (("--world", "no-such-world"), "no-such-world"),
        (("--host", "no such host"), "unknown host"),
        (("--port", "70000"), "between 0 and 65535"),
    ],
)
def test_bad_input_is_one_line(flags, word):
    done = play("--port", "0", *flags)
    assert done.returncode == 2 and word in done.stderr and done.stderr.count("\n") == 1


def test_the_token_is_left_out_on_the_loopback_only():
    assert [is_loopback(host) for host in ("127.0.0.1", "localhost", "::1", "127.9.9.9")] == [True] * 4
    assert [is_loopback(host) for host in ("0.0.0.0", "::", "192.168.1.4", "computer.lan")] == [False] * 4
