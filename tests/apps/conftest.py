"""The play app around the toy world, served on a free port of the loopback as a person's browser would meet it."""

import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
import urllib.request
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect, sync_playwright
from playwright.sync_api import Page as BrowserPage
from websockets.sync.client import connect

from apps.play import connections as bounds
from apps.play.app import create_app
from apps.play.game import Choice, Game

from .browsing import PATIENCE, wait
from .running import running
from .toy import ToyWorld

FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--autoplay-policy=no-user-gesture-required"]
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
SHAPE = ("height", "width", "samples")
FIELDS = ("kind", "flags", "action", "serial", "index", "ident", *SHAPE, "model_ms", "encode_ms", "time", "key")


@dataclass
class Served:
    """A running app: where it is, and its game."""

    port: int
    game: Game
    token: str | None

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}/" + (f"?token={self.token}" if self.token else "")

    def join(self, **headers) -> "Page":
        return Page(self, **headers)


class Process(Served):
    """A server in a process of its own, with what it has written to its log. It waits less long than others for what
    its connections ask, so that the tests need not wait as long."""

    WAIT_S = 2.0

    def __init__(self, port: int, process: subprocess.Popen, log: Path):
        super().__init__(port, None, None)  # type: ignore[arg-type]
        self.process, self.log = process, log

    def files(self) -> int:
        """Number of files that the process has open."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def settles(self, files: int, seconds: float) -> bool:
        """Whether no more than so many files are open within some seconds."""
        end = time.monotonic() + seconds
        while self.files() > files and time.monotonic() < end:
            time.sleep(0.1)
        return self.files() <= files


class Page:
    """A page as the tests play it: one socket, which answers every frame with "seen" unless it is told to be slow."""

    def __init__(self, served: Served, origin: str | None = "", query: str | None = None, max_queue: int | None = None):
        """max_queue: messages that come unheard before the page reads no more; None: it reads on for ever."""
        query = (f"token={served.token}" if served.token else "") if query is None else query
        url = f"ws://127.0.0.1:{served.port}/socket?{query}"
        origin = f"http://127.0.0.1:{served.port}" if origin == "" else origin
        self.stack = ExitStack()
        bounds = {"max_size": None, "max_queue": max_queue, "compression": None, "open_timeout": 5}
        connection = connect(url, origin=origin, **bounds)  # type: ignore[arg-type]
        self.socket = self.stack.enter_context(connection)
        self.slow = False
        self.frames = 0

    def __enter__(self) -> "Page":
        return self

    def __exit__(self, *error) -> None:
        self.stack.close()

    def cut(self) -> None:
        """End the connection as a cut cable does: no close frame, and the other side's bytes are refused."""
        linger = b"\1\0\0\0\0\0\0\0"
        with suppress(OSError):  # the server has ended it
            self.socket.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.socket.socket.shutdown(socket.SHUT_RDWR)
            self.socket.socket.close()

    def say(self, type: str, **fields) -> None:  # noqa: A002
        self.socket.send(json.dumps({"type": type, **fields}))

    def hear(self, timeout: float = 5) -> Any:
        """The next message: a dict of JSON, or a dict of a frame's header with its bytes."""
        message = self.socket.recv(timeout)
        if isinstance(message, str):
            return json.loads(message)
        frame: dict[str, Any] = dict(zip(FIELDS, struct.unpack_from("<BBHIIIHHIffdd", message), strict=True))
        sound, picture = message[48 : 48 + 4 * frame["samples"]], message[48 + 4 * frame["samples"] :]
        if frame["kind"] == 0:
            self.frames += 1
            if not self.slow:
                self.say("seen")
        return {
            "type": ("frame", "moment", "branch", "beside", "offer")[frame["kind"]],
            **frame,
            "sound": sound,
            "picture": picture,
        }

    def until(self, type: str, timeout: float = 5, **fields) -> Any:  # noqa: A002
        """The next message of this type whose fields have these values."""
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            message = self.hear(timeout)
            if message["type"] == type and all(message[name] == value for name, value in fields.items()):
                return message
        raise AssertionError(f"no {type} with {fields} in {timeout} s")

    def step(self, action: int = 0) -> Any:
        """One frame while paused."""
        self.say("act", action=action, stamp=0)
        self.say("act", action=0, stamp=0)
        self.say("step")
        return self.until("frame", flags=0)


@contextmanager
def serving(world=ToyWorld, token: str | None = None, choice: str = "pong", wide: str | None = None):
    """Serve the app around a world class until the block ends."""
    worlds, backends = ["pong", "doom", "broken"], ["torch", "mlx"]
    app = create_app(world.load, Choice(choice), worlds=worlds, backends=backends, token=token, wide=wide)
    with running(app) as port:
        yield Served(port, app.state.game, token)


@pytest.fixture
def served():
    with serving() as app:
        yield app


@pytest.fixture
def serve():
    """Serves apps around other worlds, as `serving` does, until the test ends. Ask for it before `visit`."""
    with ExitStack() as stack:
        yield lambda *world, **options: stack.enter_context(serving(*world, **options))


@pytest.fixture
def slow_world():
    """An app around a world that needs 0.1 s a frame: a third of real time."""

    class Slow(ToyWorld):
        delay = 0.1

    with serving(Slow) as app:
        yield app


@pytest.fixture
def guarded():
    """An app that asks for a token, as when it is bound wider than the loopback."""
    with serving(token="a-long-random-token") as app:
        yield app


@pytest.fixture
def taken_port():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield other.getsockname()[1]


@pytest.fixture(scope="module")
def browser():
    path = next(filter(None, map(shutil.which, NAMES)), None)
    with ExitStack() as stack:
        try:
            playwright = stack.enter_context(sync_playwright())
            browser = stack.enter_context(playwright.chromium.launch(executable_path=path, args=FLAGS))
        except Exception as error:
            reason = str(error).splitlines()[0]
            pytest.skip(f"needs Chromium, and what Playwright needs (on Debian libatomic1): {reason}")
        yield browser


@pytest.fixture
def visit(browser: Browser, served: Served):
    """Opens the page as often as asked; at the end no page may have logged an error or a blocked resource. A test
    names a server of its own before it, so that the server outlives the pages."""
    errors, contexts = [], []

    def open_page(
        script: str = "", begin: bool = True, address: str = served.address, wait_for_world: bool = True, **options
    ) -> BrowserPage:
        options = {"viewport": {"width": 1280, "height": 800}, **options}
        contexts.append(browser.new_context(**options))
        page = contexts[-1].new_page()
        page.set_default_timeout(1000 * PATIENCE)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        if script:
            page.add_init_script(script)
        page.goto(address)
        if not wait_for_world:
            return page
        expect(page.locator("#begin")).to_be_enabled()
        page.evaluate("document.querySelectorAll('details').forEach((fold) => (fold.open = true))")
        if begin:
            page.click("#begin")
            wait(page, "Number(picture.dataset.index) > 2")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not errors


@pytest.fixture
def process(tmp_path):
    """An app in a process of its own that may open 256 files; it may not write a word to its log."""
    if sys.platform != "linux":
        pytest.skip("looks into /proc")
    bounds.raise_file_limit()  # this process holds the other ends
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path / "log"
    command = f"ulimit -n 256; exec '{sys.executable}' -m tests.apps.toy {port} {Process.WAIT_S}"
    with open(log, "wb") as file:
        served = Process(port, subprocess.Popen(["bash", "-c", command], stdout=file, stderr=file), log)
    for _ in range(200):
        with suppress(OSError), urllib.request.urlopen(served.address) as answer:
            answer.read()
            break
        time.sleep(0.1)
    time.sleep(0.3)  # its last file is open, the socket of this request closed
    yield served
    served.process.send_signal(signal.SIGTERM)
    served.process.wait(10)
    assert log.read_text() == ""
