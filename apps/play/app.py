"""The network side of the play app: one page, one socket. Joins pages to the game; the model never waits for it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route, WebSocketRoute

import mlxworld

from .address import qr_svg
from .connections import Connections
from .game import Choice, Game
from .hub import Hub
from .safety import Guard

STATIC = Path(__file__).parent / "static"
SHARED = (STATIC / "icon.svg", STATIC / "palette.css")  # by all pages of the package
MEDIA = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
FILM = "video/mp4"
SWEEP_S = 0.5
LOOK_S = 3.0


def create_app(
    load: Callable[..., "mlxworld.World"],
    choice: Choice,
    *,
    worlds: list[str],
    backends: list[str],
    token: str | None = None,
    folder: Path | None = None,
    runs: Callable[[], list[str]] = list,
    wide: str | None = None,
) -> Starlette:
    """The app around a game, its world already loaded. `load` is World.load or what stands in for it.

    `worlds` and `backends` are the names that the page may choose from, `runs` finds the run folders beside them.
    Moments and recordings are kept in `folder`; without one they go with the app. `wide` is the address of the page for
    other machines, where they can come. Raises MlxworldError where the world
    cannot be loaded. The model thread ends with the app's lifespan.
    """
    game, connections = Game(load, worlds, backends, choice, folder, runs), Connections()
    hub = Hub(game, connections, wide is not None)
    game.start()

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        hub.bind(asyncio.get_running_loop())
        async with going_on(sweep(connections), look(game)):
            yield
        await asyncio.to_thread(game.stop)

    async def give_film(request: Request) -> Response:
        name, film = game.films.get(request.path_params["ident"]) or ("", None)
        if film is None:
            return Response("this film is no longer kept\n", 404)
        headers = {"content-disposition": f'attachment; filename="{name}"'}
        if isinstance(film, Path):
            return FileResponse(film, media_type=FILM, headers=headers)
        return Response(film, media_type=FILM, headers=headers)

    films = Route("/film/{ident}", give_film)
    code = [Route("/qr.svg", answer_with(qr_svg(wide), MEDIA[".svg"]))] if wide else []
    routes = [WebSocketRoute("/socket", hub.serve), films, *code, *map(route_of, sorted(STATIC.iterdir()))]
    guard = Middleware(Guard, token=token, connections=connections)
    app = Starlette(routes=routes, middleware=[guard], lifespan=lifespan)
    app.state.game, app.state.connections = game, connections
    return app


@asynccontextmanager
async def going_on(*endless: Coroutine) -> AsyncIterator[None]:
    """While it lasts, these go on beside."""
    tasks = [asyncio.create_task(one) for one in endless]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def sweep(connections: Connections) -> None:
    """Close overdue connections until cancelled."""
    while True:
        await asyncio.sleep(SWEEP_S)
        connections.sweep()


async def look(game: Game) -> None:
    """Have the game look at the folders of its worlds now and then, until cancelled."""
    while True:
        await asyncio.sleep(LOOK_S)
        game.submit({"type": "look"})


def route_of(path: Path) -> Route:
    """A route for one file of the page, read once: no request ever reaches the file system."""
    answer = answer_with(path.read_bytes(), MEDIA[path.suffix])
    return Route("/" if path.name == "index.html" else f"/{path.name}", answer)


def answer_with(body: bytes, media: str) -> Callable:
    """An endpoint that always gives this."""

    async def answer(request: Request) -> Response:
        return Response(body, media_type=media)

    return answer
