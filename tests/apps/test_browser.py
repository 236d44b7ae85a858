"""The page in a real browser: what a person sees, hears and presses. Chromium runs headless."""

import json

import av
import pytest
from playwright.sync_api import expect

from .browsing import choose, index, loud, pause, shown, wait


def test_the_dream_plays_itself_behind_one_line_and_any_key_takes_over(visit):
    page = visit(begin=False)
    wait(page, "Number(picture.dataset.index) > 20", 5)
    expect(page.locator("#begin")).to_contain_text("Nothing here is programmed")
    assert page.evaluate("play.state().pilot && !play.sound.node")
    page.keyboard.press("x")
    expect(page.locator("#begin")).to_be_hidden()
    wait(page, "!play.state().pilot && play.state().running")
    assert page.evaluate("play.state().told && Number(picture.dataset.index) > 20")  # it goes on, and can be told
    expect(page.locator("#runs")).to_have_text("torch · cpu · float32 · 2 passes a frame")
    expect(page.locator("#sound-note")).to_be_hidden()
    wait(page, "play.meters.fps(true) > 10 && parseFloat(document.getElementById('m-fps').textContent) > 10")


def test_a_held_key_moves_the_square_sounds_and_is_logged(visit):
    page = visit()
    page.keyboard.down("ArrowDown")
    expect(page.locator("[data-action=down]")).to_have_attribute("aria-pressed", "true")
    loud(page)  # it meets the lower border
    expect(page.locator("#m-key")).to_contain_text("ms")
    page.keyboard.up("ArrowDown")
    expect(page.locator("[data-action=down]")).to_have_attribute("aria-pressed", "false")
    with page.expect_download(timeout=30_000) as download:
        page.click("#log")
    log = json.loads(download.value.path().read_text())
    actions = [action for action, _ in log["actions"]]
    assert 2 in actions and 1 not in actions and actions[-1] == 0


def test_pause_stops_picture_and_sound_and_a_step_is_one_frame(visit):
    page = visit()
    page.keyboard.down("ArrowUp")
    loud(page)
    pause(page)
    page.keyboard.up("ArrowUp")
    wait(page, "play.sound.level() < 0.001")
    page.wait_for_timeout(400)  # gaps are told every 270 ms: those of before the pause have come
    gaps, still, before = page.evaluate("play.sound.gaps"), shown(page), index(page)
    page.wait_for_timeout(300)
    assert (shown(page), index(page), page.evaluate("play.sound.gaps")) == (still, before, gaps)
    page.keyboard.press("Period")
    wait(page, f"Number(picture.dataset.index) === {before + 1}")
    page.keyboard.press("p")
    wait(page, f"Number(picture.dataset.index) > {before + 5}")


def test_a_moment_brings_back_the_same_picture(visit):
    page = visit()
    pause(page)
    kept, at = shown(page), index(page)
    page.click("#save")
    page.click("#run")
    wait(page, f"Number(picture.dataset.index) > {at + 20}")
    pause(page)
    assert shown(page) != kept
    page.click("#moments .take")
    wait(page, f"Number(picture.dataset.index) === {at}")
    assert shown(page) == kept == page.evaluate("document.querySelector('#moments canvas').toDataURL()")
    page.click("#moments .remove")
    expect(page.locator("#moments li")).to_have_count(0)


def test_the_same_seed_makes_the_same_pictures(visit):
    page = visit()
    pause(page)
    seen = []
    for seed, clip in (("41", "1"), ("42", "1"), ("41", "1"), ("41", "2")):
        page.fill("#seed", seed)
        page.select_option("#clip", clip)
        page.click("#begin-again")
        wait(page, "picture.dataset.index === '0'")
        pictures = [shown(page)]
        for number in range(1, 4):
            page.click("#step")
            wait(page, f"picture.dataset.index === '{number}'")
            pictures.append(shown(page))
        seen.append(pictures)
    assert seen[0] == seen[2] and seen[0] != seen[1] and seen[0] != seen[3]


def test_branches_fork_switch_and_close(visit):
    page = visit()
    pause(page)
    page.click("#fork")
    expect(page.locator("#branches li")).to_have_count(2)
    trunk, at = shown(page), index(page)
    page.click("#step")
    wait(page, f"Number(picture.dataset.index) === {at + 1}")
    page.click("#branches .take:not(:disabled)")
    wait(page, f"Number(picture.dataset.index) === {at}")
    assert shown(page) == trunk
    page.click("#branches .remove")
    expect(page.locator("#branches li")).to_have_count(0)  # one alone is no choice


def test_a_replayed_log_ends_in_the_same_frame_bit_for_bit(visit, tmp_path):
    page = visit()
    page.keyboard.down("KeyW")
    wait(page, "Number(picture.dataset.index) > 15")
    page.keyboard.up("KeyW")
    pause(page)
    last = shown(page)
    with page.expect_download(timeout=30_000) as download:
        page.click("#log")
    download.value.save_as(tmp_path / "log.json")
    page.click("#restart")
    wait(page, "picture.dataset.index === '0'")
    page.set_input_files("#replay-file", tmp_path / "log.json")
    expect(page.locator("#toasts")).to_contain_text("bit for bit")
    assert shown(page) == last
    (tmp_path / "other.json").write_text("{")
    page.set_input_files("#replay-file", tmp_path / "other.json")
    expect(page.locator("#toasts")).to_contain_text("not an action log")


def test_the_recorded_video_has_picture_and_sound(visit, tmp_path):
    page = visit()
    page.click("#record")
    expect(page.locator("#rec")).to_be_visible()
    page.wait_for_timeout(2500)
    with page.expect_download(timeout=30_000) as download:
        page.click("#record")
    path = tmp_path / download.value.suggested_filename
    download.value.save_as(path)
    with av.open(str(path), "r") as file:
        frames = sum(1 for _ in file.decode(video=0))
        assert frames > 4 and file.streams.video[0].width == 640
    with av.open(str(path), "r") as file:
        assert sum(frame.samples for frame in file.decode(audio=0)) > 20_000


def test_on_screen_buttons_hold_while_they_are_pressed(visit):
    page = visit(viewport={"width": 375, "height": 780}, has_touch=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= 375
    up = page.locator("[data-action=up]")
    up.dispatch_event("pointerdown", {"pointerId": 1})
    expect(up).to_have_attribute("aria-pressed", "true")
    up.dispatch_event("pointerup", {"pointerId": 1})
    expect(up).to_have_attribute("aria-pressed", "false")
    up.focus()
    page.keyboard.down("Space")
    expect(up).to_have_attribute("aria-pressed", "true")
    page.keyboard.up("Space")
    expect(up).to_have_attribute("aria-pressed", "false")


def test_a_gamepad_plays(visit):
    page = visit("globalThis.pad = { axes: [0, 0], buttons: [] }; navigator.getGamepads = () => [globalThis.pad, null]")
    for tilt, name in ((-1, "up"), (1, "down")):
        page.evaluate(f"pad.axes[1] = {tilt}")
        expect(page.locator(f"[data-action={name}]")).to_have_attribute("aria-pressed", "true")
    page.evaluate("pad.axes[1] = 0; pad.buttons[12] = { pressed: true }")
    expect(page.locator("[data-action=up]")).to_have_attribute("aria-pressed", "true")


COMMANDS = {
    "run": "run", "step": "step", "rewind": "rewind", "restart": "reset", "begin-again": "reset", "dice": "reset",
    "save": "save", "fork": "fork", "undo": "undo", "film": "film", "pilot": "pilot",
}  # fmt: skip
ELSEWHERE = {"begin", "mute", "take", "record", "replay", "log", "share", "full", "brush", "from-picture"}
ELSEWHERE |= {
    "real",
    "future",
    "show-bodies",
    "sync",
    "swap",
    "hear-beside",
    "hear-dream",
}  # buttons with a test of their own


def test_no_button_is_dead(visit):
    page = visit()
    page.evaluate(
        "play.sent = []; const send = play.link.send;"
        "play.link.send = (type, fields) => (play.sent.push(type), send.call(play.link, type, fields))"
    )
    buttons = page.evaluate("[...document.querySelectorAll('button[id]')].map((button) => button.id)")
    assert set(buttons) == set(COMMANDS) | ELSEWHERE
    for button, command in COMMANDS.items():
        page.click(f"#{button}")
        wait(page, f"play.sent.includes('{command}')")
        page.evaluate("play.sent.length = 0")
    with page.expect_file_chooser():
        page.click("#replay")


def test_a_held_key_stays_held_through_restart_and_reload(visit):
    page = visit()
    down = page.locator("[data-action=down]")
    page.keyboard.down("ArrowDown")
    page.keyboard.press("r")
    wait(page, "picture.dataset.index > 3")
    expect(down).to_have_attribute("aria-pressed", "true")
    page.select_option("#steps", "4")
    expect(page.locator("#runs")).to_contain_text("4 passes")
    wait(page, "picture.dataset.index > 3")
    expect(down).to_have_attribute("aria-pressed", "true")


def test_mute_and_volume_are_heard(visit):
    page = visit()
    page.keyboard.down("ArrowDown")
    loud(page)
    page.keyboard.press("m")
    wait(page, "play.sound.level() < 0.001")
    page.keyboard.press("m")
    page.locator("#volume").fill("0")
    page.wait_for_timeout(200)
    assert page.evaluate("play.sound.level()") < 0.001


def test_another_world_and_settings_and_one_that_fails(visit):
    page = visit()
    page.select_option("#steps", "4")
    expect(page.locator("#runs")).to_have_text("torch · cpu · float32 · 4 passes a frame")
    page.select_option("#precision", "float16")
    expect(page.locator("#runs")).to_have_text("torch · cpu · float16 · 4 passes a frame")
    page.select_option("#backend", "mlx")
    expect(page.locator("#runs")).to_have_text("mlx · cpu · float32 · 2 passes a frame")
    choose(page, "doom")
    expect(page.locator("#name")).to_have_text("doom")
    choose(page, "broken")
    expect(page.locator("#toasts")).to_contain_text("unknown world")
    expect(page.locator("#name")).to_have_text("doom")
    expect(page.locator("#veil")).to_be_hidden()


@pytest.mark.parametrize(
    "script",
    [
        "globalThis.AudioContext = class { constructor() { throw new DOMException('no device') } }",
        "AudioContext.prototype.resume = () => new Promise(() => {}); "
        "Object.defineProperty(AudioContext.prototype, 'currentTime', { get: () => 0 })",
    ],
    ids=["refused", "clock stands still"],
)
def test_without_an_audio_device_the_world_plays_on(visit, script):
    page = visit(script)
    expect(page.locator("#sound-note")).to_contain_text("no audio device")
    before = index(page)
    wait(page, f"Number(picture.dataset.index) > {before + 5}")


def test_sound_where_the_page_is_no_secure_context(visit):
    """Over plain http from another machine there are no worklets."""
    page = visit("Object.defineProperty(BaseAudioContext.prototype, 'audioWorklet', { get: () => undefined })")
    page.keyboard.down("ArrowUp")
    loud(page)


def test_a_second_page_watches_and_takes_the_controls(visit):
    one = visit()
    two = visit(begin=False)
    expect(two.locator("#watch-note")).to_be_visible()
    expect(two.locator("#begin-text")).to_have_text("Click to watch, with sound")
    two.click("#begin")
    two.click("#take")
    expect(two.locator("#watch-note")).to_be_hidden()
    expect(one.locator("#watch-note")).to_be_visible()
    pause(two)
    expect(one.locator("#badge")).to_have_text("Paused")


def test_the_page_comes_back_after_a_broken_connection(visit):
    page = visit()
    page.evaluate("play.link.socket.close()")
    expect(page.locator("#link")).to_have_attribute("data-kind", "lost")
    expect(page.locator("#link")).to_have_attribute("data-kind", "ok")
    page.click("#run")
    before = index(page)
    wait(page, f"Number(picture.dataset.index) > {before + 5}")


def test_keys_go_to_fields_and_focus_is_seen(visit):
    page = visit()
    pause(page)
    before = index(page)
    page.focus("#seed")
    page.keyboard.type("..zz")
    page.keyboard.press("Tab")
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    page.wait_for_timeout(100)
    assert index(page) == before and outline == "solid"


def test_the_page_asks_for_its_token(guarded, visit):
    page = visit(address=guarded.address)
    wait(page, "Number(picture.dataset.index) > 10")


RING = """async ({ speed, jitter, frames }) => {
  const { Ring } = await import("/sound-ring.js");
  const ring = new Ring(30720, 48000, 1024);
  ring.drain(false);
  const out = new Float32Array(128), heard = [];
  let made = 0, clock = 0, due = 0, jump = 0, last = 0, random = 1, rises = 0, samples = 0, before = 0;
  while (made < frames) {
    clock += 128 / 48000;
    while (made < frames && clock >= due) {
      const wave = (_, i) => Math.sin((2 * Math.PI * 480 * (made * 1024 + i)) / 30720);
      const tone = Float32Array.from({ length: 1024 }, wave);
      ring.push(tone, speed);
      made += 1;
      random = (random * 16807) % 2147483647;
      due = made / 30 / speed + (jitter * random) / 2147483647;
    }
    ring.read(out);
    for (const x of out) [jump, last] = [Math.max(jump, Math.abs(x - last)), x];
    heard.push(Math.sqrt(out.reduce((sum, x) => sum + x * x, 0) / 128));
    if (made <= frames / 2) continue;
    for (const x of out) [rises, samples, before] = [rises + (before < 0 && x >= 0), samples + 1, x];
  }
  const pitch = (rises * 48000) / samples;
  const late = Math.min(...heard.slice(heard.length / 2));
  return { jump, pitch, late, gaps: ring.gaps, target: ring.target / 1024, fill: ring.fill / 30720 };
}"""


@pytest.mark.parametrize(
    ("speed", "jitter"), [(1, 0.01), (1, 0.03), (1.004, 0.01), (0.8, 0.01), (0.5, 0.02), (0.3, 0.02)]
)
def test_the_sound_never_jumps_keeps_its_pitch_and_settles(visit, speed, jitter):
    """A 480 Hz tone through the ring: neighbours differ by at most 2 pi 480 / 48000, gaps and fades included."""
    page = visit(begin=False)
    result = page.evaluate(RING, {"speed": speed, "jitter": jitter, "frames": 300})
    assert result["jump"] < 0.07
    assert result["gaps"] <= 3 and result["late"] > 0.4  # in the second half the tone is whole
    assert result["fill"] < 0.2
    assert abs(result["pitch"] - 480) < 5


def test_the_sound_waits_less_again_once_all_is_calm(visit):
    page = visit(begin=False)
    rough = page.evaluate(RING, {"speed": 1, "jitter": 0.05, "frames": 200})
    assert rough["target"] > 1.5
    calm = RING.replace("let made = 0", "ring.target = 3 * 1024; let made = 0")
    assert page.evaluate(calm, {"speed": 1, "jitter": 0.0, "frames": 30 * 65})["target"] == 1.5
