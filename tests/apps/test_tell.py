"""The page for a model that reads and writes any modality: words to a scene, a picture to words, and who may ask."""

import base64
import http.client
import io
import json
import threading
import time
import wave
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from apps.play import __main__ as command
from apps.play.__main__ import Options, telling
from apps.tell.app import LONGEST_TEXT, create_app
from mlxworld import MlxworldError, Translator
from tests.translators import run_folder

from .browsing import wait
from .running import running


@contextmanager
def served(folder, load=None):
    app = create_app(load or (lambda: Translator.load(folder, "torch")))
    with running(app) as port:
        yield port


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return run_folder(tmp_path_factory.mktemp("runs") / "told", steps=5000)


@pytest.fixture(scope="module")
def port(folder):
    with served(folder) as port:
        yield port


def ask(port, path, body=None, origin: str | None = "", host=None) -> tuple[int, Any]:
    origin = f"http://127.0.0.1:{port}" if origin == "" else origin
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    headers = {"Host": host or f"127.0.0.1:{port}"} | ({"Origin": origin} if origin else {})
    connection.request("GET" if body is None else "POST", path, body, headers)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, json.loads(content) if content[:1] == b"{" else content.decode()


def picture(code):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(code)))) / 255


def test_words_become_what_the_model_makes_of_them(port, folder):
    status, made = ask(port, "/scene", "a red ball")
    assert status == 200
    translator = Translator.load(folder, "torch")
    assert np.abs(picture(made["picture"]) - translator("a red ball", "image")).max() < 3e-3
    strip = picture(made["strip"]).reshape(made["frames"], 64, 64, 3)
    assert np.abs(strip - translator("a red ball", "video")).max() < 3e-3
    with wave.open(io.BytesIO(base64.b64decode(made["sound"]))) as sound:
        assert sound.getframerate() == 16384 and sound.getnframes() == 2 * 16384
    assert made["fps"] == 8 and made["peak"] == pytest.approx(np.abs(translator("a red ball", "audio")).max(), rel=1e-3)


def test_a_picture_becomes_words(port, folder):
    file = io.BytesIO()
    Image.new("RGB", (100, 50), (10, 200, 30)).save(file, "PNG")
    status, made = ask(port, "/words", file.getvalue())
    translator = Translator.load(folder, "torch")
    assert status == 200 and made["text"] == translator(translator.look(file.getvalue()), "text")
    assert np.abs(picture(made["seen"]) - np.array([10, 200, 30]) / 255).max() < 0.01, "it sees a green square"
    status, made = ask(port, "/example", "3")
    assert status == 200 and made["truth"] == translator.example(3)[0]  # type: ignore[index]


@pytest.mark.parametrize(
    ("path", "body", "status", "line"),
    [
        ("/words", b"no picture", 422, "not a readable picture"),
        ("/scene", b" ", 422, "there is no text"),
        ("/scene", b"x" * (LONGEST_TEXT + 1), 413, "bytes are read"),
        ("/example", b"-1", 422, "has a number"),
        ("/example", b"{", 422, "has a number"),
    ],
)
def test_bad_requests_are_one_line(port, path, body, status, line):
    code, made = ask(port, path, body)
    assert code == status and line in made["error"]
    assert ask(port, "/about")[0] == 200, "it goes on"


def test_only_its_own_page_may_ask(port):
    for origin in ("http://evil.example", None):
        assert ask(port, "/scene", "x", origin=origin)[0] == 403
    assert ask(port, "/about", host="evil.example")[0] == 403
    assert ask(port, "/scene")[0] == 405


def test_no_more_wait_than_can_be_answered():
    gate = threading.Event()

    class Slow:
        steps, learnt_from, name = 5000, "x", "slow"

        def look(self, blob):
            gate.wait(20)
            raise MlxworldError("seen")

    with served(None, Slow) as port:  # type: ignore[arg-type]
        answers = []
        threads = [threading.Thread(target=lambda: answers.append(ask(port, "/words", b"x")[0])) for _ in range(12)]
        for thread in threads:
            thread.start()
        end = time.monotonic() + 10
        while answers.count(503) < 4 and time.monotonic() < end:
            time.sleep(0.02)
        gate.set()
        for thread in threads:
            thread.join(20)
        assert sorted(answers) == [422] * 8 + [503] * 4


@pytest.mark.parametrize(
    ("steps", "line"),
    [(0, "is untrained: what it makes is noise"), (7, "hardly been trained (7"), (5000, "5,000 steps")],
)
def test_it_is_honest_about_its_training(tmp_path, steps, line):
    with served(run_folder(tmp_path / "run", steps)) as port:
        about = ask(port, "/about")[1]
    assert line in about["line"] and about["trained"] == (steps >= 1000)


def test_flags_of_worlds_and_other_machines_are_refused(folder):
    for options, loopback, line in (
        (Options(str(folder), steps=2), True, "no --steps"),
        (Options(str(folder), weights="int8"), True, "no --weights"),
        (Options(str(folder)), False, "on the loopback alone"),
    ):
        with pytest.raises(MlxworldError, match=line):
            telling(options, loopback)


def test_play_opens_the_page_of_what_it_is_given(folder, monkeypatch):
    taken = []
    monkeypatch.setattr(command, "serve", lambda app, *rest: taken.append(app))
    command.main(["--world", str(folder), "--port", "0", "--backend", "torch"])
    assert any(getattr(route, "path", "") == "/scene" for route in taken[0].routes)


def test_the_page_shows_a_scene_and_reads_a_picture(browser, port, tmp_path):
    errors = []
    page = browser.new_context().new_page()
    page.set_default_timeout(8000)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.goto(f"http://127.0.0.1:{port}/")
    expect(page.locator("#line")).to_contain_text("5,000 steps")
    page.fill("#text", "a red ball at the top left")
    page.click("#say button")
    wait(page, "document.querySelector('#film').dataset.frames === '16'")
    wait(page, "document.querySelector('#sound').duration === 2")
    drawn = "Array.from(document.querySelector('#film').getContext('2d').getImageData(0, 0, 64, 64).data).join()"
    first = page.evaluate(drawn)
    wait(page, f"{drawn} !== {json.dumps(first)}")
    assert page.evaluate("document.querySelector('#picture').naturalWidth") == 64
    Image.new("RGB", (64, 64), (200, 0, 0)).save(tmp_path / "p.png")
    page.set_input_files("#file", tmp_path / "p.png")
    expect(page.locator("#words")).to_contain_text("The model says")
    page.click("#example")
    expect(page.locator("#truth")).to_contain_text("What is so: a")
    page.set_input_files("#file", {"name": "x.png", "mimeType": "image/png", "buffer": b"nothing"})
    expect(page.locator("#error")).to_contain_text("not a readable picture")
    assert [e for e in errors if "422" not in e] == []
    page.context.close()
