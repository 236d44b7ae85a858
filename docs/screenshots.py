"""The pictures of the play app in the README, and the small picture of each shipped world: python docs/screenshots.py

Needs Chromium and Playwright (the `dev` extra), and `ale-py` for the real game beside the dream.
"""

import argparse
import shutil
import threading
import time
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, ViewportSize, sync_playwright

import mlxworld
from apps.play.__main__ import bind, make_server
from apps.play.app import create_app
from apps.play.game import Choice
from mlxworld.play import folder as folders

FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--autoplay-policy=no-user-gesture-required"]
HERE = Path(__file__).parent
DESK: ViewportSize = {"width": 1280, "height": 800}
PHONE: ViewportSize = {"width": 390, "height": 844}
SECONDS = 2.0  # of the world, before its small picture is taken


def thumbnails() -> None:
    """A picture for every shipped world that has none, some seconds into a dream."""
    for name in mlxworld.worlds():
        path = folders.SHIPPED / name / folders.PICTURE
        if path.exists():
            continue
        world = mlxworld.World.load(name)
        frame, player = world.reset(3), mlxworld.agent(world, 3)
        for _ in range(round(SECONDS * world.fps)):
            frame = world.step(player.act(frame))
        Image.fromarray(frame.video).save(path, optimize=True)
        print(path)


def until(page: Page, condition: str, seconds: float = 60) -> None:
    """Wait for a JavaScript condition."""
    end = time.monotonic() + seconds
    while not page.evaluate(condition):
        if time.monotonic() > end:
            raise SystemExit(f"{condition} does not hold after {seconds} s")
        page.wait_for_timeout(50)


def shoot(page: Page, name: str) -> None:
    """Save what the page shows, in few colours: pictures in a repository are small."""
    path = HERE / f"{name}.png"
    page.screenshot(path=path)
    Image.open(path).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)
    print(path)


def pictures(address: str) -> None:
    """The page as it opens, real and dream side by side, and on a phone."""
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        page = browser.new_page(viewport=DESK)
        page.goto(address)
        until(page, "Number(picture.dataset.index) > 40")
        shoot(page, "app")
        page.keyboard.press("Shift")
        page.click("#real")
        until(page, "play.state().beside === 'real'")
        page.click("#pilot")
        until(page, "Number(picture.dataset.index) > 60")
        page.keyboard.press("p")
        page.wait_for_timeout(8000)  # toasts go
        shoot(page, "app-real")
        page.click("#real")
        page.close()
        page = browser.new_context(viewport=PHONE, has_touch=True, device_scale_factor=2).new_page()
        page.goto(address)
        page.click("#begin")
        until(page, "play.state().running")
        page.wait_for_timeout(9000)
        shoot(page, "app-phone")
        browser.close()


def main() -> None:
    """See the head of this file."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--world", default="pong")
    world = parser.parse_args().world
    thumbnails()
    app = create_app(mlxworld.World.load, Choice(world), worlds=mlxworld.worlds(), backends=mlxworld.installed())
    listener, server = bind("127.0.0.1", 0), make_server(app)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        pictures(f"http://127.0.0.1:{listener.getsockname()[1]}/")
    finally:
        server.should_exit = True
        thread.join()


if __name__ == "__main__":
    main()
