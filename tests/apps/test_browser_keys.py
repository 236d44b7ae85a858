"""Which key goes where: to the world that is played, to the page, or to the control that has the focus."""

import json

import pytest
from playwright.sync_api import Page, expect

from .browsing import index, pause, wait
from .toy import ToyWorld

SMALL = {"width": 1280, "height": 720}


class Shooter(ToyWorld):
    """A world with an action on Space, on Enter and on PageDown."""

    actions = ("noop", "fire", "use", "down")
    keys = {"Space": "fire", "Enter": "use", "PageDown": "down"}  # noqa: RUF012

    def step(self, action):
        return super().step(min(action, 2) if isinstance(action, int) else action)


@pytest.fixture
def shooter(serve):
    return serve(Shooter).address


def pressed(page: Page, name: str, key: str) -> None:
    """The world uses this action for as long as the key is down."""
    button = page.locator(f"#pads [data-action={name}]")
    expect(button).to_have_attribute("aria-pressed", "false")
    page.keyboard.down(key)
    expect(button).to_have_attribute("aria-pressed", "true")
    page.keyboard.up(key)
    expect(button).to_have_attribute("aria-pressed", "false")


def focused(page: Page) -> str:
    return page.evaluate("document.activeElement.id || document.activeElement.localName")


def scrolled(page: Page) -> float:
    return page.evaluate("scrollY")


@pytest.mark.parametrize("end", ["Enter", "#begin-again", "tab", "Escape"])
def test_after_the_seed_the_keys_are_the_worlds(visit, end):
    page = visit()
    page.click("#seed")
    page.keyboard.press("Control+A")
    page.keyboard.type("42")
    if end.startswith("#"):
        page.click(end)
    elif end == "tab":
        page.focus("#begin-again")
        page.keyboard.press("Enter")
    else:
        page.keyboard.press(end)
    assert focused(page) == "body"
    expect(page.locator("#seed")).to_have_value("7" if end == "Escape" else "42")
    pressed(page, "up", "ArrowUp")
    page.keyboard.press("p")
    expect(page.locator("#badge")).to_have_text("Paused")
    expect(page.locator("#seed")).to_have_value("7" if end == "Escape" else "42")


def test_a_seed_that_is_refused_can_be_mended_at_once(visit):
    page = visit()
    page.click("#seed")
    page.keyboard.press("Control+A")
    page.keyboard.type("9999999999")
    page.keyboard.press("Enter")
    expect(page.locator("#toasts")).to_contain_text("whole number")
    assert focused(page) == "seed"


def test_arrows_play_on_from_the_text_box_and_letters_do_not(visit):
    page = visit()
    page.click("#seed")
    pressed(page, "up", "ArrowUp")
    pressed(page, "down", "ArrowDown")
    page.keyboard.press("End")
    page.keyboard.type("wp 1")
    expect(page.locator("#seed")).to_have_value("7wp 1")
    expect(page.locator("#badge")).to_be_hidden()


@pytest.mark.parametrize("select", ["#steps", "#backend", "#precision", "#clip"])
def test_a_list_that_was_clicked_gives_the_keys_back(visit, select):
    page = visit()
    page.click(select)
    page.keyboard.press("Escape")  # closes it
    before = page.locator(select).input_value()
    pressed(page, "down", "ArrowDown")
    page.keyboard.press("Space")
    expect(page.locator("#badge")).to_have_text("Paused")
    assert page.locator(select).input_value() == before


def test_a_choice_in_a_list_gives_the_keys_back(visit):
    page = visit()
    for select, value in (("#clip", "1"), ("#steps", "4"), ("#precision", "float16"), ("#backend", "mlx")):
        page.focus(select)
        page.select_option(select, value)
        assert focused(page) == "body"
    expect(page.locator("#runs")).to_contain_text("mlx")
    pressed(page, "up", "ArrowUp")


def test_the_volume_has_its_own_keys_after_tab_and_none_after_a_click(visit):
    page = visit()
    page.click("#volume", position={"x": 30, "y": 8})
    value = page.locator("#volume").input_value()
    for key, name in (("ArrowUp", "up"), ("ArrowDown", "down")):
        pressed(page, name, key)
    page.keyboard.press("PageUp")
    page.keyboard.press("Home")
    assert page.locator("#volume").input_value() == value
    page.focus("#mute")
    page.keyboard.press("Tab")
    assert focused(page) == "volume"
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#volume")).to_have_value("1")
    page.keyboard.press("p")
    expect(page.locator("#badge")).to_have_text("Paused")
    page.keyboard.press("Escape")
    assert focused(page) == "body"


def test_a_chosen_file_gives_the_keys_back(visit, tmp_path):
    page = visit()
    (tmp_path / "log.json").write_text("[")
    page.focus("#replay")
    page.set_input_files("#replay-file", tmp_path / "log.json")
    expect(page.locator("#toasts")).to_contain_text("not an action log")
    assert focused(page) == "body"
    pressed(page, "up", "ArrowUp")


@pytest.mark.parametrize("where", ["body", "#save", "#seed", "#volume"])
def test_no_key_scrolls_the_page_that_is_played(visit, where):
    page = visit(viewport=SMALL)
    page.evaluate(f"scrollTo(0, 40); document.querySelector('{where}').scrollIntoView({{ block: 'nearest' }})")
    before = scrolled(page)
    for key in ("ArrowLeft", "ArrowUp", "ArrowDown", "PageUp", "PageDown", "Home", "End", "Space", "Shift+Space"):
        if where != "body":
            page.evaluate(f"document.querySelector('{where}').focus({{preventScroll: true}})")
        for _ in range(3):
            page.keyboard.press(key)
        page.keyboard.down(key.split("+")[-1])
        page.keyboard.down(key.split("+")[-1])  # it repeats
        page.keyboard.up(key.split("+")[-1])
        page.wait_for_timeout(150)
        assert scrolled(page) == before, key


def test_space_pauses_where_the_world_has_no_use_for_it(visit):
    page = visit()
    page.keyboard.press("Space")
    expect(page.locator("#badge")).to_have_text("Paused")
    page.keyboard.down("Space")
    page.keyboard.down("Space")  # repeated: one press is one pause
    page.keyboard.up("Space")
    before = index(page)
    wait(page, f"Number(picture.dataset.index) > {before + 5}")
    expect(page.locator("#key-list")).to_contain_text("Space")


def test_space_is_the_worlds_where_it_has_an_action_for_it(shooter, visit):
    page = visit(address=shooter, viewport=SMALL)
    for key, name in (("Space", "fire"), ("Enter", "use"), ("PageDown", "down")):
        pressed(page, name, key)
    assert scrolled(page) == 0
    expect(page.locator("#badge")).to_be_hidden()
    page.click("#save")  # a clicked button is not pressed by the next Space
    expect(page.locator("#moments li")).to_have_count(1)
    pressed(page, "fire", "Space")
    page.hover("#save")
    page.mouse.down()
    page.mouse.move(5, 5)
    page.mouse.up()  # pressed and left: it has the focus and was not clicked
    pressed(page, "fire", "Space")
    pressed(page, "use", "Enter")
    expect(page.locator("#moments li")).to_have_count(1)
    page.focus("#save")  # as Tab does
    page.keyboard.press("Space")
    expect(page.locator("#moments li")).to_have_count(2)


def test_a_world_with_the_same_name_and_other_actions_gets_its_own_keys(visit):
    page = visit()
    pause(page)
    world = page.evaluate("play.world()")
    page.evaluate(
        f"play.link.on.message({json.dumps({**world, 'actions': ['noop', 'fire'], 'keys': {'Space': 'fire'}})})"
    )
    expect(page.locator("#pads button")).to_have_count(1)


def test_a_number_pad_that_gives_arrows_is_arrows(visit):
    page = visit(viewport=SMALL)
    for key, name in (("Numpad8", "up"), ("Numpad2", "down")):
        pressed(page, name, key)
    page.evaluate("scrollTo(0, 40)")
    before = scrolled(page)
    for key in ("Numpad1", "Numpad3", "Numpad7", "Numpad9", "Numpad4", "Numpad6"):
        page.keyboard.press(key)
        page.wait_for_timeout(100)
        assert scrolled(page) == before, key
    page.click("#seed")
    page.keyboard.press("End")
    page.keyboard.press("Shift+Numpad8")  # a digit
    expect(page.locator("#seed")).to_have_value("78")


def test_a_key_that_is_let_go_of_beside_the_meta_key_is_not_held_for_ever(visit):
    """macOS tells of no keyup while the Meta key is down."""
    page = visit()
    page.keyboard.down("ArrowUp")
    wait(page, "play.input.held.size === 1")
    page.keyboard.down("Meta")
    page.keyboard.up("Meta")
    assert page.evaluate("play.input.held.size") == 0


@pytest.mark.parametrize("seed", ["", " ", "1e3", "0x10", "-1", "1.0", "4294967296"])
def test_what_is_no_seed_is_not_taken_for_one(visit, seed):
    page = visit()
    page.evaluate(
        "document.getElementById('start-form').noValidate = true"
    )  # the browser's own check knows digits only
    page.fill("#seed", seed)
    page.keyboard.press("Enter")
    expect(page.locator("#toasts")).to_contain_text("whole number from 0 to 4294967295")
    assert page.evaluate("play.state().seed") == 7
