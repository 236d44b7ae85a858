"""`mlxworld play --world pong`: serves the page and prints its address."""

import errno
import functools
import logging
import secrets
import socket
import sys
import threading
import time
import webbrowser
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro
import uvicorn
from starlette.applications import Starlette

import mlxworld
from mlxworld import MlxworldError
from mlxworld.cli import entry

from ..tell import app as tell
from .address import network_address, qr_text
from .app import create_app
from .connections import Listener
from .game import Choice
from .hub import LONGEST
from .safety import is_loopback


@dataclass(frozen=True)
class Options:
    """Play inside a world in the browser, with sound."""

    world: str = "pong"
    """Name of a shipped world, a run folder, or a .mlpackage."""
    backend: Literal["mlx", "torch", "coreml"] | None = None
    """Where the model runs; default: the best one installed, Core ML for a .mlpackage."""
    steps: int | None = None
    """Denoising passes a frame; default: the world's own."""
    precision: Literal["float32", "float16", "bfloat16"] | None = None
    """Number format of the model; default: the best one of the device."""
    weights: Literal["int8", "int4", "mxfp8"] | None = None
    """Quantised weights, in every world that is loaded; default: as the world has them."""
    hook: tuple[Path, ...] = ()
    """Latent hooks, files that `mlxworld train --hook` wrote, which join every world that is loaded."""
    host: str = "127.0.0.1"
    """Address to listen on. On anything but the loopback the page asks for the random token in the printed address."""
    port: int = 7860
    """Port to listen on; 0 takes a free one."""
    open: bool = False
    """Open the page in the browser."""
    folder: Path = Path("~/.mlxworld")
    """Where moments and recordings are kept."""
    runs: Path = Path("runs")
    """Folder of trainings: their worlds can be chosen as well, while they train, too."""


def main(argv: list[str] | None = None) -> None:
    """Load the world and serve the page until Ctrl-C."""
    options = tyro.cli(Options, args=argv, prog="mlxworld play")
    with bind(options.host, options.port) as listener:
        token = None if is_loopback(options.host) else secrets.token_urlsafe(16)
        if mlxworld.is_translator(options.world):
            return serve(telling(options, token is None), listener, page_address(listener, token), options.open)
        choice = Choice(options.world, options.backend, options.steps, options.precision)
        print(f"loading {options.world} ...", flush=True)
        load = functools.partial(mlxworld.World.load, weights=options.weights, hooks=options.hook)
        backends = mlxworld.installed()
        places = {"folder": options.folder.expanduser(), "runs": functools.partial(mlxworld.runs, options.runs)}
        address = page_address(listener, token)
        wide = address if token else None
        app = create_app(load, choice, worlds=mlxworld.worlds(), backends=backends, token=token, wide=wide, **places)
        serve(app, listener, address, options.open, qr_text(wide) if wide and sys.stdout.isatty() else "")


def telling(options: Options, loopback: bool) -> Starlette:
    """The page for a model that reads and writes any modality. Raises MlxworldError for flags of worlds alone."""
    if not loopback:
        raise MlxworldError(f"{options.world} is no world: its page is served on the loopback alone")
    if options.steps is not None or options.weights is not None:
        raise MlxworldError(f"{options.world} is no world: it has no --steps and no --weights")
    print(f"loading {options.world} ...", flush=True)
    arguments = options.world, options.backend, options.precision, options.hook
    return tell.create_app(functools.partial(mlxworld.Translator.load, *arguments))


def serve(app: Starlette, listener: Listener, address: str, opened: bool, code: str = "", verb: str = "play") -> None:
    """Serve until Ctrl-C; the address is printed, and a picture of it (`code`, where it is not empty)."""
    print(f"{verb} at {address}\nCtrl-C ends it", flush=True)
    if code:
        print(code)
    server = make_server(app)
    if opened:
        threading.Thread(target=open_page, args=(server, address), daemon=True).start()
    server.run(sockets=[listener])


def bind(host: str, port: int) -> Listener:
    """A listening socket. Raises MlxworldError, with one line, where the address cannot be had."""
    if not 0 <= port < 65536:
        raise MlxworldError(f"port {port} is not between 0 and 65535")
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except (socket.gaierror, UnicodeError) as error:
        raise MlxworldError(f"unknown host {host!r}: choose an address of this machine with --host") from error
    listener = Listener(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
        listener.listen(128)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise MlxworldError(f"port {port} on {host} is in use: choose another one with --port") from error
        raise MlxworldError(f"cannot listen on {host} port {port}: {error}") from error
    return listener


def page_address(listener: socket.socket, token: str | None) -> str:
    """The address to open in the browser."""
    host, port = listener.getsockname()[:2]
    if host in ("0.0.0.0", "::"):
        host = network_address()
    host = f"[{host}]" if ":" in host else host
    return f"http://{host}:{port}/" + (f"?token={token}" if token else "")


class Server(uvicorn.Server):
    """uvicorn whose listeners keep the app's connections within bounds."""

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve on these listening sockets until the end."""
        for listener in sockets or []:
            if isinstance(listener, Listener):
                listener.connections = self.config.app.state.connections  # type: ignore[union-attr]
        await super().serve(sockets)


def make_server(app: Starlette) -> uvicorn.Server:
    """uvicorn as the app needs it: frames are not compressed, no page can hold up the end, and nothing that a page
    does or sends is worth a line of the server's own log (the app logs what fails in it)."""
    logging.getLogger("asyncio").setLevel(logging.ERROR)
    config = uvicorn.Config(
        app,
        loop="asyncio",
        http="h11",
        log_level="critical",
        access_log=False,
        backlog=128,
        ws_max_size=4 * LONGEST,  # the hub ends a socket in good order below this
        ws_per_message_deflate=False,
        timeout_graceful_shutdown=1,
    )
    return Server(config)


def open_page(server: uvicorn.Server, address: str) -> None:
    """Open the browser once the server answers."""
    while not server.started:
        time.sleep(0.05)
    webbrowser.open(address)


if __name__ == "__main__":
    entry(main)
