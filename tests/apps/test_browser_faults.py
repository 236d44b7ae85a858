"""What the page does when something is wrong: small windows, a server that hangs, packages, long logs."""

import json
import signal
import time

import pytest
from playwright.sync_api import Page, expect

from .browsing import choose, index, wait
from .conftest import Served
from .test_action_log import a_log
from .test_failing_world import Package
from .toy import ToyWorld

STICKS_OUT = """() => {
  const out = [];
  for (const element of document.querySelectorAll(".stage *, header *, aside *")) {
    const box = element.getBoundingClientRect();
    const fixed = getComputedStyle(element).position === "fixed";
    const parent = fixed ? { left: 0, right: innerWidth } : element.parentElement.getBoundingClientRect();
    if (!box.width || element.closest("svg, .bar > button span, .veil, .begin")) continue;
    if (box.right > parent.right + 1 || box.left < parent.left - 1) {
      out.push(element.id || element.className || element.localName);
    }
  }
  return out;
}"""


class Crowded(ToyWorld):
    """A world of many actions with long names."""

    actions = ("noop", *(f"very-long-action-name-{number}" for number in range(12)))


@pytest.mark.parametrize(
    "size", [(1280, 800), (1366, 768), (1024, 768), (1280, 720), (920, 600), (1920, 1080), (375, 780), (800, 400)]
)
@pytest.mark.parametrize("world", [ToyWorld, Crowded])
def test_nothing_sticks_out(serve, visit, size, world):
    app = serve(world)
    page = visit(address=app.address, viewport={"width": size[0], "height": size[1]})
    wait(page, "play.meters.fps(true) > 10")
    assert page.evaluate(STICKS_OUT) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
    bar = page.locator(".bar").bounding_box()
    for name in ("#volume", "#level", "#mute", "#restart"):
        box = page.locator(name if name != "#level" else ".level").bounding_box()
        assert bar and box and bar["x"] - 1 <= box["x"] and box["x"] + box["width"] <= bar["x"] + bar["width"] + 1
    volume = page.locator("#volume").bounding_box()
    assert volume and volume["width"] >= 48
    assert page.get_by_role("button", name="Restart").is_visible()


@pytest.mark.parametrize("running", [True, False], ids=["running", "paused"])
def test_a_server_that_is_stopped_is_told_and_so_is_its_return(process, visit, running):
    page = visit(address=process.address)
    if not running:
        page.click("#run")
        expect(page.locator("#badge")).to_have_text("Paused")
    process.process.send_signal(signal.SIGSTOP)
    try:
        if not running:
            page.wait_for_timeout(2500)
            expect(page.locator("#link")).to_have_text("connected")  # nothing was due
            page.keyboard.press("Period")
        expect(page.locator("#link")).to_have_text("The world is not answering")
        expect(page.locator("#link")).to_have_attribute("data-kind", "slow")
    finally:
        process.process.send_signal(signal.SIGCONT)
    expect(page.locator("#link")).to_have_text("connected")
    before = index(page)
    page.keyboard.press("Period")
    wait(page, f"Number(picture.dataset.index) > {before}")


def test_a_model_that_hangs_is_told(serve, visit):
    class Hanging(ToyWorld):
        delay = 0.0

        def step(self, action):
            frame = super().step(action)
            type(self).delay = 3.5 if frame.index == 20 else 0.0
            return frame

    app = serve(Hanging)
    page = visit(address=app.address)
    expect(page.locator("#link")).to_have_text("The world is not answering")
    expect(page.locator("#link")).to_have_text("connected")
    wait(page, "Number(picture.dataset.index) > 25")


def test_loading_is_not_silence(serve, visit):
    class Heavy(ToyWorld):
        loads = 0

        def reset(self, seed=7, context=None):
            type(self).loads += 1
            if self.loads > 1:
                time.sleep(3)
            return super().reset(seed, context)

    app = serve(Heavy)
    page = visit(address=app.address)
    choose(page, "doom")
    expect(page.locator("#veil")).to_be_visible()
    for _ in range(5):
        page.wait_for_timeout(500)
        expect(page.locator("#link")).to_have_text("connected")
    expect(page.locator("#name")).to_have_text("doom")


def chosen(page: Page) -> dict[str, list[str]]:
    """The lists of the World panel: what is chosen, then what may be."""
    script = "id => { const s = document.getElementById(id); return [s.value, ...[...s.options].map((o) => o.value)] }"
    return {name: page.evaluate(script, name) for name in ("backend", "precision", "steps")}


def test_a_package_offers_itself_and_there_is_a_way_back(serve, visit):
    package = "/worlds/ball.mlpackage"
    app = serve(Package, choice=package)
    page = visit(address=app.address)
    for _ in range(2):
        expect(page.locator("#runs")).to_contain_text("coreml")
        settled = {"backend": ["coreml"] * 2, "precision": ["float16"] * 2, "steps": ["4"] * 2}
        assert chosen(page) == settled
        choose(page, "pong")
        expect(page.locator("#runs")).to_contain_text("torch")
        assert chosen(page)["backend"] == ["torch", "torch", "mlx"]
        page.select_option("#backend", "mlx")
        expect(page.locator("#runs")).to_contain_text("mlx")
        choose(page, "ball.mlpackage")
    expect(page.locator("#toasts")).to_have_text("")


def test_a_log_that_is_too_long_is_told(visit, tmp_path):
    page = visit()
    (tmp_path / "long.json").write_text(json.dumps(a_log(actions=[[1, 1]] * 700_000)))
    page.set_input_files("#replay-file", tmp_path / "long.json")
    expect(page.locator("#toasts")).to_contain_text("too long")
    page.evaluate("document.getElementById('toasts').replaceChildren()")
    page.evaluate("play.link.send('replay', { log: 'x'.repeat(9e6) })")  # the server ends such a socket with 1009
    expect(page.locator("#toasts")).to_contain_text("too long")
    expect(page.locator("#link")).to_have_text("connected")


def test_a_log_of_two_hours_is_replayed_from_a_file(visit, tmp_path):
    page = visit()
    (tmp_path / "log.json").write_text(json.dumps(a_log(actions=[[i % 2, 1] for i in range(200_000)])))
    page.set_input_files("#replay-file", tmp_path / "log.json")
    expect(page.locator("#badge")).to_contain_text("/ 200000")


def test_the_seventeenth_page_is_told(visit, served: Served):
    pages = [served.join() for _ in range(16)]
    page = visit(wait_for_world=False)
    expect(page.locator("#link")).to_have_text("16 pages are open: close one")
    for each in pages:
        each.cut()
    expect(page.locator("#link")).to_have_text("connected")


def test_an_error_of_a_world_is_one_short_line(serve, visit):
    class Failing(ToyWorld):
        def step(self, action):
            if self._state.index == 10:
                raise RuntimeError("the reason\n" + "x" * 3000)
            return super().step(action)

    app = serve(Failing)
    page = visit(address=app.address)
    expect(page.locator("#toasts p")).to_have_text("the world failed and is paused: the reason")
    expect(page.locator("#badge")).to_have_text("Paused")


def test_a_page_with_a_token_of_an_earlier_start_is_told(browser, guarded):
    page = browser.new_page()
    try:
        page.goto(guarded.address)
        expect(page.locator("#begin")).to_be_enabled()
        page.evaluate("history.replaceState(null, '', '?token=of-an-earlier-start')")
        page.evaluate("play.link.socket.close()")
        expect(page.locator("#link")).to_contain_text("open the one that the app printed")
        page.evaluate(f"history.replaceState(null, '', '?token={guarded.token}')")
        expect(page.locator("#link")).to_have_text("connected")
    finally:
        page.close()


class Verbose(ToyWorld):
    """A world whose every name is long and has no place to break a line at."""

    actions = ("noop", *(str(number) + "w" * 60 for number in range(3)))
    device = "d" * 90

    def step(self, action):
        if self._state.index == 10:
            raise RuntimeError("y" * 3000)
        return super().step(min(action, 2))


@pytest.mark.parametrize("size", [(1280, 800), (375, 780), (800, 400)])
def test_long_names_and_errors_stay_on_the_page(serve, visit, size):
    app = serve(Verbose, choice="/worlds/" + "n" * 200)
    page = visit(address=app.address, viewport={"width": size[0], "height": size[1]})
    expect(page.locator("#toasts p")).to_contain_text("yyy")
    assert page.evaluate(STICKS_OUT.replace(".stage *", "#toasts p, .stage *")) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
