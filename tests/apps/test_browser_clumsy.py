"""Small things that would make a person doubt the page: keys that do the wrong thing, names and lists that mislead."""

import pytest
from playwright.sync_api import expect

from .browsing import choose, index, loud, pause, wait
from .toy import ToyWorld


@pytest.mark.parametrize("key", ["Escape", "b", "z", "p", "r"])
def test_while_one_paints_the_keys_are_the_brushs(visit, key):
    page = visit()
    page.keyboard.press("b")
    expect(page.locator("#tools")).to_be_visible()
    wait(page, "!play.state().running")
    at = index(page)
    page.keyboard.press(key)
    page.wait_for_timeout(200)
    assert page.evaluate("play.painter.open") is (key not in ("Escape", "b"))
    assert not page.evaluate("play.state().running") and index(page) == at


def test_a_stroke_is_undone_and_the_dream_goes_on_by_keys(visit):
    page = visit()
    page.keyboard.press("b")
    box = page.locator("#paint").bounding_box()
    assert box
    before = page.evaluate("document.getElementById('paint').toDataURL()")
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    assert page.evaluate("document.getElementById('paint').toDataURL()") != before
    page.keyboard.press("u")
    assert page.evaluate("document.getElementById('paint').toDataURL()") == before
    page.keyboard.press("Enter")
    wait(page, "!play.painter.open && play.state().running && !play.state().told")


def test_the_picture_keeps_its_size_where_the_page_is_scrolled(visit):
    page = visit(viewport={"width": 1280, "height": 800})
    page.evaluate("scrollTo(0, document.body.scrollHeight)")
    assert page.evaluate("scrollY") > 300
    page.click("#dice")
    wait(page, "play.state().seed !== 7")
    assert page.evaluate("picture.getBoundingClientRect().width") == 640


def test_how_fast_it_plays_moves_no_picture_on_a_phone(slow_world, visit):
    top = "Math.round(picture.getBoundingClientRect().top)"
    page = visit(address=slow_world.address, viewport={"width": 390, "height": 844}, has_touch=True, begin=False)
    before = page.evaluate(top)
    page.click("#begin")
    expect(page.locator("#feel")).to_contain_text("of its speed")
    assert page.evaluate(top) == before


def test_a_phone_has_no_list_of_keys(visit):
    phone = visit(viewport={"width": 390, "height": 844}, has_touch=True)
    expect(phone.locator("#key-list")).to_be_hidden()
    expect(visit().locator("#key-list")).to_be_visible()


def test_a_card_that_was_chosen_by_keys_keeps_the_focus(visit):
    page = visit()
    page.get_by_role("button", name="World doom").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#name")).to_have_text("doom")
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == "World doom"


def test_sound_that_was_stopped_comes_back_with_the_next_key(visit):
    page = visit()
    loud(page)
    page.evaluate("play.sound.context.suspend()")  # as a call does on a phone
    wait(page, "play.sound.context.state === 'suspended'")
    page.keyboard.press("ArrowUp")
    wait(page, "play.sound.context.state === 'running'")
    loud(page)


def test_a_world_is_called_what_its_card_says(serve, visit):
    class Named(ToyWorld):
        @classmethod
        def load(cls, name, *args, **options):
            world = super().load(name, *args, **options)
            world.name = "pong"
            return world

    page = visit(address=serve(Named).address)
    choose(page, "doom")
    expect(page.locator("#name")).to_have_text("doom")
    assert page.title() == "doom · mlxworld"


def test_settings_are_those_of_the_world_that_plays_though_its_folder_is_gone(served, visit):
    page = visit()
    choose(page, "doom")
    expect(page.locator("#name")).to_have_text("doom")
    served.game._offers._fixed = ["pong", "broken"]
    wait(page, "document.querySelectorAll('#worlds li').length === 2")
    page.select_option("#steps", "4")
    expect(page.locator("#toasts")).to_contain_text("not among those offered")
    expect(page.locator("#name")).to_have_text("doom")


def test_the_scrubber_asks_for_whole_frames_whatever_the_rate(visit):
    page = visit(begin=False)
    numbers = page.evaluate("""async () => {
      const { Stage } = await import("/stage.js");
      const names = ["div", "div", "input", "output"];
      const [stage, screens, slider, ago] = names.map((name) => document.createElement(name));
      document.createElement("main").append(stage);
      const asked = [];
      slider.type = "range";
      const own = new Stage({ stage, screens, slider, ago, onSeek: (index) => asked.push(index) });
      own.use([128, 128], 29.97, 1);
      for (let i = 0; i < 2400; i++) own.frame(i, false);
      for (const value of [700, 1500, 2390]) {
        slider.value = value;
        slider.dispatchEvent(new Event("input"));
      }
      return asked;
    }""")
    assert numbers == [700, 1500, 2390]


def test_what_plays_beside_a_paused_dream_plays(visit):
    page = visit()
    pause(page)
    page.click("#future")
    wait(page, "play.state().beside === 'future' && play.state().running")


def test_a_film_that_is_made_is_told_at_once(visit):
    page = visit()
    wait(page, "Number(picture.dataset.index) > 10")
    with page.expect_download():
        page.click("#film")
        expect(page.locator("#toasts")).to_contain_text("Making a film of the last 15 seconds")


def test_every_part_of_an_action_has_a_key_of_its_own(visit):
    names = ["noop", *(f"joint_{i}{side}" for i in range(8) for side in "+-")]
    codes = """async (names) => {
      const { Input } = await import("/input.js");
      const input = new Input({ onAction: () => {}, onKey: () => true });
      input.use(names, {}, document.createElement("div"), true);
      return [...input.pads.keys()].map((part) => input.codes(part));
    }"""
    found = visit(begin=False).evaluate(codes, names)
    assert len(found) == 16 and all(len(keys) == 1 for keys in found) and len({keys[0] for keys in found}) == 16
