"""The socket as hostile, slow and several pages meet it, over a real server."""

import http.client
import json
import time
import urllib.error
import urllib.request

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from apps.play import wire
from apps.play.connections import Connections
from apps.play.hub import Client, Hub

from .test_wire import BAD


def handshake(port: int, host: str, origin: str) -> int:
    """HTTP status of a socket handshake with these headers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    connection.putrequest("GET", "/socket", skip_host=True)
    upgrade = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
    for name, value in {"Host": host, "Origin": origin, "Sec-WebSocket-Key": "A" * 22 + "==", **upgrade}.items():
        connection.putheader(name, value)
    connection.endheaders()
    status = connection.getresponse().status
    connection.close()
    return status


def get(port: int, path: str, host: str | None = None):
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers={"Host": host} if host else {})
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return answer.status, answer.headers, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read().decode()


def test_a_page_joins_plays_and_hears_about_the_world(served):
    with served.join() as page:
        world = page.until("world")
        assert (world["actions"], world["backend"], world["samples"]) == (["noop", "up", "down"], "torch", 1024)
        assert page.until("frame")["index"] == 0
        page.say("run", on=True)
        page.say("act", action=1, stamp=123.5)
        frame = page.until("frame", key=123.5)
        assert frame["action"] == 1 and len(frame["sound"]) == 4096 and len(frame["picture"]) == 128 * 128 * 3
        page.say("run", on=False)
        page.until("state", running=False)


def test_malformed_messages_are_answered_counted_and_ended(served):
    with served.join() as page:
        page.until("frame")
        texts = [text for text in BAD.values() if len(text) <= wire.MAX_MESSAGE]
        for text in texts:
            page.socket.send(text)
        page.socket.send(b"binary")
        page.say("act", action=3, stamp=0)
        for count in range(len(texts) + 2):
            assert page.until("error")["bad"] == count + 1
        assert page.step(1)["action"] == 1
        with pytest.raises(ConnectionClosed):
            for _ in range(200):
                page.socket.send("x")
            while True:
                page.hear()
        assert page.socket.close_code == 1008
    with served.join() as page:
        page.until("world")


def test_oversize_messages(served):
    with served.join() as page:
        page.until("frame")
        page.socket.send(BAD["long"])
        assert "at most" in page.until("error")["text"]
        with pytest.raises(ConnectionClosed):
            page.socket.send("x" * 4 * wire.MAX_MESSAGE)
            while True:
                page.hear()
        assert page.socket.close_code == 1009
    with served.join() as page:
        page.until("world")


def test_too_frequent_messages_are_refused(served):
    with served.join() as page:
        page.until("frame")
        with pytest.raises(ConnectionClosed):
            for _ in range(1500):
                page.say("seen")
            while True:
                page.hear()
        assert page.socket.close_code == 1008


def test_host_and_origin_are_checked(served):
    here = f"127.0.0.1:{served.port}"
    assert handshake(served.port, here, f"http://{here}") == 101
    assert handshake(served.port, f"localhost:{served.port}", f"http://localhost:{served.port}") == 101
    for host, origin in [
        (here, "http://evil.example"),
        (here, "null"),
        (here, ""),
        (here, f"http://localhost:{served.port}"),
        (here, f"http://127.0.0.1:{served.port + 1}"),
        ("evil.example", "http://evil.example"),
        (f"127.0.0.1.evil.example:{served.port}", f"http://127.0.0.1.evil.example:{served.port}"),
        ("[::", "http://[::"),
    ]:
        assert handshake(served.port, host, origin) == 403, (host, origin)
    with pytest.raises(InvalidStatus):
        served.join(origin=None)
    assert get(served.port, "/", host="evil.example")[0] == 403


def test_a_token_is_asked_for_where_the_app_is_bound_wider(guarded):
    for query in ("", "token=", "token=wrong", "token=%ff"):
        assert get(guarded.port, f"/?{query}")[0] == 403
        with pytest.raises(InvalidStatus):
            guarded.join(query=query)
    assert get(guarded.port, f"/?token={guarded.token}", host="computer.lan:7860")[0] == 200
    with guarded.join() as page:
        page.until("world")


def test_the_page_comes_with_a_strict_policy_and_nothing_else_is_served(served):
    status, headers, body = get(served.port, "/")
    assert status == 200 and "mlxworld" in body
    assert (
        "default-src 'none'" in headers["content-security-policy"]
        and "unsafe" not in headers["content-security-policy"]
    )
    assert "http://" not in body and "https://" not in body
    for path in ("/../game.py", "/%2e%2e/game.py", "/static/", "/index.html/../../app.py", "/etc/passwd", "/game.py"):
        assert get(served.port, path)[0] == 404


def test_two_pages_one_has_the_controls(served):
    with served.join() as one:
        one.until("frame")
        assert one.step(1)["index"] == 1
        with served.join() as two:
            assert two.until("control")["mine"] is False
            assert two.until("frame")["index"] == 1
            two.say("step")
            assert "controls" in two.until("error")["text"]
            one.step(2)
            assert two.until("frame")["index"] == 2
            two.say("take")
            two.until("control", mine=True)
            one.until("control", mine=False)
            assert two.step(1)["index"] == 3
        assert one.until("control", mine=True)["pages"] == 1
        assert one.step(0)["index"] == 4


def test_a_slow_page_drops_frames_and_delays_nobody(served):
    with served.join() as quick, served.join() as slow:
        slow.slow = True
        quick.until("frame")
        quick.say("run", on=True)
        first = quick.until("frame", flags=0)
        last = quick.until("frame", index=first["index"] + 60)
        assert last["serial"] - first["serial"] == 60 == quick.frames - 2  # not one is lost for the quick page
        while slow.frames < 8:
            slow.hear()
        with pytest.raises(TimeoutError):
            slow.hear(timeout=0.3)  # eight are on their way and unanswered: no more are sent
        for _ in range(8):
            slow.say("seen")
        late = slow.hear()
        assert late["serial"] > 40  # what it gets then is the present, not the past


def test_frames_come_at_the_world_s_pace(served, slow_world):
    for app, low, high in ((served, 15, 32), (slow_world, 5, 10.5)):
        with app.join() as page:
            page.say("run", on=True)
            first = page.until("frame", flags=0)
            began = time.perf_counter()
            page.until("frame", index=first["index"] + 20)
            assert low < 20 / (time.perf_counter() - began) < high


def test_nobody_there_nobody_plays(served):
    with served.join() as page:
        page.say("run", on=True)
        page.until("frame", flags=0)
    with served.join() as page:
        page.until("state", running=False)


def test_what_a_page_cannot_load_it_is_told(served):
    with served.join() as page:
        page.until("frame")
        page.say("load", world="broken", backend="torch", steps=None, precision=None)
        assert "unknown world" in page.until("error")["text"]
        assert page.until("world")["world"] == "pong"
        page.say("load", world="../../etc", backend="torch", steps=None, precision=None)
        assert "offered" in page.until("error")["text"]
        page.say("load", world="doom", backend="mlx", steps=4, precision="float16")
        world = page.until("world", world="doom")
        assert (world["backend"], world["steps"], world["precision"]) == ("mlx", 4, "float16")
        assert json.dumps(world["offered"]["step_counts"]) == "[1, 2, 4, 8]"


def test_a_page_may_answer_every_frame_of_the_fastest_world():
    hub, client = Hub(None, Connections()), Client(None)  # type: ignore[arg-type]
    for _ in range(5000):
        client.sent += 1
        hub.hear(client, '{"type": "seen"}')
    assert (client.seen, client.bad) == (5000, 0)
    for _ in range(1000):
        hub.hear(client, '{"type": "seen"}')  # of frames that there were not
    assert client.seen == 5000 and client.bad > 100
