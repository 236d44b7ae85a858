"""The page while something changes under it: another world, a load, a replay that is under way, a refusal."""

import json
import threading

import av
import pytest
from playwright.sync_api import expect

from .browsing import choose, index, loud, pause, wait
from .test_action_log import a_log
from .toy import ToyWorld, heavy


def other(**changes) -> type[ToyWorld]:
    """A world whose "doom" differs from its "pong" in these attributes."""

    class Other(ToyWorld):
        @classmethod
        def load(cls, name, *args, **options):
            world = super().load(name, *args, **options)
            for attribute, value in changes.items() if name == "doom" else ():
                setattr(world, attribute, value)
            return world

    return Other


@pytest.mark.parametrize(
    "changes", [{"sample_rate": 24000, "samples": 800}, {"fps": 15, "samples": 2048}], ids=["rate", "samples"]
)
def test_a_recording_ends_with_its_world_and_is_saved(serve, visit, changes, tmp_path):
    page = visit(address=serve(other(**changes)).address)
    loud(page)
    page.click("#record")
    page.wait_for_timeout(2000)
    with page.expect_download(timeout=30_000) as download:
        choose(page, "doom")
    assert download.value.suggested_filename.startswith("pong-")
    download.value.save_as(tmp_path / "video")
    with av.open(str(tmp_path / "video")) as video:
        assert {stream.type for stream in video.streams} == {"video", "audio"}
        assert sum(1 for _ in video.decode(video=0)) > 5
    expect(page.locator("#record")).to_have_text("Record")
    expect(page.locator("#toasts")).to_contain_text("is saved")
    expect(page.locator("#name")).to_have_text("doom")
    page.click("#record")  # and the next one begins
    page.wait_for_timeout(300)
    with page.expect_download(timeout=30_000) as download:
        page.click("#record")
    assert download.value.suggested_filename.startswith("doom-")


def test_a_recording_goes_on_with_other_settings_of_its_world(visit):
    page = visit()
    page.click("#record")
    page.select_option("#steps", "4")
    expect(page.locator("#runs")).to_contain_text("4 passes")
    expect(page.locator("#rec")).to_be_visible()


def test_a_world_with_other_samples_a_frame_is_heard(serve, visit):
    page = visit(address=serve(other(fps=3.75, samples=8192)).address)
    choose(page, "doom")
    expect(page.locator("#name")).to_have_text("doom")
    wait(page, "play.sound.samples === 8192")
    page.keyboard.down("ArrowUp")
    loud(page)


def test_a_rate_that_the_browser_does_not_have_is_resampled(serve, visit):
    page = visit(address=serve(other(sample_rate=1500, samples=50)).address)
    choose(page, "doom")
    wait(page, "play.sound.rate === 1500 && play.sound.node && play.sound.fill > 0")
    assert page.evaluate("play.sound.context.sampleRate") >= 8000
    expect(page.locator("#sound-note")).to_be_hidden()


def test_two_worlds_at_once_leave_one_sound(serve, visit):
    count = "const made = []; globalThis.made = made; globalThis.AudioContext = class extends AudioContext {"
    page = visit(count + "constructor(...options) { super(...options); made.push(this); } };", begin=False)
    page.evaluate("Promise.all([24000, 48000, 30720].map((rate) => play.sound.start(rate, 1024)))")
    assert page.evaluate("made.filter((context) => context.state !== 'closed').length") == 1
    assert page.evaluate("play.sound.context.sampleRate") == 30720
    expect(page.locator("#sound-note")).to_be_hidden()


def test_a_page_that_comes_while_a_world_is_loaded_is_told(serve, visit):
    Heavy, may_load = heavy()
    address = serve(Heavy).address
    try:
        first = visit(address=address)
        choose(first, "doom")
        page = visit(address=address, wait_for_world=False)
        expect(page.locator("#veil-text")).to_have_text("Loading doom …")
        page.wait_for_timeout(2400)
        expect(page.locator("#link")).to_have_text("connected")
    finally:
        may_load.set()
    expect(page.locator("#veil")).to_be_hidden()
    expect(page.locator("#begin")).to_be_enabled()
    later = visit(address=address, wait_for_world=False)
    expect(later.locator("#name")).to_have_text("doom")
    expect(later.locator("#veil")).to_be_hidden()


def test_a_page_that_comes_while_the_world_hangs_is_told(serve, visit):
    may_step = threading.Event()
    may_step.set()

    class Hanging(ToyWorld):
        def step(self, action):
            assert may_step.wait(20)
            return super().step(action)

    address = serve(Hanging).address
    first = visit(address=address)
    may_step.clear()
    try:
        page = visit(address=address, wait_for_world=False)
        expect(page.locator("#link")).to_have_text("The world is not answering")
    finally:
        may_step.set()
    expect(page.locator("#link")).to_have_text("connected")
    expect(first.locator("#link")).to_have_text("connected")


def test_a_page_that_comes_during_a_replay_sees_how_far_it_is(visit, tmp_path):
    page = visit()
    (tmp_path / "log.json").write_text(json.dumps(a_log(actions=[[0, 20_000]])))
    page.set_input_files("#replay-file", tmp_path / "log.json")
    wait(page, "play.state().replay && Number(picture.dataset.index) > 30")
    late = visit()
    done = int(late.evaluate("badge.textContent").split()[1])
    assert 30 < done <= index(late)
    badge, at = page.evaluate("[badge.textContent, picture.dataset.index]")
    assert badge == f"Replay {at} / 20000"


REFUSED = ("[1]", "5", '"x"', "null", "{}", '{"format": "mlxworld-actions-2"}')


def test_a_refused_file_is_no_silence_of_the_world(serve, visit, tmp_path):
    """Each file on a page and a world of its own; all of them wait at once for what would be told after two seconds."""
    pages = {}
    for log in REFUSED:
        pages[log] = page = visit(address=serve().address)
        pause(page)
        (tmp_path / "log.json").write_text(log)
        page.set_input_files("#replay-file", tmp_path / "log.json")
        expect(page.locator("#toasts p"), log).to_have_count(1)
    page.wait_for_timeout(2400)
    for log, page in pages.items():
        expect(page.locator("#link"), log).to_have_text("connected")
