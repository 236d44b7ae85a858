"""What waits for a page that does not read: bounded, and the present when it reads on."""

import json

import pytest

from apps.play import outbox, wire
from apps.play.outbox import Outbox

from .conftest import Page
from .toy import ToyWorld


def world(opened: int) -> dict:
    return {"type": "world", "opened": opened}


def state(*moments: int, **fields) -> dict:
    return {"type": "state", "moments": [{"ident": ident} for ident in moments], "branches": [{"ident": 1}], **fields}


def packed(kind: int = wire.FRAME, **fields) -> bytes:
    toy = ToyWorld.load("pong")
    return wire.pack(toy.reset(), toy.fps, kind=kind, **fields)


def drain(box: Outbox) -> list:
    """All that waits: messages as their JSON says, frames as (kind, serial or ident)."""
    out = []
    while (message := box.pop()) is not None:
        if isinstance(message, str):
            out.append(json.loads(message))
        else:
            _, _, _, serial, _, ident, *_ = wire.HEADER.unpack_from(message)
            out.append((message[0], ident if message[0] else serial))
    return out


def test_what_happened_comes_in_order_then_frames():
    box, messages = Outbox(), [world(1), state(), wire.error("a"), {"type": "loading", "world": "x"}, wire.error("b")]
    box.post(packed(serial=1))
    for message in messages:
        box.post(message)
    box.post(packed(serial=2))
    assert drain(box) == [*messages, (0, 2)]  # the first frame was of another world
    assert box.pop() is None


def test_only_the_newest_of_what_describes_the_present_waits():
    box = Outbox()
    for opened in range(100):
        for kind in ("control", "loading"):
            box.post({"type": kind, "number": opened})
        for message in (world(opened), state(number=opened)):
            box.post(message)
        box.post(packed(serial=opened))
    control, last, present, frame = drain(box)
    assert (control["number"], last["opened"], present["number"], frame) == (99, 99, 99, (0, 99))


def test_a_world_that_is_told_again_costs_no_frame():
    box = Outbox()
    box.post(world(1))
    box.post(packed(serial=5))
    box.post(world(1))
    assert drain(box) == [world(1), (0, 5)]


def test_loading_is_over_when_the_world_is_there():
    box = Outbox()
    box.post(world(1))
    box.post({"type": "loading", "world": "x"})
    box.post(world(2))
    assert drain(box) == [world(2)]
    box.post(world(2))
    box.post({"type": "loading", "world": "y"})
    assert [message["type"] for message in drain(box)] == ["world", "loading"]


def test_thumbnails_of_what_is_forgotten_are_not_sent():
    box = Outbox()
    for ident in range(2, 500):
        box.post(state(ident))
        box.post(packed(wire.MOMENT, ident=ident))
        box.post(packed(wire.BRANCH, ident=1))
    assert drain(box) == [state(499), (1, 499), (2, 1)]


def test_errors_and_logs_are_bounded_and_the_newest_are_kept():
    box = Outbox()
    for number in range(1000):
        box.post(wire.error("x", number=number))
        box.post({"type": "log", "number": number})
    sent = drain(box)
    assert len(sent) == outbox.MAX_NOTES and sent[-1] == {"type": "log", "number": 999}
    logs = [message["number"] for message in sent if message["type"] == "log"]
    assert logs == list(range(1000 - outbox.MAX_LOGS, 1000))


def test_frames_wait_for_a_page_that_has_too_many():
    box = Outbox()
    for serial in range(10):
        box.post(packed(serial=serial))
    assert box.pop(frames=False) is None
    assert drain(box) == [(0, serial) for serial in (6, 7, 8, 9)]


@pytest.mark.parametrize("seen", [True, False], ids=["sees frames", "never sees one"])
def test_a_page_that_reads_on_later_sees_the_present(served, seen):
    with served.join() as busy, Page(served, max_queue=1) as late:
        late.slow = not seen
        late.until("state")
        busy.until("frame")
        for _ in range(120):
            busy.say("save")
            ident = busy.until("moment")["ident"]
            busy.say("forget", ident=ident)
            busy.until("state", moments=[])
        busy.say("load", world="doom", backend="mlx", steps=4, precision=None)
        busy.until("world", world="doom")
        for count in range(80):
            busy.say("run", on=count % 2 == 1)
            busy.until("state", running=count % 2 == 1)
        busy.say("save")
        busy.until("moment")
        assert late.until("world", world="doom")["steps"] == 4
        present = late.until("state", running=True)
        while not present["moments"]:
            present = late.until("state")
        assert late.until("moment")["ident"] == present["moments"][0]["ident"]
        if seen:
            assert late.until("frame")["index"] > 0
        late.cut()
