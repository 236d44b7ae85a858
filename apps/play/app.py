"""The network side of the play app: one page, one socket. Joins pages to the game; the model never waits for it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute

import mlxworld

from .connections import Connections
from .game import Choice, Game
from .hub import Hub
from .safety import Guard

STATIC = Path(__file__).parent / "static"
MEDIA = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
SWEEP_S = 0.5


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
    game, connections = Game(load, worlds, backends, choice), Connections()
    hub = Hub(game, connections)
    game.start()

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        hub.bind(asyncio.get_running_loop())
        sweeper = asyncio.create_task(sweep(connections))
        yield
        sweeper.cancel()
        with suppress(asyncio.CancelledError):
            await sweeper
        await asyncio.to_thread(game.stop)

    routes = [WebSocketRoute("/socket", hub.serve), *(_file(path) for path in sorted(STATIC.iterdir()))]
    guard = Middleware(Guard, token=token, connections=connections)
    app = Starlette(routes=routes, middleware=[guard], lifespan=lifespan)
    app.state.game, app.state.connections = game, connections
    return app


async def sweep(connections: Connections) -> None:
    """Close overdue connections until cancelled."""
    while True:
        await asyncio.sleep(SWEEP_S)
        connections.sweep()


def _file(path: Path) -> Route:
    """A route for one file of the page, read once: no request ever reaches the file system."""
    body, media = path.read_bytes(), MEDIA[path.suffix]

    async def answer(request) -> Response:
        return Response(body, media_type=media)

    return Route("/" if path.name == "index.html" else f"/{path.name}", answer)
