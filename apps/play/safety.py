"""Who may talk to the app: Host, Origin and token checks, response headers, and a rate limit."""

import hmac
from urllib.parse import parse_qs, urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOOPBACK = ("127.0.0.1", "localhost", "::1")
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
GUARDED = ("/", "/socket")


class Guard:
    """ASGI middleware around the whole app.

    Without a token (bound to the loopback) the Host must name the loopback: a foreign page that rebinds its DNS name
    to 127.0.0.1 is refused. With a token (bound wider) any Host may be used, and the page and the socket ask for the
    token. A socket must come from a page of the same host: its Origin is checked on every handshake.
    """

    def __init__(self, app: ASGIApp, token: str | None = None):
        self.app = app
        self.token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await self.app(scope, receive, send)
        if refusal := self.refusal(scope):
            return await _refuse(scope, receive, send, refusal)

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), *HEADERS]
            await send(message)

        await self.app(scope, receive, with_headers)

    def refusal(self, scope: Scope) -> str | None:
        """Why this request is not served, in one line; None where it is."""
        headers = scope["headers"]
        host = _header(headers, b"host")
        if self.token is None and hostname(host) not in LOOPBACK:
            return "Host is not this machine"
        if scope["type"] == "websocket" and urlsplit(_header(headers, b"origin")).netloc != host:
            return "Origin is not the page of this app"
        if self.token is not None and scope["path"] in GUARDED:
            given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
            if not hmac.compare_digest(given.encode(), self.token.encode()):
                return "the address needs its token: open the one that the app printed when it started"
        return None


def hostname(host: str) -> str | None:
    """The name in a Host header, without the port; None where it is malformed."""
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None


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

    def __init__(self, rate: float, burst: float, now: float):
        self.rate, self.burst = rate, burst
        self._left, self._at = burst, now

    def take(self, now: float) -> bool:
        """Whether one more message may pass at time `now` (seconds)."""
        self._left = min(self.burst, self._left + (now - self._at) * self.rate)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True
