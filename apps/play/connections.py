"""The TCP connections of the app: how many there may be, and how long one may wait before it asks for something.

A `Listener` accepts them and `Connections` holds them. A connection waits until the app has answered a request on it,
and between two requests; one that waits for longer than WAIT_S is closed, and so is the one that has waited longest
where an address has too many. A page's socket does not wait for as long as it is served.
"""

import errno
import os
import resource
import socket
import time
from collections.abc import Callable
from time import monotonic

WAIT_S = 5.0
"""Seconds that a connection may be open without a whole request."""
PER_ADDRESS = 64
"""Connections of one address: 16 pages, each with its socket and a few files on their way."""
MOST = 512
"""Connections in all, where the system allows as many open files."""
WANTED_FILES = 4096
_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)

Peer = tuple[str, int]


def raise_file_limit() -> int:
    """Raise the limit of open files as far as this process may, to at most WANTED_FILES. Returns the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = WANTED_FILES if hard == resource.RLIM_INFINITY else min(hard, WANTED_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    return WANTED_FILES if soft == resource.RLIM_INFINITY else soft


class Connection(socket.socket):
    """An accepted socket that says when it is closed."""

    on_close: Callable[[], None] | None = None

    def close(self) -> None:
        """As of any socket."""
        super().close()
        if self.on_close is not None:
            self.on_close, on_close = None, self.on_close
            on_close()


class Connections:
    """All open connections by peer (address and port), and since when each of them waits for a request.

    Everything here runs on the thread of the event loop.
    """

    def __init__(self):
        self.most = max(16, min(MOST, raise_file_limit() // 2))
        self._open: dict[Peer, Connection] = {}
        self._waiting: dict[Peer, float] = {}  # the moment by which a request is due; the longest wait is first
        self.crowded = False  # a connection was dropped to make room, and the event loop has yet to close it

    def __len__(self) -> int:
        return len(self._open)

    def admit(self, connection: Connection, peer: Peer) -> bool:
        """Take a new connection in; the one of its address that has waited longest goes where there are too many.

        False where every one of them is at work: the new one is to be closed.
        """
        same = [other for other in self._open if other[0] == peer[0]]
        if len(same) >= PER_ADDRESS and not self._drop_longest(peer[0]):
            return False
        if len(self._open) >= self.most and not self._drop_longest():
            return False
        self._open[peer] = connection
        connection.on_close = lambda: self._forget(peer, connection)
        self.wait(peer)
        return True

    def wait(self, peer: Peer | None) -> None:
        """This connection has nothing to do from now on: its next request is due."""
        if peer in self._open:
            self._waiting.pop(peer, None)
            self._waiting[peer] = monotonic() + WAIT_S

    def serve(self, peer: Peer | None) -> None:
        """This connection is a page's socket from now on and may be silent."""
        self._waiting.pop(peer, None)  # type: ignore[arg-type]

    def drop(self, peer: Peer | None) -> None:
        """End a connection, whatever still waits to be sent on it; the event loop then closes it."""
        if connection := self._open.pop(peer, None):  # type: ignore[arg-type]
            self._waiting.pop(peer, None)  # type: ignore[arg-type]
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:  # the peer has already gone
                return

    def sweep(self) -> None:
        """Drop every connection whose request is overdue."""
        now = monotonic()
        for peer in [peer for peer, due in self._waiting.items() if due < now]:
            self.drop(peer)

    def _drop_longest(self, address: str | None = None) -> bool:
        peer = next((peer for peer in self._waiting if address in (None, peer[0])), None)
        self.drop(peer)
        self.crowded = True
        return peer is not None

    def _forget(self, peer: Peer, connection: Connection) -> None:
        if self._open.get(peer) is connection:
            del self._open[peer]
            self._waiting.pop(peer, None)


class Listener(socket.socket):
    """A listening socket that `connections`, once it is set, keeps within bounds.

    Where no file can be opened any more it gives up a spare one, to accept and close the connection that waits:
    otherwise the event loop would try again at once, for ever.
    """

    connections: Connections | None = None
    _spare: int | None = None

    def accept(self) -> tuple[socket.socket, tuple]:
        """As of any socket; BlockingIOError where nobody waits or the one who does is refused."""
        connections = self.connections
        if connections is None:
            return super().accept()
        if connections.crowded:  # the event loop accepts many at once: it is to close one first
            connections.crowded = False
            raise BlockingIOError
        if self._spare is None:
            self._spare = _open_spare()
        try:
            plain, address = super().accept()
        except OSError as error:
            if error.errno not in _EXHAUSTED:
                raise
            self._refuse()
            raise BlockingIOError from error
        connection = Connection(plain.family, plain.type, plain.proto, fileno=plain.detach())
        if not connections.admit(connection, address[:2]):
            connection.close()
            raise BlockingIOError
        return connection, address

    def close(self) -> None:
        """As of any socket."""
        super().close()
        if self._spare is not None:
            os.close(self._spare)
            self._spare = None

    def _refuse(self) -> None:
        if self._spare is None:
            time.sleep(0.02)  # nothing to give up: the loop may not spin
            return
        os.close(self._spare)
        self._spare = None
        try:
            super().accept()[0].close()
        except OSError:  # whoever waited has gone, or another file was opened meanwhile
            time.sleep(0.02)
        self._spare = _open_spare()


def _open_spare() -> int | None:
    try:
        return os.open(os.devnull, os.O_RDONLY)
    except OSError:
        return None
