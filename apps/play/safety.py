"""Who may talk to the app: Host, Origin and token checks, response headers, and a rate limit."""

import hmac
import ipaddress
import logging
import re
from urllib.parse import parse_qs

from h11 import LocalProtocolError
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .connections import Connections

LOG = logging.getLogger(__name__)
HOST = re.compile(
    r"(?:\[(?P<address>[0-9a-f:.]+)\]|(?P<name>[\w.-]+))(?::(?P<port>\d{1,5}))?", re.ASCII | re.IGNORECASE
)
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data: blob:; "
    "media-src 'self' blob:; worker-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = [
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-cache"),
]
GUARDED = ("/", "/socket", "/qr.svg")


class Guard:
    """ASGI middleware around the whole app.

    Without a token (bound to the loopback) the Host must name the loopback: a foreign page that rebinds its DNS name
    to 127.0.0.1 is refused. With a token (bound wider) any Host may be used, and the page and the socket ask for the
    token. A socket must come from a page of the same host, and so must a POST: their Origin is checked. `connections`
    learns which connections have had their answer. What fails in the app is logged here, and the server is not told.
    """

    def __init__(self, app: ASGIApp, token: str | None = None, connections: Connections | None = None):
        self.app = app
        self.token = token
        self.connections = Connections() if connections is None else connections

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await self.app(scope, receive, send)
        if refusal := self.refusal(scope):
            return await _refuse(scope, receive, send, refusal)

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), *HEADERS]
            await send(message)

        try:
            await self.app(scope, receive, with_headers)
        except LocalProtocolError:  # the rest of the request was malformed, and the server has answered that
            self.connections.drop(peer(scope))
        except Exception:
            LOG.exception("%s %s failed", scope["type"], scope["path"])
            self.connections.drop(peer(scope))
        finally:
            self.connections.wait(peer(scope))

    def refusal(self, scope: Scope) -> str | None:
        """Why this request is not served, in one line; None where it is."""
        headers = scope["headers"]
        host = _header(headers, b"host")
        name = hostname(host)
        if name is None:
            return "Host is missing or malformed"
        if self.token is None and not is_loopback(name):
            return "Host is not this machine"
        origin = _header(headers, b"origin").lower()
        if (scope["type"] == "websocket" or scope["method"] == "POST") and origin not in (
            f"http://{host.lower()}",
            f"https://{host.lower()}",
        ):
            return "Origin is not the page of this app"
        if self.token is not None and (scope["path"] in GUARDED or scope["path"].startswith("/film/")):
            sent = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
            if not hmac.compare_digest(sent.encode(), self.token.encode()):
                return "the address needs its token: open the one that the app printed when it started"
        return None


def hostname(host: str) -> str | None:
    """The name in a Host header in small letters, without the port; None where it is malformed."""
    parts = HOST.fullmatch(host)
    if parts is None or not 0 < int(parts["port"] or 80) < 65536:
        return None
    return (parts["name"] or parts["address"]).lower()


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`, an address or a name."""
    try:
        return host.lower() == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def peer(scope: Scope) -> tuple[str, int] | None:
    """Address and port of the other end of a request's connection."""
    return scope["client"] and tuple(scope["client"])


def _header(headers: list[tuple[bytes, bytes]], name: bytes) -> str:
    values = [value for key, value in headers if key == name]
    return values[0].decode("latin-1") if len(values) == 1 else ""


async def _refuse(scope: Scope, receive: Receive, send: Send, why: str) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1008, "reason": why})
        return
    head = [(b"content-type", b"text/plain; charset=utf-8"), *HEADERS]
    await send({"type": "http.response.start", "status": 403, "headers": head})
    await send({"type": "http.response.body", "body": f"{why}\n".encode()})


class Bucket:
    """Token bucket: `rate` messages a second on average, `burst` at once."""

    def __init__(self, rate: float, burst: float, at: float):
        self.rate, self.burst = rate, burst
        self._left, self._at = burst, at

    def take(self, at: float, weight: float = 1) -> bool:
        """Whether a message that counts as `weight` of them may pass at time `at` (seconds)."""
        self._left = min(self.burst, self._left + (at - self._at) * self.rate)
        self._at = at
        if self._left < weight:
            return False
        self._left -= weight
        return True

    def give_back(self, weight: float = 1) -> None:
        """A message that counted as `weight` was one that had been asked for."""
        self._left = min(self.burst, self._left + weight)
