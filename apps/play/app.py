"""The network side of the play app: one page, one socket. Joins pages to the game; the model never waits for it."""

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from time import monotonic

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

import mlxworld

from . import wire
from .game import Choice, Game
from .safety import Bucket, Guard

STATIC = Path(__file__).parent / "static"
MEDIA = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
IN_FLIGHT = 8
"""Frames sent to a page and not yet seen by it: more are held back, and the oldest dropped: a slow page stays live."""
MAX_BAD = 100
"""Malformed or too frequent messages that a page may send before its socket is closed."""


class Client:
    """One page: what waits to be sent to it, and how it behaves."""

    def __init__(self, socket: WebSocket):
        self.socket = socket
        self.frames: deque[bytes] = deque(maxlen=4)
        self.notes: deque[bytes | str] = deque(maxlen=64)
        self.wake = asyncio.Event()
        self.sent = self.seen = 0
        self.bad = 0
        self.bucket = Bucket(rate=240, burst=480, now=monotonic())

    def post(self, message: dict | bytes) -> None:
        """Queue a message: frames may be dropped for newer ones, everything else is kept in order."""
        if isinstance(message, dict):
            self.notes.append(json.dumps(message))
        elif message[0] == wire.FRAME:
            self.frames.append(message)
        else:
            self.notes.append(message)
        self.wake.set()

    async def send_forever(self) -> None:
        """Send what is queued, notes first, at the pace of the page."""
        while True:
            await self.wake.wait()
            self.wake.clear()
            while self.notes or (self.frames and self.sent - self.seen < IN_FLIGHT):
                message = self.notes.popleft() if self.notes else self.frames.popleft()
                if isinstance(message, str):
                    await self.socket.send_text(message)
                    continue
                if message[0] == wire.FRAME:
                    self.sent += 1
                await self.socket.send_bytes(message)


class Hub:
    """All pages that look at the game. The first has the controls; the others watch, and may take them."""

    def __init__(self, game: Game):
        self.game = game
        self.clients: list[Client] = []
        self.holder: Client | None = None

    def bind(self, loop: asyncio.AbstractEventLoop) -> None:
        """Let the model thread reach the pages through `loop`."""
        self.game.emit = lambda target, message: loop.call_soon_threadsafe(self.post, target, message)

    def post(self, target: Client | None, message: dict | bytes) -> None:
        for client in self.clients if target is None else [target]:
            client.post(message)

    def give(self, client: Client | None) -> None:
        """Hand the controls over and tell every page."""
        if client is not self.holder:
            self.game.keys.clear()
        self.holder = client
        for each in self.clients:
            each.post({"type": "control", "mine": each is client, "pages": len(self.clients)})

    async def serve(self, socket: WebSocket) -> None:
        """Talk to one page until it goes."""
        await socket.accept()
        client = Client(socket)
        self.clients.append(client)
        self.give(self.holder or client)
        self.submit({"type": "hello"}, client)
        sender = asyncio.create_task(client.send_forever())
        refused = False
        try:
            while (message := await socket.receive())["type"] != "websocket.disconnect":
                if client.bad < MAX_BAD:
                    self.hear(client, message.get("text"))
                elif not refused:  # then only read on until it has gone
                    refused = True
                    sender.cancel()
                    with suppress(WebSocketDisconnect):
                        await socket.close(1008, "too many malformed messages")
        finally:
            self.clients.remove(client)
            self.give((self.clients or [None])[0] if client is self.holder else self.holder)
            if not self.clients:
                self.submit({"type": "alone"}, client)
            sender.cancel()
            with suppress(asyncio.CancelledError, WebSocketDisconnect):
                await sender

    def hear(self, client: Client, text: str | None) -> None:
        """Act on one message; what is wrong with it is answered and counted."""
        try:
            if not client.bucket.take(monotonic()):
                raise wire.BadMessage("too many messages")
            if text is None:
                raise wire.BadMessage("binary message: commands are JSON text")
            self.obey(client, wire.parse(text))
        except wire.BadMessage as error:
            client.bad += 1
            client.post({"type": "error", "text": str(error), "bad": client.bad})

    def obey(self, client: Client, command: dict) -> None:
        if command["type"] == "seen":
            client.seen = min(client.sent, client.seen + 1)
            client.wake.set()
        elif command["type"] == "take":
            self.give(client)
        elif command["type"] == "log":
            self.submit(command, client)
        elif client is not self.holder:
            client.post({"type": "error", "text": "another page has the controls: take them first"})
        elif command["type"] == "act":
            self.game.keys.press(command["action"], command["stamp"])
        else:
            self.submit(command, client)

    def submit(self, command: dict, client: Client) -> None:
        if not self.game.submit(command, client):
            client.post({"type": "error", "text": "the world is busy: try again in a moment"})


def create_app(
    load: Callable[..., "mlxworld.World"],
    choice: Choice,
    *,
    worlds: list[str],
    backends: list[str],
    token: str | None = None,
) -> Starlette:
    """The app around a game, its world already loaded. `load` is World.load or what stands in for it.

    `worlds` and `backends` are the names that the page may choose from. Raises MlxworldError where the world cannot be
    loaded. The model thread ends with the app's lifespan.
    """
    game = Game(load, worlds, backends, choice)
    hub = Hub(game)
    game.start()

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        hub.bind(asyncio.get_running_loop())
        yield
        await asyncio.to_thread(game.stop)

    routes = [WebSocketRoute("/socket", hub.serve), *(_file(path) for path in sorted(STATIC.iterdir()))]
    app = Starlette(routes=routes, middleware=[Middleware(Guard, token=token)], lifespan=lifespan)
    app.state.game = game
    return app


def _file(path: Path) -> Route:
    """A route for one file of the page, read now: no request ever reaches the file system."""
    body, media = path.read_bytes(), MEDIA[path.suffix]

    async def answer(request) -> Response:
        return Response(body, media_type=media)

    return Route("/" if path.name == "index.html" else f"/{path.name}", answer)
