"""What pages and strangers do to a real server, in a process of its own that may open 256 files: it stays quiet, keeps
serving others, and gives back what it held for those who went."""

import json
import os
import random
import re
import signal
import socket
import time
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from apps.play import connections as bounds
from apps.play.__main__ import bind
from apps.play.connections import Connections
from apps.play.hub import MAX_PAGES
from apps.play.safety import Guard
from apps.play.wire import COMMANDS

from .test_socket import get, handshake

HEAD = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: "


@contextmanager
def strangers(port: int, number: int, send: bytes):
    """Connections that send these bytes and then nothing."""
    with ExitStack() as stack:
        for _ in range(number):
            one = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=5))
            try:
                one.sendall(send)
            except OSError:  # it was closed for one that came later
                continue
        yield


@pytest.mark.parametrize("send", [b"", HEAD, HEAD + b"1\r\n\r\n" + HEAD], ids=["nothing", "half", "one and a half"])
def test_silent_connections_are_bounded_closed_and_refuse_nobody(process, send):
    before = process.files()
    with process.join() as page, strangers(process.port, 400, send):
        assert process.files() <= before + bounds.PER_ADDRESS + 2
        assert get(process.port, "/")[0] == 200
        with process.join() as other:
            other.until("frame")
        assert process.settles(before + 2, process.WAIT_S + 3)  # though not one of them was closed on the other side
        page.until("frame")
        assert page.step(1)["action"] == 1


def test_bytes_that_trickle_in_are_not_waited_for(process):
    before = process.files()
    with socket.create_connection(("127.0.0.1", process.port)) as slow:
        slow.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100000\r\n\r\n")
        with pytest.raises(OSError):  # reset or broken pipe
            for _ in range(100):
                slow.sendall(b"x")
                time.sleep(0.1)
    assert process.settles(before, 3)


def test_no_more_files_than_the_system_gives(process, monkeypatch):
    """Where files run out all the same, nobody is told a hundred times and the loop does not spin."""
    resource = pytest.importorskip("resource")
    with process.join() as page:
        page.until("frame")
        if not hasattr(resource, "prlimit"):
            pytest.skip("needs prlimit")
        resource.prlimit(process.process.pid, resource.RLIMIT_NOFILE, (process.files() + 3, 256))
        began = cpu(process.process.pid)
        with strangers(process.port, 40, HEAD):
            time.sleep(2)
            assert cpu(process.process.pid) - began < 1
            assert page.step(1)["action"] == 1
        resource.prlimit(process.process.pid, resource.RLIMIT_NOFILE, (256, 256))
        time.sleep(0.5)
        assert get(process.port, "/")[0] == 200


def cpu(pid: int) -> float:
    """Seconds of processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_at_most_sixteen_pages(process):
    with ExitStack() as stack:
        for _ in range(MAX_PAGES):
            page = stack.enter_context(process.join())
            page.until("frame")
            stack.callback(page.cut)
        with process.join() as one_more:
            with pytest.raises(ConnectionClosed):
                one_more.hear()
            assert one_more.socket.close_code == 1013
    time.sleep(0.5)
    with process.join() as page:
        page.until("frame")


def test_a_hundred_pages_that_go_without_a_close(process):
    with process.join() as watcher:
        watcher.until("frame")
        before = process.files()
        for _ in range(100):
            page = process.join()
            page.until("frame")
            page.say("take")
            page.say("run", on=True)
            page.cut()
        watcher.until("control", mine=True, pages=1)
        assert process.settles(before, 1)


BROKEN_FRAMES = {
    "text that is not UTF-8": b"\x81\x83\0\0\0\0\xff\xfe\x80",
    "no mask": b"\x81\x03abc",
    "reserved bits": b"\xf1\x80\0\0\0\0",
    "unknown kind": b"\x83\x80\0\0\0\0",
    "a ping that is too long": b"\x89\xfe\x01\0\0\0\0\0" + bytes(256),
    "the rest of nothing": b"\x80\x80\0\0\0\0",
    "longer than memory": b"\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff\0\0\0\0",
    "half a frame": b"\x81\xfe\x10",
}


def test_broken_frames_end_their_page_only(process):
    with process.join() as watcher:
        watcher.until("frame")
        for broken in BROKEN_FRAMES.values():
            with process.join() as page:
                page.until("frame")
                page.say("take")
                page.until("control", mine=True)
                page.say("run", on=True)
                page.until("frame", flags=0)
                with suppress(OSError):  # the server has ended it
                    for _ in range(4):
                        page.socket.socket.sendall(broken)
                        time.sleep(0.05)
                page.cut()
            watcher.until("control", mine=True)
        assert watcher.until("frame", flags=0)["index"] > 0


def test_ten_thousand_random_messages(process):
    draw = random.Random(1)
    words = ["act", "run", "load", "replay", "save", "", "\0", "😀", None, True, 0, -1, 2**63, 1e400, [], {}]
    with process.join() as watcher:
        watcher.until("frame")
        sent = 0
        while sent < 10_000:
            with process.join() as page:
                try:
                    for _ in range(500):
                        sent += 1
                        kind = draw.choice([*words, *COMMANDS])
                        names = (
                            COMMANDS.get(kind if isinstance(kind, str) else "", {}) if draw.random() < 0.7 else words
                        )
                        message = {str(name): draw.choice(words) for name in names if draw.random() < 0.9}
                        text = json.dumps({"type": kind, **message})
                        page.socket.send(text if draw.random() < 0.7 else draw.randbytes(draw.randrange(200)))
                except ConnectionClosed:
                    continue
                finally:
                    page.cut()
        watcher.until("control", mine=True, pages=1)
        watcher.say("run", on=False)
        watcher.say("pilot", on=False)
        watcher.say("reset", seed=1, start=None)
        watcher.until("state", running=False, pilot=False, seed=1, timeout=20)
        for action in (2, 0):
            watcher.say("act", action=action, stamp=0)
        watcher.say("step")
        assert watcher.until("frame", flags=0, action=2)["index"] > 0  # after the reset's own frame, if that is late


ODD_HANDSHAKES = [
    ("Upgrade", ""),
    ("Upgrade", "websocket, h2c"),
    ("Sec-WebSocket-Version", "8"),
    ("Sec-WebSocket-Key", "x"),
    ("Sec-WebSocket-Key", None),
    ("Connection", "close"),
]


def test_half_handshakes_are_refused_without_a_word(process):
    before = process.files()
    whole = {
        **{"Host": f"127.0.0.1:{process.port}", "Origin": f"http://127.0.0.1:{process.port}"},
        **{"Upgrade": "websocket", "Connection": "Upgrade"},
        **{"Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "A" * 22 + "=="},
    }
    for name, value in ODD_HANDSHAKES:
        fields = {key: value for key, value in {**whole, name: value}.items() if value is not None}
        head = "".join(f"{key}: {value}\r\n" for key, value in fields.items())
        with socket.create_connection(("127.0.0.1", process.port), timeout=10) as one:
            one.sendall(f"GET /socket HTTP/1.1\r\n{head}\r\n".encode())
            answer = one.recv(4096)
            assert re.match(rb"HTTP/1.1 4\d\d ", answer), (name, value, answer)
    with socket.create_connection(("127.0.0.1", process.port), timeout=10) as one:
        one.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc")  # TLS
        assert b" 400 " in one.recv(4096)
    assert process.settles(before, process.WAIT_S + 2)


UPGRADE = (
    b"Origin: http://%(host)b\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
)
ODD_REQUESTS = {
    "a chunk without a size": b"GET / HTTP/1.1\r\n%(head)bTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "a chunk that does not end": b"GET / HTTP/1.1\r\n%(head)bTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n",
    "a bad trailer": b"POST / HTTP/1.1\r\n%(head)bTransfer-Encoding: chunked\r\n\r\n0\r\n\x00\r\n\r\n",
    "refused and a bad chunk": b"GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "a bad second request": b"GET / HTTP/1.1\r\n%(head)b\r\n\x00\r\n\r\n",
    "a length below zero": b"GET / HTTP/1.1\r\n%(head)bContent-Length: -1\r\n\r\n",
    "two lengths": b"GET / HTTP/1.1\r\n%(head)bContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    "a body that is awaited": b"GET / HTTP/1.1\r\n%(head)bExpect: 100-continue\r\nContent-Length: 5\r\n\r\n",
    "another method": b"POST / HTTP/1.1\r\n%(head)bContent-Length: 3\r\n\r\nabc",
    "a method for all": b"OPTIONS * HTTP/1.1\r\n%(head)b\r\n",
    "a tunnel": b"CONNECT a:1 HTTP/1.1\r\n%(head)b\r\n",
    "a whole address": b"GET http://[:: HTTP/1.1\r\n%(head)b\r\n",
    "no path": b"GET ?x HTTP/1.1\r\n%(head)b\r\n",
    "a path that is not UTF-8": b"GET /%%ff%%fe HTTP/1.1\r\n%(head)b\r\n",
    "a path that is not ASCII": b"GET /\xff HTTP/1.1\r\n%(head)b\r\n",
    "a path beyond measure": b"GET " + b"/a" * 40_000 + b" HTTP/1.1\r\n%(head)b\r\n",
    "an odd query": b"GET /?token=%%ff&token&&;=&%%u HTTP/1.1\r\n%(head)b\r\n",
    "an older version": b"GET / HTTP/1.0\r\n\r\n",
    "a newer version": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "the socket, unasked": b"GET /socket HTTP/1.1\r\n%(head)b\r\n",
    "a socket elsewhere": b"GET //[::/socket HTTP/1.1\r\n%(head)b" + UPGRADE + b"\r\n",
    "a socket by POST": b"POST /socket HTTP/1.1\r\n%(head)b" + UPGRADE + b"\r\n",
    "a socket in a bad chunk": b"GET /socket HTTP/1.1\r\n%(head)b" + UPGRADE + b"Transfer-Encoding: chunked\r\n\r\nz",
    "odd protocols": b"GET /socket HTTP/1.1\r\n%(head)b" + UPGRADE + b"Sec-WebSocket-Protocol: ,,\r\n\r\n",
    "odd extensions": b"GET /socket HTTP/1.1\r\n%(head)b" + UPGRADE + b"Sec-WebSocket-Extensions: ;=\r\n\r\n",
}


@pytest.mark.parametrize("leave", [False, True], ids=["wait", "leave at once"])
def test_odd_requests_end_without_a_word(process, leave):
    before = process.files()
    host = b"127.0.0.1:%d" % process.port
    for name, request in ODD_REQUESTS.items():
        with socket.create_connection(("127.0.0.1", process.port), timeout=10) as one:
            one.sendall(request % {b"host": host, b"head": b"Host: " + host + b"\r\n"})
            if not leave:
                with suppress(ConnectionError):  # it is reset
                    assert not (answer := one.recv(4096)) or re.match(rb"HTTP/1.1 [1234]\d\d ", answer), (name, answer)
    assert process.settles(before, process.WAIT_S + 2)
    assert get(process.port, "/")[0] == 200


ODD = [
    "http://[::",
    "http://[",
    "[",
    "http://[::1]:x",
    "//",
    "http:///",
    "null",
    "\xff\xfe",
    "http://a@{}",
    "{}",
    "x" * 4000,
]


def test_odd_origins_and_hosts_are_refused(process):
    host = f"127.0.0.1:{process.port}"
    for origin in ODD:
        assert handshake(process.port, host, origin.format(host)) == 403, origin
    for odd in ["[::", "[", "]", "127.0.0.1:x", "127.0.0.1:99999", "a@127.0.0.1", "127.0.0.1/x", "127.0.0.1?", "\xff"]:
        assert handshake(process.port, odd, f"http://{odd}") == 403, odd
        assert get(process.port, "/", host=odd)[0] == 403, odd
    with pytest.raises(InvalidStatus):
        process.join(origin="http://[::")


@pytest.mark.parametrize("host", ["[::", "a b:1", "x:y", ""])
def test_odd_hosts_are_refused_with_a_token_too(host):
    headers = [(b"host", host.encode()), (b"origin", b"http://" + host.encode())]
    scope = {"type": "websocket", "path": "/socket", "headers": headers, "query_string": b"token=t"}
    assert Guard(lambda *_: None, token="t").refusal(scope)  # type: ignore[arg-type]


def test_a_server_that_was_stopped_goes_on(process):
    with process.join() as page:
        page.until("frame")
        page.say("run", on=True)
        page.until("frame", flags=0)
        process.process.send_signal(signal.SIGSTOP)
        with pytest.raises(TimeoutError):
            while True:
                page.hear(timeout=1)
        for _ in range(300):
            page.say("act", action=1, stamp=0)
        process.process.send_signal(signal.SIGCONT)
        serial = page.until("frame", flags=0)["serial"]
        assert page.until("frame", action=1)["serial"] > serial


def test_the_file_limit_is_raised_but_never_lowered():
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (200, hard))
        assert (
            bounds.raise_file_limit() == min(hard, bounds.WANTED_FILES) == resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        )
        assert Connections().most <= resource.getrlimit(resource.RLIMIT_NOFILE)[0] / 2
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert bounds.raise_file_limit() >= min(soft, bounds.WANTED_FILES)


def test_a_connection_that_waits_makes_room_and_one_at_work_does_not(monkeypatch):
    monkeypatch.setattr(bounds, "PER_ADDRESS", 2)
    with bind("127.0.0.1", 0) as listener, ExitStack() as stack:
        listener.connections = Connections()
        ends = []
        for serves in (True, False, False):
            stack.enter_context(socket.create_connection(listener.getsockname(), timeout=5))
            connection, address = listener.accept()
            stack.enter_context(connection)
            ends.append(connection)
            if serves:
                listener.connections.serve(address[:2])
        listener.connections.crowded = False
        assert [end.recv(1) if i == 1 else None for i, end in enumerate(ends)] == [None, b"", None]
        listener.connections.serve(ends[2].getpeername())
        stack.enter_context(socket.create_connection(listener.getsockname(), timeout=5))
        with pytest.raises(BlockingIOError):
            listener.accept()
