"""What the browser tests look at and wait for."""

import time

from playwright.sync_api import Page, expect

PATIENCE = 20.0  # seconds that any wait may last: a machine may be slow
expect.set_options(timeout=1000 * PATIENCE)


def wait(page: Page, condition: str, timeout: float = PATIENCE) -> None:
    """Until a JavaScript condition holds (the page's policy forbids the eval of Playwright's own wait_for_function)."""
    end = time.monotonic() + timeout
    while not page.evaluate(condition):
        assert time.monotonic() < end, f"{condition} does not hold after {timeout} s"
        page.wait_for_timeout(15)


def shown(page: Page) -> str:
    """The picture on the canvas, as text."""
    return page.evaluate("picture.toDataURL()")


def index(page: Page) -> int:
    return int(page.evaluate("picture.dataset.index"))


def pause(page: Page) -> None:
    """Pauses, and waits for the frames that were on their way."""
    page.click("#run")
    expect(page.locator("#badge")).to_have_text("Paused")
    last = -1
    while last != (last := index(page)):
        page.wait_for_timeout(150)


def loud(page: Page) -> None:
    wait(page, "play.sound.level() > 0.05")


def choose(page: Page, world: str) -> None:
    """Clicks the card of a world."""
    page.get_by_role("button", name=f"World {world}", exact=True).click()
