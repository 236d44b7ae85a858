"""The page and its one question: POST /ask answers as text, piece by piece. One answer at a time."""

import base64
import binascii
import json
import threading
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

from starlette.applications import Starlette
from starlette.concurrency import iterate_in_threadpool, run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from mlxworld import MlxworldError

from ..play.__main__ import bind, page_address, serve
from ..play.app import SHARED, answer_with, going_on, route_of, sweep
from ..play.connections import Connections
from ..play.safety import Guard

STATIC = Path(__file__).parent / "static"
MOST_BYTES = 64 << 20  # of a question with its pictures
TALKS = 8  # that are remembered: one a page


class Talk(Protocol):
    """What was said with one page."""

    def ask(self, question: str, pictures: Sequence[bytes]) -> Iterator[str]:
        """The answer, piece by piece. Raises MlxworldError, at the first piece, for what cannot be answered."""
        ...


class Refused(Exception):
    """A request that is not answered: its status, and why in one line."""

    def __init__(self, status: int, why: str):
        super().__init__(why)
        self.status = status


def create_app(begin: Callable[[], Talk], name: str, token: str | None = None) -> Starlette:
    """begin: a new talk with the model called `name`. token: see `Guard`."""
    talks: OrderedDict[str, Talk] = OrderedDict()
    answering, connections = threading.Lock(), Connections()

    async def ask(request: Request) -> Response:
        try:
            talk, question, pictures = await _read(request)
        except Refused as refusal:
            return Response(f"{refusal}\n", refusal.status)
        if not answering.acquire(blocking=False):
            return Response("the model is answering already: wait, or stop it\n", 409)
        if talk not in talks:
            talks[talk] = begin()
        talks.move_to_end(talk)
        while len(talks) > TALKS:
            talks.popitem(last=False)
        pieces = talks[talk].ask(question, pictures)
        try:
            first = await run_in_threadpool(next, pieces, "")
        except MlxworldError as error:
            answering.release()
            return Response(f"{error}\n", 400)
        except BaseException:
            answering.release()
            raise
        return StreamingResponse(_sent(first, pieces, answering), media_type="text/plain; charset=utf-8")

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with going_on(sweep(connections)):
            yield

    about = answer_with(json.dumps({"model": name}).encode(), "application/json")
    routes = [
        Route("/ask", ask, methods=["POST"]),
        Route("/about", about),
        *map(route_of, (*SHARED, *sorted(STATIC.iterdir()))),
    ]
    app = Starlette(
        routes=routes, middleware=[Middleware(Guard, token=token, connections=connections)], lifespan=lifespan
    )
    app.state.connections = connections
    return app


async def _sent(first: str, pieces: Any, answering: threading.Lock) -> AsyncIterator[str]:
    """An answer; where the page goes away it ends, and the next question may come."""
    try:
        yield first
        async for piece in iterate_in_threadpool(pieces):
            yield piece
    except MlxworldError as error:
        yield f"\n[{error}]"
    finally:
        pieces.close()
        answering.release()


async def _read(request: Request) -> tuple[str, str, list[bytes]]:
    """The talk, the question and the pictures of a request. Raises Refused."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > MOST_BYTES:
            raise Refused(413, f"a question with its pictures takes at most {MOST_BYTES >> 20} MB")
    try:
        asked = json.loads(body)
        talk, question, pictures = asked["talk"], asked["question"], asked["pictures"]
        decoded = [base64.b64decode(picture, validate=True) for picture in pictures]
    except (ValueError, KeyError, TypeError, RecursionError, binascii.Error):
        raise Refused(400, 'a question is {"talk": "...", "question": "...", "pictures": [base64, ...]}') from None
    if not isinstance(talk, str) or len(talk) > 64 or not isinstance(question, str) or not question.strip():
        raise Refused(400, "a question needs words, and the name of its talk")
    return talk, question, decoded


def page(begin: Callable[[], Talk], name: str, port: int, opened: bool) -> None:
    """Serves the page on the loopback until Ctrl-C. opened: in the browser, too."""
    with bind("127.0.0.1", port) as listener:
        serve(create_app(begin, name), listener, page_address(listener, None), opened, verb="ask")
