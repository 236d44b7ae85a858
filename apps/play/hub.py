"""The pages that look at the game: what each is sent, who has the controls, and what a page may ask for."""

import asyncio
import logging
from contextlib import suppress
from time import monotonic
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect

from . import wire
from .connections import Connections
from .game import Game
from .outbox import Outbox
from .safety import Bucket, peer

LOG = logging.getLogger(__name__)
MAX_PAGES = 16
IN_FLIGHT = 8
"""Frames sent to a page and not yet seen by it: more are held back, and the oldest dropped: a slow page stays live."""
MAX_BAD = 100
"""Malformed or too frequent messages that a page may send before its socket is closed."""
SEND_S = 60.0
"""Seconds in which a page must have read what is sent to it, or its connection ends."""
WEIGHT = 16 * 1024
"""Characters of a message that count as one more message."""
LONGEST = 2 * wire.MAX_MESSAGE
"""Longest message, in characters or bytes, that is answered; a longer one ends the socket."""
PAGES_CLOSE = 1013, f"{MAX_PAGES} pages are open: close one"
LONG_CLOSE = 1009, "message too long"
MALFORMED_CLOSE = 1008, "too many malformed messages"
GONE = (WebSocketDisconnect, RuntimeError)
"""What sending raises once a socket is closed, by the page or by the server."""


class Client:
    """One page: what waits to be sent to it, and how it behaves."""

    def __init__(self, socket: WebSocket):
        self.socket = socket
        self.outbox = Outbox()
        self.wake = asyncio.Event()
        self.sent = self.seen = 0
        self.bad = 0
        self.bucket = Bucket(rate=240, burst=480, at=monotonic())

    def post(self, message: dict | bytes) -> None:
        """Queue a message or a frame."""
        self.outbox.post(message)
        self.wake.set()

    async def send_forever(self) -> None:
        """Send what is queued, at the pace of the page, until its socket is closed. Raises TimeoutError where the page
        reads nothing for SEND_S seconds."""
        with suppress(*GONE):
            while True:
                await self.wake.wait()
                self.wake.clear()
                while (message := self.outbox.pop(frames=self.sent - self.seen < IN_FLIGHT)) is not None:
                    async with asyncio.timeout(SEND_S):
                        await self._send(message)

    async def _send(self, message: str | bytes) -> None:
        if isinstance(message, str):
            await self.socket.send_text(message)
            return
        self.sent += wire.kind_of(message)[0] == wire.FRAME
        await self.socket.send_bytes(message)


class Hub:
    """All pages that look at the game. The first has the controls; the others watch, and may take them."""

    def __init__(self, game: Game, connections: Connections, wide: bool = False):
        """wide: whether other machines can come."""
        self.game, self.wide = game, wide
        self.connections = connections
        self.clients: list[Client] = []
        self.holder: Client | None = None
        self.loading: dict | None = None  # the message of the world that is being loaded

    def bind(self, loop: asyncio.AbstractEventLoop) -> None:
        """Let the model thread reach the pages through `loop`, for as long as it runs."""

        def emit(target: Any, message: dict | bytes) -> None:
            with suppress(RuntimeError):  # the loop is closed: the app ends while the model is at work
                loop.call_soon_threadsafe(self.post, target, message)

        self.game.emit = emit

    def post(self, target: Client | None, message: dict | bytes) -> None:
        """Queue a message for one page, or for all (None)."""
        if isinstance(message, dict) and message["type"] in ("loading", "world"):
            self.loading = message if message["type"] == "loading" else None
        for client in self.clients if target is None else [target]:
            client.post(message)

    def give(self, client: Client | None) -> None:
        """Hand the controls over and tell every page."""
        if client is not self.holder:
            self.game.keys.clear()
        self.holder = client
        for each in self.clients:
            each.post({"type": "control", "mine": each is client, "pages": len(self.clients), "wide": self.wide})

    async def serve(self, socket: WebSocket) -> None:
        """Talk to one page until it goes."""
        await socket.accept()
        if len(self.clients) >= MAX_PAGES:
            with suppress(*GONE):
                await socket.close(*PAGES_CLOSE)
            return
        self.connections.serve(peer(socket.scope))
        client = Client(socket)
        self.clients.append(client)
        self.give(self.holder or client)
        if self.loading:
            client.post(self.loading)
        self.submit({"type": "hello"}, client)
        sender = asyncio.create_task(client.send_forever())
        sender.add_done_callback(lambda task: self._sender_ended(client, task))
        try:
            await self._listen(client, sender)
        finally:
            self.clients.remove(client)
            self.game.forget(client)
            self.give((self.clients or [None])[0] if client is self.holder else self.holder)
            if not self.clients:
                self.submit({"type": "alone"}, client)
            sender.cancel()
            await asyncio.wait([sender])

    async def _listen(self, client: Client, sender: asyncio.Task) -> None:
        refused = None
        while (message := await client.socket.receive())["type"] != "websocket.disconnect":
            if refused:  # only read on until the page has gone
                continue
            text = message.get("text")
            if len(text or message.get("bytes") or "") > LONGEST:
                refused = LONG_CLOSE
            else:
                self.hear(client, text)
                refused = MALFORMED_CLOSE if client.bad >= MAX_BAD else None
            if refused:
                sender.cancel()
                with suppress(*GONE):
                    await client.socket.close(*refused)

    def _sender_ended(self, client: Client, task: asyncio.Task) -> None:
        """A page that cannot be sent to any more is not listened to either."""
        if task.cancelled():
            return
        if (error := task.exception()) is None:
            self.connections.wait(peer(client.socket.scope))  # it is being closed, unless the page does not answer
            return
        if not isinstance(error, TimeoutError):
            LOG.error("a page could not be sent to", exc_info=error)
        self.connections.drop(peer(client.socket.scope))

    def hear(self, client: Client, text: str | None) -> None:
        """Act on one message; what is wrong with it is answered and counted."""
        try:
            if not client.bucket.take(monotonic(), 1 + len(text or "") // WEIGHT):
                raise wire.BadMessage("too many messages")
            if text is None:
                raise wire.BadMessage("binary message: commands are JSON text")
            self.obey(client, wire.parse(text))
        except wire.BadMessage as error:
            client.bad += 1
            client.post(wire.error(error, bad=client.bad))

    def obey(self, client: Client, command: dict) -> None:
        """Carry out a command that `wire.parse` has checked. Raises BadMessage for an action that there is not."""
        if command["type"] == "seen":
            if client.seen < client.sent:  # the answer to a frame, as often as the world has frames
                client.seen += 1
                client.bucket.give_back()
            client.wake.set()
        elif command["type"] == "take":
            self.give(client)
        elif command["type"] in ("log", "film"):
            self.submit(command, client)
        elif client is not self.holder:
            client.post(wire.error("another page has the controls: take them first"))
        elif command["type"] == "act":
            self.game.keys.press(command["action"], command["stamp"])
        else:
            self.submit(command, client)

    def submit(self, command: dict, client: Client) -> None:
        """Hand a command to the game, or say that too many wait."""
        if not self.game.submit(command, client):
            client.post(wire.error("the world is busy: try again in a moment"))
