"""The wire format: frames are laid out as the page reads them; no text, however odd, gets past the parser."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.play import wire

from .toy import ToyWorld


def test_a_frame_is_laid_out_as_documented():
    world = ToyWorld.load("pong")
    world.reset(seed=3)
    frame = world.step("up")
    packed = wire.pack(frame, world.fps, flags=wire.CUT, action=1, serial=9, key=12.5)
    kind, flags, action, serial, index, _, h, w, samples, _, _, time, key = wire.HEADER.unpack_from(packed)
    assert (kind, flags, action, serial, index, h, w, samples) == (0, 1, 1, 9, 1, 128, 128, 1024)
    assert (time, key, wire.HEADER.size) == (1 / 30, 12.5, 48)
    assert np.array_equal(np.frombuffer(packed, "<f4", 1024, 48), frame.audio)
    assert np.array_equal(np.frombuffer(packed, np.uint8, offset=48 + 4096).reshape(128, 128, 3), frame.video)


BAD = {
    "not JSON": "hello",
    "a list": "[]",
    "no type": "{}",
    "type of another kind": '{"type": 3}',
    "unknown": '{"type": "shutdown"}',
    "our own word": '{"type": "hello"}',
    "field missing": '{"type": "run"}',
    "field too many": '{"type": "step", "file": "x"}',
    "a number for a bool": '{"type": "run", "on": 1}',
    "a bool for a number": '{"type": "act", "action": true, "stamp": 0}',
    "negative": '{"type": "act", "action": -1, "stamp": 0}',
    "a half": '{"type": "restore", "ident": 1.5}',
    "not a number": '{"type": "act", "action": 1, "stamp": NaN}',
    "seed too large": '{"type": "reset", "seed": 4294967296, "start": null}',
    "a world of another kind": '{"type": "load", "world": ["x"], "backend": "torch", "steps": null, "precision": null}',
    "deep": "[" * 100_000,
    "long": '{"type": "step"}' + " " * wire.MAX_MESSAGE,
}


@pytest.mark.parametrize("text", BAD.values(), ids=BAD.keys())
def test_bad_messages_are_refused_with_a_line(text):
    with pytest.raises(wire.BadMessage, match=r"^[^\n]+$"):
        wire.parse(text)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda x: st.lists(x) | st.dictionaries(st.text(), x),
        max_leaves=8,
    ),
    st.sampled_from(sorted(wire.COMMANDS)),
)
def test_a_parsed_message_has_exactly_the_known_fields(value, kind):
    fields = wire.COMMANDS[kind]
    for message in (value, {"type": kind, **dict.fromkeys(fields, value)}):
        try:
            command = wire.parse(json.dumps(message))
        except wire.BadMessage:
            continue
        assert set(command) == {"type", *fields} and all(check(command[name]) for name, check in fields.items())
