"""A page for a model that reads and writes any modality: a sentence becomes a scene with its sound, a picture words.

One thread has the model. Requests are answered in turn, and no more than WAITING of them wait.
"""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

import mlxworld

from ..play.app import SHARED, going_on, route_of, sweep
from ..play.connections import Connections
from ..play.safety import Guard

STATIC = Path(__file__).parent / "static"
WAITING = 8  # requests
LONGEST_TEXT, LARGEST_PICTURE = 4096, 16 << 20  # bytes
HARDLY = 1000  # steps, below which a model has learnt next to nothing


class Refusal(Exception):
    """What is wrong with a request: a status and a line."""

    def __init__(self, status: int, line: str):
        super().__init__(line)
        self.status = status


def create_app(load: Callable[[], "mlxworld.Translator"]) -> Starlette:
    """The app around a model, which is loaded now. Raises MlxworldError where it cannot be."""
    thread, connections = ThreadPoolExecutor(1, "model"), Connections()
    try:
        translator = thread.submit(load).result()
    except BaseException:
        thread.shutdown()
        raise
    waiting = 0

    async def on_thread(work: Callable[[], dict]) -> dict:
        nonlocal waiting
        if waiting >= WAITING:
            raise Refusal(503, "the model is busy: try again in a moment")
        waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(thread, work)
        finally:
            waiting -= 1

    def answer(work: Callable[[bytes], dict], most: int) -> Callable:
        async def endpoint(request: Request) -> Response:
            try:
                return JSONResponse(await on_thread(partial(work, await _body(request, most))))
            except Refusal as error:
                return JSONResponse({"error": str(error)}, error.status)
            except mlxworld.MlxworldError as error:
                return JSONResponse({"error": str(error)}, 422)

        return endpoint

    async def give_about(request: Request) -> Response:
        return JSONResponse(about(translator))

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with going_on(sweep(connections)):
            yield
        thread.shutdown()

    routes = [
        Route("/about", give_about),
        Route("/scene", answer(partial(scene, translator), LONGEST_TEXT), methods=["POST"]),
        Route("/words", answer(partial(words, translator), LARGEST_PICTURE), methods=["POST"]),
        Route("/example", answer(partial(example, translator), LONGEST_TEXT), methods=["POST"]),
        *map(route_of, (*SHARED, *sorted(STATIC.iterdir()))),
    ]
    app = Starlette(routes=routes, middleware=[Middleware(Guard, connections=connections)], lifespan=lifespan)
    app.state.connections = connections
    return app


def about(translator: "mlxworld.Translator") -> dict[str, Any]:
    """What the page says of the model: plainly, if it knows nothing yet."""
    steps, source = translator.steps, translator.learnt_from
    if not steps:
        line = "This model is untrained: what it makes is noise."
    elif steps < HARDLY:
        line = f"This model has hardly been trained ({steps:,} steps, on {source}): expect noise."
    else:
        line = f"Trained for {steps:,} steps on {source}. Of anything else it knows nothing."
    example = translator.example(0)
    return {"name": translator.name, "line": line, "trained": steps >= HARDLY, "example": example and example[0]}


def scene(translator: "mlxworld.Translator", body: bytes) -> dict[str, Any]:
    """A text (UTF-8) as a picture, the frames of a video one below another, and a sound."""
    text = body.decode("utf-8", "replace").strip()
    if not text:
        raise Refusal(422, "there is no text")
    video, sound = translator(text, "video"), translator(text, "audio")
    strip = np.concatenate(list(video))
    files = {"picture": translator(text, "image"), "strip": strip, "sound": sound}
    peak = float(np.abs(sound).max())
    return {n: _coded(translator.file(x)) for n, x in files.items()} | {
        "frames": len(video),
        "fps": translator.config.fps,
        "peak": peak,
    }


def words(translator: "mlxworld.Translator", body: bytes) -> dict[str, Any]:
    """A picture's file as the model sees it, and what it says of it."""
    picture = translator.look(body)
    return {"text": translator(picture, "text"), "seen": _coded(translator.file(picture))}


def example(translator: "mlxworld.Translator", body: bytes) -> dict[str, Any]:
    """A picture that the model never learnt from, what it says of it, and what is so. body: its number, in JSON."""
    try:
        number = json.loads(body)
    except ValueError:
        number = None
    if type(number) is not int or not 0 <= number < 1 << 20:
        raise Refusal(422, "an example has a number")
    if (made := translator.example(number)) is None:
        raise Refusal(404, "there are no examples for what this model was taught")
    text, picture = made
    return {"text": translator(picture, "text"), "seen": _coded(translator.file(picture)), "truth": text}


async def _body(request: Request, most: int) -> bytes:
    """What was posted. Raises Refusal for more than so many bytes."""
    parts, count = [], 0
    async for part in request.stream():
        count += len(part)
        if count > most:
            raise Refusal(413, f"at most {most:,} bytes are read")
        parts.append(part)
    return b"".join(parts)


def _coded(blob: bytes) -> str:
    return base64.b64encode(blob).decode()
