"""An app on a free port of the loopback, in a thread, as `mlxworld` itself serves it."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from starlette.applications import Starlette

from apps.play.__main__ import bind, make_server


@contextmanager
def running(app: Starlette) -> Iterator[int]:
    """Its port, until the block ends."""
    listener, server = bind("127.0.0.1", 0), make_server(app)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(10)
        listener.close()
        assert not thread.is_alive()
