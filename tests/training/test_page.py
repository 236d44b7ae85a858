"""The page of a training: what it shows, and that a resumed run goes on with it."""

import html.parser
import json
import re

import numpy as np
import pytest

from mlxworld.errors import MlxworldError
from mlxworld.training.monitor import Monitor
from mlxworld.training.page import LINES, POINTS, Page


def state(path):
    text = path.read_text()
    Checked().feed(text)
    return json.loads(re.search(r'id="state">(.*?)</script>', text, re.DOTALL)[1])  # type: ignore[index]


class Checked(html.parser.HTMLParser):
    """Fails on a script that the page did not write itself."""

    def handle_data(self, data):
        assert "alert(1)" not in data or self.get_starttag_text() != "<script>"


def test_it_shows_stages_curves_samples_and_what_was_said(tmp_path):
    path = tmp_path / "progress.html"
    with Monitor(tmp_path / "events", quiet=True, page=Page(path, "<b>mine</b>")) as monitor:
        monitor.say("<script>alert(1)</script></script>")
        monitor.stage("tokenizer", 100)
        assert 'http-equiv="refresh"' in path.read_text() and "tokenizer 0 of 100" in path.read_text()
        monitor.update(50, {"loss": 0.5})
        monitor.sample(tmp_path / "samples" / "1-tokenizer-000050")
        monitor.update(100, {"loss": 0.25})
        text = path.read_text()
        assert '<img src="samples/1-tokenizer-000050.png"' in text and "tokenizer/loss 0.25" in text
        monitor.stage("dynamics", 10, 0, 100)
        monitor.update(10, {"loss": 3.0, "wait": 0.0})
    text = path.read_text()
    assert "done" in text and 'http-equiv="refresh"' not in text
    assert "<b>mine" not in text and "<script>alert" not in text and "&lt;script&gt;alert(1)" in text
    assert "dynamics/loss 3" in text and "tokenizer/loss 0" not in text.split("<svg")[1]
    found = state(path)
    assert found["curves"] == {
        "tokenizer/loss": [[50, 0.5], [100, 0.25]],
        "dynamics/loss": [[110, 3.0]],
        "dynamics/wait": [[110, 0.0]],
    }


def test_a_resumed_run_goes_on_with_it(tmp_path):
    path = tmp_path / "progress.html"
    with pytest.raises(RuntimeError), Monitor(tmp_path / "events", quiet=True, page=Page(path, "x")) as monitor:
        monitor.stage("dynamics", 100, 0, 40)
        for step in (10, 20, 30):
            monitor.update(step, {"loss": float(step)})
        raise RuntimeError("the power\nwent")
    assert "stopped: the power went" in path.read_text()
    with Monitor(tmp_path / "events", quiet=True, page=Page(path, "x")) as monitor:
        monitor.resumed(60)
        monitor.stage("dynamics", 100, 20, 40)
        assert "stopped" not in state(path)["end"]
        monitor.update(30, {"loss": 7.0})
    assert state(path)["curves"]["dynamics/loss"] == [[50, 10.0], [60, 20.0], [70, 7.0]]
    assert [s["name"] for s in state(path)["stages"]] == ["dynamics"]


def test_it_stays_small(tmp_path):
    page = Page(tmp_path / "progress.html", "x")
    page.stage("long", 10**6)
    rng = np.random.default_rng(0)
    for step in range(20 * POINTS):
        page.update(step, {"loss": float(rng.random()), "bad": float("nan")})
        if step % 1000 == 0:
            page.say("a line")
    page.write()
    curve = state(tmp_path / "progress.html")["curves"]["long/loss"]
    assert POINTS / 2 <= len(curve) <= POINTS and [x for x, _ in curve] == sorted({x for x, _ in curve})
    assert curve[0][0] == 0 and curve[-1][0] == 20 * POINTS - 1
    assert len(state(tmp_path / "progress.html")["lines"]) <= LINES
    assert (tmp_path / "progress.html").stat().st_size < 100_000


@pytest.mark.parametrize("text", ["", "no page", '<script type="application/json" id="state">[1]</script>'])
def test_a_page_of_somebody_else_is_replaced(tmp_path, text):
    path = tmp_path / "progress.html"
    path.write_text(text)
    Page(path, "mine").say("hello")
    assert state(path)["title"] == "mine" and "hello" in path.read_text()


def test_a_page_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(MlxworldError, match="cannot write"):
        Page(tmp_path / "file" / "progress.html", "x").say("hello")
