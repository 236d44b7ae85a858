"""How people come to a page: by a link, in a second tab, in one that nobody sees, by reloading, by the Back button."""

import time

import pytest
from playwright.sync_api import expect

from apps.play.game import Game

from .browsing import choose, pause, shown, wait
from .test_action_log import a_log
from .toy import heavy

COPY = "globalThis.copied = []; navigator.clipboard.writeText = async (text) => { copied.push(text) }"
HIDE = "globalThis.unseen = true; Object.defineProperty(document, 'hidden', { get: () => unseen })"
SHOW = "unseen = false; document.dispatchEvent(new Event('visibilitychange'))"


def a_link(page) -> tuple[str, str]:
    """A link to what the page shows, and that picture."""
    wait(page, "Number(picture.dataset.index) > 15")
    pause(page)
    page.click("#share")
    wait(page, "copied.length > 0")
    return page.evaluate("copied.pop()"), shown(page)


def test_a_link_plays_in_the_page_that_is_open_and_what_was_there_comes_back(visit):
    page = visit(COPY)
    href, picture = a_link(page)
    page.keyboard.press("r")
    page.click("#run")
    wait(page, "play.state().running && Number(picture.dataset.index) > 3")
    pause(page)
    before = shown(page)
    page.goto(href)  # only the part after the # is another one: the page stays
    expect(page.locator("#toasts")).to_contain_text("bit for bit")
    wait(page, f"picture.toDataURL() === '{picture}' && location.hash === ''")
    page.click("#undo")
    wait(page, f"!play.state().replay && picture.toDataURL() === '{before}'")


def test_a_link_waits_for_the_controls(visit):
    first = visit(COPY)
    href, picture = a_link(first)
    friend = visit(address=href, begin=False)
    expect(friend.locator("#toasts")).to_contain_text("Take the controls")
    friend.click("#take")
    expect(friend.locator("#toasts")).to_contain_text("bit for bit")
    wait(friend, f"picture.toDataURL() === '{picture}'")


@pytest.mark.parametrize("seed", [-1, 2**32, "seven"])
def test_a_link_with_a_bad_seed_is_a_line_and_the_dream_plays_itself(visit, served, seed):
    log = a_log(seed=seed)
    maker = visit(begin=False)
    href = maker.evaluate("async (log) => (await import('/files.js')).linkOf(log)", log)
    maker.close()
    page = visit(address=href, begin=False)
    expect(page.locator("#toasts")).to_contain_text("seed is missing or has a bad value")
    wait(page, "play.state().running && play.state().pilot && Number(picture.dataset.index) > 3")


def test_after_a_refused_link_the_action_log_is_a_file(visit, served):
    page = visit(COPY)
    branch = served.game._branch
    told, branch.origin = branch.origin, type(branch.origin)(7, None, "a test said so")
    page.click("#share")
    expect(page.locator("#toasts")).to_contain_text("a test said so")
    branch.origin = told
    with page.expect_download():
        page.click("#log")


def test_a_page_that_nobody_looks_at_plays_once_it_is_seen(visit):
    page = visit(HIDE, begin=False)
    page.wait_for_timeout(400)
    assert not page.evaluate("play.state().running")
    page.evaluate(SHOW)
    wait(page, "play.state().running && play.state().pilot && Number(picture.dataset.index) > 3")


def test_a_page_that_was_reloaded_while_a_world_was_loaded_plays_itself(serve, visit, monkeypatch):
    """It hears of a world that still runs, before that hears that the page which played it has gone."""
    run = Game._on_run
    monkeypatch.setattr(Game, "_on_run", lambda *args: (time.sleep(0.3), run(*args)))
    Heavy, may_load = heavy()
    page = visit(address=serve(Heavy).address)
    try:
        choose(page, "doom")
        expect(page.locator("#veil")).to_be_visible()
        page.reload()
        expect(page.locator("#veil-text")).to_have_text("Loading doom …")
    finally:
        may_load.set()
    wait(page, "play.state().running && play.state().pilot && Number(picture.dataset.index) > 10")


def test_a_page_without_controls_plays_itself_when_it_gets_them(visit):
    first = visit()
    pause(first)
    second = visit(begin=False)
    first.close()
    wait(second, "play.state().running && play.state().pilot")


def test_the_back_button_leads_to_a_living_page(visit):
    page = visit()
    page.evaluate("dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true }))")
    expect(page.locator("#begin")).to_be_visible()
    wait(page, "globalThis.play?.state().running && play.state().pilot && Number(picture.dataset.index) > 3")


@pytest.mark.parametrize("touch", [False, True], ids=["keys", "touch"])
def test_what_to_do_first_is_said_in_the_words_of_the_device(visit, touch):
    page = visit(begin=False, has_touch=touch, is_mobile=touch)
    expect(page.locator("#begin-text")).to_have_text(f"{'Tap' if touch else 'Press any key'} to play, with sound")
    assert page.locator("#begin-keys").is_visible() is not touch
    second = visit(begin=False, has_touch=touch, is_mobile=touch)
    expect(second.locator("#begin-text")).to_have_text(f"{'Tap' if touch else 'Click'} to watch, with sound")
    expect(second.locator("#begin-keys")).to_be_hidden()
