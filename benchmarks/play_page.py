"""The play app over minutes in a real browser, on a toy world that costs no time: python -m benchmarks.play_page

Plays with random keys at the world's own rate and prints what a person would notice: frames a second, gaps in the
sound, frames that the page did not get, the time from a key to its picture. Wanted: native rate, no gap, p99 < 80 ms.
It is no test, because it takes minutes and a busy machine fails it.
"""

import argparse
import json
import random
import shutil
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress

from playwright.sync_api import sync_playwright

from docs.screenshots import FLAGS, until

PORT = 7899
FIGURES = """(() => {
  const [half, most] = play.meters.key.percentiles(0.5, 0.99);
  return { index: Number(picture.dataset.index), gaps: play.sound.gaps, dropped: play.meters.drops,
           key_ms: [half, most], keys: play.meters.key.count, sound_ahead_ms: 1000 * play.sound.fill };
})()"""


def main() -> None:
    """Play the toy world for some minutes in headless Chromium."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--minutes", type=float, default=5)
    minutes = parser.parse_args().minutes
    server = subprocess.Popen([sys.executable, "-m", "tests.apps.toy", str(PORT)])
    try:
        print(json.dumps(played(minutes), indent=1))
    finally:
        server.terminate()
        server.wait()


def played(minutes: float) -> dict:
    """The figures of so many minutes."""
    address = f"http://127.0.0.1:{PORT}/"
    for _ in range(100):
        with suppress(OSError):
            urllib.request.urlopen(address).close()
            break
        time.sleep(0.1)
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    draw = random.Random(0)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.goto(address)
        until(page, "!document.getElementById('begin').disabled")
        page.keyboard.press("ArrowUp")
        until(page, "play.sound.fill > 0 && Number(picture.dataset.index) > 90")
        page.evaluate("play.meters.key.count = 0")
        first, began, sizes = page.evaluate(FIGURES), time.monotonic(), []
        while time.monotonic() - began < 60 * minutes:
            key = draw.choice(("ArrowUp", "ArrowDown"))
            page.keyboard.down(key)
            page.wait_for_timeout(draw.uniform(30, 400))
            page.keyboard.up(key)
            page.wait_for_timeout(draw.uniform(30, 600))
            sizes.append(page.evaluate("performance.memory?.usedJSHeapSize ?? 0"))
        last, seconds = page.evaluate(FIGURES), time.monotonic() - began
        browser.close()
    half, most = last["key_ms"]
    return {
        "minutes": round(seconds / 60, 2),
        "frames_per_s": round((last["index"] - first["index"]) / seconds, 2),
        "sound_gaps": last["gaps"] - first["gaps"],
        "frames_dropped": last["dropped"] - first["dropped"],
        "key_to_picture_ms": {"p50": round(half, 1), "p99": round(most, 1), "keys": last["keys"]},
        "sound_ahead_ms": round(last["sound_ahead_ms"]),
        "page_heap_mb": [round(size / 1e6, 1) for size in (min(sizes), max(sizes))],
    }


if __name__ == "__main__":
    main()
