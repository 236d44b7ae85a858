"""The page as a person meets it: how large the picture is, going back, what plays beside, films, links, painting."""

import re
from fractions import Fraction

import av
import pytest
from playwright.sync_api import expect

import mlxworld

from .browsing import index, pause, shown, wait
from .toy import ToyReal, ToyWorld

SIZES = {(1280, 800): 640, (1366, 768): 640, (1920, 1080): 896}


def box_of(page, name: str) -> tuple[float, float, float]:
    """Width, height and lower end of an element on the page."""
    box = f"document.getElementById('{name}').getBoundingClientRect()"
    return page.evaluate(f"(({{ width, height, bottom }}) => [width, height, bottom])({box})")


@pytest.mark.parametrize("size", SIZES)
def test_the_picture_has_whole_pixels_and_the_controls_are_in_sight(visit, size):
    page = visit(viewport={"width": size[0], "height": size[1]})
    width, height, bottom = box_of(page, "picture")
    assert width == height == SIZES[size] and width % 128 == 0
    assert bottom <= box_of(page, "full")[2] <= size[1]
    page.click("#future")
    expect(page.locator("#beside-screen")).to_be_visible()
    both = [box_of(page, name)[0] for name in ("picture", "beside")]
    assert both[0] == both[1] and both[0] % 128 == 0
    assert page.evaluate("document.documentElement.scrollWidth") <= size[0]


def test_a_world_of_wide_pixels_is_shown_and_filmed_wide(visit, monkeypatch, tmp_path):
    monkeypatch.setattr(ToyWorld, "aspect", 4 / 3)
    page = visit()
    width, height, _ = box_of(page, "picture")
    assert height % 128 == 0 and width == pytest.approx(height * 4 / 3, abs=0.5) and height > 500
    wait(page, "Number(picture.dataset.index) > 10")
    with page.expect_download() as download:
        page.click("#film")
    download.value.save_as(tmp_path / "film.mp4")
    with av.open(str(tmp_path / "film.mp4")) as film:
        video = film.streams.video[0]
        assert video.width == video.height and video.sample_aspect_ratio == Fraction(4, 3)


def test_full_screen_has_whole_pixels_too_and_hides_the_controls(visit):
    page = visit()
    page.keyboard.press("o")
    wait(page, "document.fullscreenElement !== null && picture.getBoundingClientRect().width === 768")
    opacity = "getComputedStyle(document.querySelector('.controls')).opacity"
    page.mouse.move(300, 300)
    page.mouse.move(310, 310)
    wait(page, f"{opacity} === '1'")
    wait(page, f"{opacity} === '0'")
    page.keyboard.press("o")
    wait(page, "document.fullscreenElement === null && picture.getBoundingClientRect().width === 640")


def test_a_phone_has_pads_and_a_desk_has_none(visit):
    phone = visit(viewport={"width": 390, "height": 844}, has_touch=True)
    expect(phone.locator("#pads [data-action=up]")).to_be_visible()
    assert phone.evaluate("document.documentElement.scrollWidth") <= 390
    assert box_of(phone, "pads")[2] <= 844
    expect(visit().locator("#pads")).to_be_hidden()


def seek(page, position: int) -> None:
    slider = "document.getElementById('time')"
    page.evaluate(f"{slider}.value = {position}; {slider}.dispatchEvent(new Event('input'))")


def test_the_scrubber_shows_the_last_minute_and_play_goes_on_from_there(visit):
    page = visit()
    wait(page, "Number(picture.dataset.index) > 40")
    pause(page)
    last, at = shown(page), index(page)
    seek(page, 10)
    wait(page, "picture.dataset.index === '10'")
    early = shown(page)
    expect(page.locator("#ago")).to_have_text(f"\u2212{(at - 10) / 30:.1f} s")
    seek(page, at)
    wait(page, f"picture.dataset.index === '{at}'")
    assert shown(page) == last != early
    seek(page, 10)
    wait(page, "picture.dataset.index === '10'")
    assert shown(page) == early
    page.click("#run")
    wait(page, "Number(picture.dataset.index) > 12")
    pause(page)
    page.click("#undo")
    wait(page, f"picture.dataset.index === '{at}'")
    assert shown(page) == last


def test_a_restart_is_undone_where_it_is_told(visit):
    page = visit()
    wait(page, "Number(picture.dataset.index) > 20")
    pause(page)
    before, at = shown(page), index(page)
    page.click("#restart")
    wait(page, "picture.dataset.index === '0'")
    page.locator("#toasts button").click()
    wait(page, f"picture.dataset.index === '{at}'")
    assert shown(page) == before


def test_a_dreams_bodies_are_drawn_over_it_and_whether_they_are_is_kept(visit, monkeypatch):
    monkeypatch.setattr(ToyWorld, "bodies", 1)
    page = visit()
    canvas, button = page.locator("#dream-bodies"), page.locator("#show-bodies")
    expect(canvas).to_be_visible()
    expect(button).to_have_attribute("aria-pressed", "true")
    expect(canvas).to_have_attribute("data-told", "1 bodies, possible 75 %")
    pause(page)
    where = "[...pixels.entries()].filter(([i, x]) => i % 4 === 3 && x > 0).length"
    drawn = f"(() => {{ const c = document.getElementById('dream-bodies'); const pixels = \
        c.getContext('2d').getImageData(0, 0, c.width, c.height).data; return {where}; }})()"
    assert page.evaluate(drawn) > 500
    button.click()
    expect(canvas).to_be_hidden()
    expect(button).to_have_attribute("aria-pressed", "false")
    page.reload()
    expect(page.locator("#begin")).to_be_enabled()
    expect(button).to_have_attribute("aria-pressed", "false")
    wait(page, "Number(picture.dataset.index) > 5")
    expect(canvas).to_be_hidden()


def test_where_nothing_is_known_of_bodies_there_is_no_button_for_them(visit):
    page = visit()
    expect(page.locator("#show-bodies")).to_be_hidden()
    expect(page.locator("#dream-bodies")).to_be_hidden()


def test_the_real_game_beside_the_dream(visit, monkeypatch):
    monkeypatch.setattr(mlxworld, "Real", ToyReal)
    page = visit()
    page.click("#real")
    expect(page.locator("#beside-name")).to_have_text("The real game")
    wait(page, "Number(picture.dataset.index) > 10 && document.getElementById('beside').dataset.index > 10")
    expect(page.locator("#beside-bodies")).to_be_visible()
    expect(page.locator("#dream-bodies")).to_be_hidden()
    page.click("#hear-beside")
    expect(page.locator("#hear-beside")).to_have_attribute("aria-pressed", "true")
    page.keyboard.down("ArrowUp")
    wait(page, "play.sound.level() > 0.05")  # the real game meets its border
    page.keyboard.up("ArrowUp")
    wait(page, "Number(picture.dataset.index) > 60")
    page.click("#sync")
    wait(page, "Number(picture.dataset.index) < 50")
    page.click("#real")
    expect(page.locator("#beside-screen")).to_be_hidden()
    expect(page.locator("#hear-dream")).to_have_attribute("aria-pressed", "true")


def test_two_futures_side_by_side(visit):
    page = visit()
    page.click("#future")
    expect(page.locator("#beside-screen")).to_be_visible()
    wait(page, "Number(document.getElementById('beside').dataset.index) > 20")
    pause(page)
    yours = shown(page)
    theirs = page.evaluate("document.getElementById('beside').toDataURL()")
    page.click("#swap")
    wait(page, f"document.getElementById('beside').toDataURL() === '{yours}'")
    assert shown(page) == theirs


def test_the_last_seconds_are_saved_as_a_film(visit, tmp_path):
    page = visit()
    wait(page, "Number(picture.dataset.index) > 45")
    with page.expect_download(timeout=30_000) as download:
        page.click("#film")
    download.value.save_as(tmp_path / "film.mp4")
    assert re.fullmatch(r"pong-[\d-]+-[0-9a-f]+\.mp4", download.value.suggested_filename)
    with av.open(str(tmp_path / "film.mp4")) as film:
        assert {stream.codec_context.name for stream in film.streams} == {"h264", "aac"}
        assert film.duration and film.duration > 1e6


def test_a_film_is_for_those_who_have_the_token(guarded, visit):
    page = visit(address=guarded.address)
    with page.expect_download(timeout=30_000) as download:
        page.click("#film")
    assert download.value.path().stat().st_size > 1000
    page.close()  # before its server ends


COPY = "globalThis.copied = []; navigator.clipboard.writeText = async (text) => { copied.push(text) }"


def test_a_link_plays_the_very_same_dream(visit, served):
    page = visit(COPY)
    page.keyboard.down("ArrowDown")
    wait(page, "Number(picture.dataset.index) > 30")
    page.keyboard.up("ArrowDown")
    pause(page)
    last = shown(page)
    page.click("#share")
    wait(page, "copied.length === 1")
    href = page.evaluate("copied[0]")
    assert href.startswith(served.address + "#dream=") and len(href) < 2000
    page.close()
    friend = visit(address=href, begin=False)
    expect(friend.locator("#toasts")).to_contain_text("bit for bit")
    wait(friend, f"picture.toDataURL() === '{last}' && location.hash === ''")


@pytest.mark.parametrize("hash", ["#dream=%", "#dream=abc", "#dream=" + "A" * 4000, "#dream=q1YqKUrNK1GyUqpWSlKyUgIA"])
def test_a_link_that_cannot_be_read_is_a_line(visit, served, hash):  # noqa: A002
    page = visit(address=served.address + hash, begin=False)
    wait(page, "Number(picture.dataset.index) > 5")  # the dream plays itself all the same


def test_a_ball_is_painted_into_the_dream(visit):
    page = visit()
    pause(page)
    page.keyboard.press("b")
    expect(page.locator("#tools")).to_be_visible()
    page.locator(".colours button").first.click()  # erase the square that is there
    page.locator(".brushes button").last.click()
    box = page.locator("#paint").bounding_box()
    assert box
    scale = box["width"] / 128
    x, y = page.evaluate("""(() => {
      const { data } = picture.getContext("2d").getImageData(0, 0, 128, 128);
      const bright = [...Array(128 * 128).keys()].filter((i) => data[4 * i] + data[4 * i + 1] + data[4 * i + 2] > 300);
      return [Math.min(...bright.map((i) => i % 128)), Math.floor(Math.min(...bright) / 128)];
    })()""")
    for row in (2, 8, 14):
        page.mouse.move(box["x"] + (x - 4) * scale, box["y"] + (y + row) * scale)
        page.mouse.down()
        page.mouse.move(box["x"] + (x + 20) * scale, box["y"] + (y + row) * scale, steps=6)
        page.mouse.up()
    page.locator(".colours button").last.click()
    page.mouse.move(box["x"] + 64 * scale, box["y"] + 64 * scale)
    page.mouse.down()
    page.mouse.up()
    page.click("[data-tool=done]")
    wait(page, "Number(picture.dataset.index) < 20 && play.state().running && !play.state().told")
    pause(page)
    page.locator("#toasts button").last.click()  # undo
    wait(page, "play.state().told")


def test_a_picture_that_is_dropped_begins_a_dream(visit):
    page = visit()
    page.evaluate("""async () => {
      const canvas = Object.assign(document.createElement("canvas"), { width: 300, height: 200 });
      const context = canvas.getContext("2d");
      context.fillRect(0, 0, 300, 200);
      context.fillStyle = "#fff";
      context.fillRect(100, 100, 30, 30);
      const blob = await new Promise((done) => canvas.toBlob(done));
      const dataTransfer = new DataTransfer();
      dataTransfer.items.add(new File([blob], "mine.png", { type: "image/png" }));
      document.body.dispatchEvent(new DragEvent("drop", { dataTransfer, bubbles: true, cancelable: true }));
    }""")
    wait(page, "!play.state().told")
    expect(page.locator("#toasts")).to_contain_text("goes on from your picture")


def test_worlds_are_chosen_by_their_pictures(visit):
    page = visit()
    cards = page.locator("#worlds .take")
    expect(cards).to_have_count(3)
    page.get_by_role("button", name="World doom").click()
    expect(page.locator("#name")).to_have_text("doom")
    wait(page, "Number(picture.dataset.index) > 3")
    middle = "(canvas) => canvas.getContext('2d').getImageData(64, 64, 1, 1).data[3]"
    assert page.locator("#worlds canvas").first.evaluate(middle) == 255


def test_settings_and_moments_survive_a_reload(visit):
    page = visit()
    page.locator("#volume").fill("35")
    page.keyboard.press("m")
    page.click("#save")
    expect(page.locator("#moments li")).to_have_count(1)
    page.evaluate("document.querySelector('[data-fold=numbers]').open = false")
    page.wait_for_timeout(100)
    page.reload()
    expect(page.locator("#moments li")).to_have_count(1)
    wait(page, "play.state().running")
    expect(page.locator("#volume")).to_have_value("35")
    expect(page.locator("#mute")).to_have_attribute("aria-pressed", "true")
    assert page.evaluate("document.querySelector('[data-fold=numbers]').open") is False


def test_settings_of_somebody_else_are_no_harm(visit):
    page = visit('localStorage.setItem(\'mlxworld\', \'{"volume": "loud", "keys": [], "muted": null}\')')
    expect(page.locator("#volume")).to_have_value("80")


def test_a_page_for_other_machines_has_a_code_for_phones(serve, visit):
    app = serve(token="secret", wide="http://192.0.2.7:7860/?token=secret")
    page = visit(address=app.address)
    expect(page.locator("#phone")).to_be_visible()
    wait(page, "document.getElementById('qr').naturalWidth > 100")
    expect(visit().locator("#phone")).to_be_hidden()


def test_latency_is_told_in_words(visit):
    page = visit()
    for _ in range(5):
        page.keyboard.press("ArrowUp")
        page.wait_for_timeout(120)
    expect(page.locator("#feel")).to_have_text(re.compile(r"answers (at once|quickly|a little late|late), \d+ ms"))


@pytest.mark.parametrize(("seconds", "percent"), [(0.1, r"[23]\d"), (0.4, r"\d")])
def test_a_slow_world_says_so_in_words(serve, visit, seconds, percent):
    class Slow(ToyWorld):
        delay = seconds

    page = visit(address=serve(Slow).address)
    expect(page.locator("#feel")).to_have_text(re.compile(rf"plays at {percent} % of its speed"))


HELD = """async ({ actions, codes, together = false }) => {
  const { Input } = await import("/input.js");
  const sent = [];
  const box = document.createElement("div");
  const input = new Input({ onAction: (action) => sent.push(action), onKey: () => true });
  input.use(actions, {}, box, together);
  for (const code of codes) {
    const up = code.startsWith("-");
    dispatchEvent(new KeyboardEvent(up ? "keyup" : "keydown", { code: code.replace("-", ""), bubbles: true }));
  }
  return together ? sent : sent.map((action) => actions[action]);
}"""
DOOM = ["noop", "forward", "left", "fire", "forward+left", "forward+fire", "strafe_left", "fire+left"]
JUMPER = ["noop", "left", "right", "jump", "left+jump", "right+jump"]


@pytest.mark.parametrize(
    ("actions", "codes", "sent"),
    [
        (DOOM, ["KeyW", "ArrowLeft", "-KeyW", "-ArrowLeft"], ["forward", "forward+left", "left", "noop"]),
        (DOOM, ["ArrowUp", "Space", "-Space"], ["forward", "forward+fire", "forward"]),
        (DOOM, ["ArrowLeft", "KeyW", "Space"], ["left", "forward+left", "forward+fire"]),  # a tie: the newest keys
        (DOOM, ["KeyW", "ArrowLeft", "Space"], ["forward", "forward+left", "fire+left"]),
        (DOOM, ["KeyA", "Space"], ["strafe_left", "fire"]),
        (JUMPER, ["ArrowRight", "ArrowUp", "-ArrowUp"], ["right", "right+jump", "right"]),
        (["noop", "0+", "0-"], ["Digit1", "-Digit1", "Digit2"], ["0+", "noop", "0-"]),
    ],
)
def test_the_action_is_the_one_with_the_most_parts_that_are_held(visit, actions, codes, sent):
    page = visit(begin=False)
    assert page.evaluate(HELD, {"actions": actions, "codes": codes}) == sent


def test_of_buttons_and_axes_all_that_is_held_goes_at_once(visit):
    held = {"actions": ["noop", "fire", "jump", "0+"], "codes": ["Space", "ArrowUp", "Digit1", "-Space"]}
    assert visit(begin=False).evaluate(HELD, {**held, "together": True}) == [1, 3, 7, 6]


def test_a_gamepad_drives_actions_of_several_parts(serve, visit):
    class Doom(ToyWorld):
        actions = ("noop", "forward", "left", "forward+left")
        keys = {}  # noqa: RUF012

        def step(self, action):
            return super().step(min(action, 2))

    pad = "globalThis.pad = { axes: [0, 0, 0, 0], buttons: [] }; navigator.getGamepads = () => [globalThis.pad]"
    page = visit(pad, address=serve(Doom).address)
    page.evaluate("pad.axes[0] = -1; pad.axes[3] = -1")
    wait(page, "play.input.sent === 3")
    page.evaluate("pad.axes[0] = 0; pad.axes[3] = 0")
    wait(page, "play.input.sent === 0")
