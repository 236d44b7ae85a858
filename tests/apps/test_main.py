"""Starting the app from the command line: what goes wrong is one line and exit code 2."""

import queue
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import pytest
from websockets.sync.client import connect

import mlxworld
from apps.play import __main__ as command
from apps.play.app import create_app
from apps.play.game import Choice

from .toy import ToyWorld


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
    assert [command.is_loopback(host) for host in ("127.0.0.1", "localhost", "::1", "127.9.9.9")] == [True] * 4
    assert [command.is_loopback(host) for host in ("0.0.0.0", "::", "192.168.1.4", "computer.lan")] == [False] * 4


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_every_flag_reaches_the_world_and_the_page_opens(monkeypatch, host):
    opened, servers = queue.Queue(), []
    monkeypatch.setattr(command.webbrowser, "open", opened.put)
    monkeypatch.setattr(mlxworld, "World", ToyWorld, raising=False)
    monkeypatch.setattr(command.socket, "gethostname", lambda: "localhost")
    made = command.make_server
    monkeypatch.setattr(command, "make_server", lambda app: servers.append(made(app)) or servers[0])
    flags = (
        "--world pong --backend mlx --steps 4 --precision float16 --weights int8 --hook night --port 0 --open --host"
    )
    thread = threading.Thread(target=command.main, args=([*flags.split(), host],))
    thread.start()
    try:
        address = opened.get(timeout=20)
        with urllib.request.urlopen(address, timeout=5) as answer:
            assert b"mlxworld" in answer.read()
        assert ("token=" in address) == (host == "0.0.0.0")
        world = servers[0].config.app.state.game._branch.world
        assert (world.name, world.backend, world.steps, world.precision) == ("pong", "mlx", 4, "float16")
        assert world.weights == "int8" and world.hooks == (Path("night"),)
    finally:
        servers[0].should_exit = True
        thread.join(10)


SECOND = [pytest.mark.platform, pytest.mark.skipif(sys.platform != "linux", reason="the loopback has one address")]


@pytest.mark.parametrize(
    "host", ["127.0.0.1", pytest.param("127.0.0.2", marks=SECOND), "localhost", "LOCALHOST", "0.0.0.0"]
)
def test_the_printed_address_is_served(monkeypatch, host):
    monkeypatch.setattr(command.socket, "gethostname", lambda: "localhost")
    with command.bind(host, 0) as listener:
        token = None if command.is_loopback(host) else "secret"
        app = create_app(ToyWorld.load, Choice("pong"), worlds=["pong"], backends=["torch"], token=token)
        server = command.make_server(app)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            while not server.started:
                time.sleep(0.01)
            address = command.page_address(listener, token)
            with urllib.request.urlopen(address, timeout=5) as answer:
                assert answer.status == 200
            page, _, query = address.partition("?")
            url, origin = f"ws{page.removeprefix('http')}socket?{query}", page.rstrip("/")
            with connect(url, origin=origin) as socket:  # type: ignore[arg-type]
                assert socket.recv(5)
        finally:
            server.should_exit = True
            thread.join(10)
