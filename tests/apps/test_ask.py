"""The page that answers about pictures: streams, talks, what it refuses, and the way a person uses it."""

import base64
import http.client
import io
import json
import threading
import time
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

import mlxworld
from apps.ask.app import MOST_BYTES, TALKS, create_app
from mlxworld import MlxworldError, ask
from mlxworld.text.assistant import Assistant, Talk
from mlxworld.text.generate import Options

from .browsing import PATIENCE
from .running import running

ORACLES = Path(__file__).parents[1] / "oracles"


class Echo:
    """A talk that tells what it was asked, how often, and how large the pictures are."""

    gate = threading.Event()
    closed = threading.Event()

    def __init__(self):
        self.turns = 0

    def ask(self, question, pictures):
        if question == "refuse":
            raise MlxworldError("the prompt is too long")
        self.turns += 1
        try:
            yield f"{self.turns}: "
            if question == "wait":
                assert self.gate.wait(10)
            yield f"{question} {[len(picture) for picture in pictures]}"
            if question == "for ever":
                while True:
                    time.sleep(0.01)
                    yield "and on "
            if question == "break":
                raise MlxworldError("no more")
        finally:
            self.closed.set()


@contextmanager
def serving(begin: Callable = Echo):
    with running(create_app(begin, "a <model>")) as port:
        yield port


@pytest.fixture
def port():
    Echo.gate.clear()
    Echo.closed.clear()
    with serving() as port:
        yield port


def post(port: int, body, origin: str | None = "", host: str = "") -> http.client.HTTPResponse:
    origin = f"http://127.0.0.1:{port}" if origin == "" else origin
    headers = {"Host": host or f"127.0.0.1:{port}"} | ({"Origin": origin} if origin else {})
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("POST", "/ask", body if isinstance(body, bytes) else json.dumps(body), headers)
    return connection.getresponse()


def asked(question: str, talk: str = "a", pictures=()) -> dict:
    return {"talk": talk, "question": question, "pictures": [base64.b64encode(x).decode() for x in pictures]}


def test_each_page_has_its_talk(port):
    questions = [asked("hi", "a"), asked("hi", "b"), asked("again", "a", [b"abc"])]
    said = [post(port, question).read().decode() for question in questions]
    assert said == ["1: hi []", "1: hi []", "2: again [3]"]
    for i in range(TALKS):
        post(port, asked("hi", f"other {i}")).read()
    assert post(port, asked("hi", "a")).read() == b"1: hi []"  # the oldest is forgotten


def test_one_answer_at_a_time_and_it_comes_in_pieces(port):
    first = post(port, asked("wait"))
    assert first.read(3) == b"1: "
    second = post(port, asked("hi"))
    assert second.status == 409 and b"answering already" in second.read()
    Echo.gate.set()
    assert first.read() == b"wait []" and post(port, asked("hi")).read() == b"2: hi []"


def test_an_answer_that_nobody_reads_ends(port):
    reply = post(port, asked("for ever"))
    assert reply.read(3) == b"1: "
    reply.close()
    assert Echo.closed.wait(10)
    end = time.monotonic() + 10
    while (later := post(port, asked("hi"))).status == 409 and time.monotonic() < end:
        later.read()
    assert later.read() == b"2: hi []"


def test_what_cannot_be_answered_is_told_and_the_next_question_may_come(port):
    refused = post(port, asked("refuse"))
    assert refused.status == 400 and refused.read() == b"the prompt is too long\n"
    assert post(port, asked("break")).read().endswith(b"\n[no more]")
    assert post(port, asked("hi")).status == 200


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"[1]", 400),
        (b"[" * 100_000, 400),
        ({"talk": "a", "question": "hi"}, 400),
        ({"talk": "a", "question": "hi", "pictures": ["not base64!"]}, 400),
        ({"talk": "a", "question": " ", "pictures": []}, 400),
        ({"talk": 1, "question": "hi", "pictures": []}, 400),
        ({"talk": "a" * 65, "question": "hi", "pictures": []}, 400),
        ({"talk": "a", "question": "hi", "pictures": 3}, 400),
    ],
)
def test_malformed_questions(port, body, status):
    assert post(port, body).status == status
    assert post(port, asked("hi")).status == 200


def test_too_much_is_not_read(port):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.putrequest("POST", "/ask")
    connection.putheader("Origin", f"http://127.0.0.1:{port}")
    connection.putheader("Content-Length", str(1 << 40))
    connection.endheaders()
    for _ in range(MOST_BYTES // (1 << 20) + 1):
        connection.send(b" " * (1 << 20))
    reply = connection.getresponse()
    assert reply.status == 413 and b"at most 64 MB" in reply.read()


@pytest.mark.parametrize("origin", [None, "http://evil.example", "null"])
def test_only_this_page_may_ask(port, origin):
    assert post(port, asked("hi"), origin).status == 403
    assert post(port, asked("hi"), host="evil.example").status == 403


def test_a_real_model_answers_as_the_verb_does(tmp_path):
    rng = np.random.default_rng(0)
    file = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (60, 80, 3), np.uint8)).save(file, "PNG")
    it = Assistant.load(ORACLES / "llava", mlxworld.on("torch"), "float32")
    options = Options(8, (0,))
    with serving(lambda: ask.Visit(it, options)) as port:
        said = post(port, asked("what?", pictures=[file.getvalue()])).read().decode()
        broken = post(port, asked("what?", pictures=[b"GIF89a"]))
        assert broken.status == 400 and b"picture" in broken.read()
        again = post(port, asked("and?")).read().decode()
    talk, picture = Talk(), np.array(Image.open(file))
    assert said == "".join(it.stream("what?", [picture], options, talk=talk))
    assert again == "".join(it.stream("and?", [], options, talk=talk))


def test_a_person_drops_a_picture_and_asks(port, browser, tmp_path):
    page = browser.new_context(viewport={"width": 1000, "height": 700}).new_page()
    page.set_default_timeout(1000 * PATIENCE)
    errors = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    Image.new("RGB", (30, 20), "red").save(tmp_path / "red.png")
    size = (tmp_path / "red.png").stat().st_size
    page.goto(f"http://127.0.0.1:{port}/")
    expect(page.locator("#model")).to_have_text("a <model>")
    page.set_input_files("#choose", tmp_path / "red.png")
    expect(page.locator("#pictures img")).to_have_count(1)
    page.fill("#question", "<b>what</b>?")
    page.press("#question", "Enter")
    expect(page.locator(".said").last).to_have_text(f"1: <b>what</b>? [{size}]")
    expect(page.locator(".asked img")).to_have_count(1)
    expect(page.locator("#pictures img")).to_have_count(0)
    page.fill("#question", "for ever")
    page.click("#send")
    expect(page.locator(".said").last).to_contain_text("and on")
    page.click("#stop")
    expect(page.locator("#send")).to_be_visible()
    assert Echo.closed.wait(10)
    page.fill("#question", "refuse")
    page.press("#question", "Enter")
    expect(page.locator(".said.failed")).to_have_text("the prompt is too long")
    assert page.input_value("#question") == "refuse"  # not to be typed again
    page.click("#anew")
    expect(page.locator(".turn")).to_have_count(0)
    page.fill("#question", "hi")
    page.press("#question", "Enter")
    expect(page.locator(".said")).to_have_text("1: hi []")
    page.context.close()
    assert not errors
