"""`mlxworld evaluate` whole, on a tiny world with random weights: what it writes, and what it refuses."""

import base64
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from mlxworld.data import DatasetInfo, Episode, read_clip, write_episode, write_info
from mlxworld.errors import MlxworldError
from mlxworld.evaluate.__main__ import main
from mlxworld.evaluate.evaluation import EvaluateConfig, Evaluation
from mlxworld.evaluate.game import Game, open_game
from tests.apps import conftest as apps
from tests.play.small_world import SMALL, small_world
from tests.training.tiny import dots

browser = apps.browser
SECTIONS = ["Pictures", "Sound", "Likeness", "Keys", "Answers", "Leave and return", "Drift"]


@pytest.fixture(scope="module")
def places(tmp_path_factory) -> tuple[Path, Path]:
    """A world and a dataset that fits it."""
    folder = tmp_path_factory.mktemp("evaluation")
    cfg = SMALL.fitted(("noop", "up", "down"), 10, 640, 64)
    return small_world(folder / "world", cfg), dots(folder / "data", lengths=(60, 60))


@pytest.fixture(scope="module")
def report(places, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("out") / "deep" / "report"
    world, data = places
    flags = {"clips": 3, "context": 4, "frames": 16, "minutes": 0.2, "batch": 4, "backend": "torch"}
    argv = ["--world", str(world), "--data", str(data), "--report", str(folder)]
    main(argv + [word for name, value in flags.items() for word in (f"--{name}", str(value))])
    return folder


def test_figures_stand_beside_their_controls_in_json(report):
    found = json.loads((report / "report.json").read_text())
    assert [part["title"] for part in found["sections"]] == SECTIONS
    figures = found["figures"]
    for key in ("psnr_1", "ssim_4", "gmsd_16", "moving_error_16", "onset_f1", "log_mel_distance", "frechet_motion"):
        assert {"model", "reconstruction", "shuffled actions", "repeat last", "mean frame"} <= set(figures[key]), key
    assert {"real frames", "commonest key"} <= set(figures["keys_f1"]) and "model" in figures["action_gain_16"]
    assert set(figures["silent_onset_f1"]) == {"model", "another clip", "repeat last"}
    assert "other noise" in figures["answered_seen"] and "stayed" in figures["return_back"]
    assert {"model", "real frames", "repeat last"} == set(figures["drift_last"])
    assert found["settings"]["clips"] == 3 and found["backend"] == "torch"
    assert "## Drift" in (report / "report.md").read_text()
    assert sorted(p.name for p in report.glob("*.png")) == ["clip-0.png", "clip-1.png", "clip-2.png"]


class Outline(HTMLParser):
    def __init__(self, text: str):
        super().__init__()
        self.open, self.links, self.ids, self.films, self.headings = [], [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.ids += [attrs["id"]] if "id" in attrs else []
        for name in ("src", "href"):
            self.links += [attrs[name]] if name in attrs else []
        self.films += [attrs["src"]] if tag == "video" else []
        if tag not in ("meta", "img", "link", "br", "line", "circle", "path"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in ("line", "circle", "path"):
            assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "h2":
            self.headings.append(data)


def test_the_page_is_whole_and_needs_nothing_else(report):
    text = (report / "report.html").read_text()
    page = Outline(text)
    assert page.open == [] and page.headings == ["Clips", *SECTIONS]
    for link in page.links:
        assert link.startswith("data:") or link.removeprefix("#") in page.ids, link[:80]
    assert not re.search(r"https?:|@import|url\((?!data:)", text)
    text = re.sub(r'"data:[^"]*"', '""', text)
    assert text.count("<svg") == 7 and "nan" not in re.sub(r"<style>.*?</style>", "", text, flags=re.S).lower()
    numbers = [float(x) for x in re.findall(r'[xy][12]?="(-?[\d.]+)"', text)]
    assert min(numbers) >= 0 and max(numbers) <= 600  # all of a plot lies in its frame


def test_films_in_the_page_show_and_sound_what_was_real(report, places, tmp_path):
    films = Outline((report / "report.html").read_text()).films
    assert len(films) == 6
    path = tmp_path / "film.mp4"
    path.write_bytes(base64.b64decode(films[0].removeprefix("data:video/mp4;base64,")))
    video, audio = read_clip(path, (32, 32), 10, 64)
    truth = read_clip(next(places[1].glob("000*.mp4")), (32, 32), 10, 64)
    assert video.shape == (20, 32, 32, 3)
    assert np.abs(video.astype(int) - truth[0][:20]).max() <= 6 and np.abs(audio - truth[1][:20]).max() < 1e-3


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_browser_shows_the_page_and_plays_its_films(report, browser, scheme):
    page = browser.new_page(color_scheme=scheme, viewport={"width": 1280, "height": 900})
    wrong, asked = [], []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda line: wrong.append(line.text) if line.type == "error" else None)
    page.on("request", lambda request: asked.append(request.url) if request.url[:5] != "data:" else None)
    page.goto((report / "report.html").as_uri())
    page.wait_for_function("[...document.querySelectorAll('video')].every(film => film.readyState >= 2)")
    card = page.locator(".clip").first
    card.get_by_role("button", name="Play").click()
    page.wait_for_function("document.querySelector('.state').textContent.startsWith('dreaming')")
    heard = "[...document.querySelectorAll('.clip')[0].querySelectorAll('video')].map(film => film.muted)"
    assert page.evaluate(heard) == [True, False]
    card.get_by_role("button", name="real").click()
    assert page.evaluate(heard) == [False, True]
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert not wrong and len(asked) == 1
    page.close()


def test_the_real_game_answers_beside_the_dream_and_breaks_its_laws(tmp_path, monkeypatch):
    """A world of `bounce`, smaller than the game: the game is played at the world's size."""
    source = open_game("bounce")
    assert source is not None
    rates = source.fps, round(source.fps * source.samples), source.samples
    world = small_world(tmp_path / "world", SMALL.fitted(source.actions, *rates))
    actions = np.random.default_rng(0).integers(0, 5, (2, 40))
    video, audio = Game(source, (32, 32), lead=0)(actions)
    info = DatasetInfo(source.fps, source.samples, (32, 32), source.actions, "bounce")
    write_info(tmp_path / "data", info)
    for n in range(2):
        write_episode(tmp_path / "data", f"{n}", Episode(video[n], audio[n], actions[n].astype(np.int32)), info)
    monkeypatch.setattr("mlxworld.evaluate.evaluation.PAIRS", 1)
    flags = {"clips": 2, "context": 4, "frames": 4, "minutes": 0, "batch": 8, "backend": "torch"}
    argv = ["--world", str(world), "--data", str(tmp_path / "data"), "--report", str(tmp_path / "out")]
    main(argv + [word for name, value in flags.items() for word in (f"--{name}", str(value))])
    found = json.loads((tmp_path / "out" / "report.json").read_text())
    own, *rest = (part["title"] for part in found["sections"])
    assert own and rest == [*SECTIONS[:-1], "Plausibility"]  # the figures that only this world has come first
    figures = found["figures"]
    assert figures["answer_seen"]["real game"] <= 3 and figures["answered_seen"]["real game"] == 1
    assert figures["return_back"]["real game"] is not None
    assert {"model", "frame difference", "shuffled"} == set(figures["plausibility_teleport"])


BAD = [
    ({"clips": 1}, "--clips at least 2"),
    ({"minutes": -1.0}, "--minutes from 0"),
    ({"context": 0}, "--context and --batch at least 1"),
]


@pytest.mark.parametrize(("flags", "message"), BAD)
def test_flags_that_cannot_be_are_refused(flags, message):
    with pytest.raises(MlxworldError, match=message):
        EvaluateConfig("pong", Path("data"), **flags)


def test_a_model_that_cannot_imagine_sound_is_measured_all_the_same(places, monkeypatch):
    world, data = places
    evaluation = Evaluation(EvaluateConfig(str(world), data, clips=2, frames=4, context=2, backend="torch"))
    monkeypatch.delattr(type(evaluation.world.model), "encode_silent")
    assert evaluation._silent_film() == []


def test_clips_longer_than_the_episodes_are_refused_in_one_line(places):
    world, data = places
    argv = ["--world", str(world), "--data", str(data), "--frames", "500", "--backend", "torch"]
    done = subprocess.run(
        [sys.executable, "-m", "mlxworld.evaluate", *argv], capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "record longer episodes" in done.stderr


def test_the_drift_of_episodes_shorter_than_a_segment(places, tmp_path):
    world, _ = places
    data = dots(tmp_path / "short", lengths=(30, 24))
    flags = {"clips": 2, "context": 4, "frames": 4, "minutes": 0.1, "backend": "torch"}
    argv = ["--world", str(world), "--data", str(data), "--report", str(tmp_path / "out")]
    main(argv + [word for name, value in flags.items() for word in (f"--{name}", str(value))])
    drift = json.loads((tmp_path / "out" / "report.json").read_text())["figures"]["drift_worst"]
    assert all(0 < value < 101 for value in drift.values()) and set(drift) == {"model", "real frames", "repeat last"}


def test_data_of_another_game_is_refused_before_it_is_decoded(places, tmp_path):
    world, _ = places
    data = dots(tmp_path / "other", lengths=(20,), actions=("noop", "jump"))
    with pytest.raises(MlxworldError, match="noop, jump, but noop, up, down are needed"):
        Evaluation(EvaluateConfig(str(world), data, backend="torch"))
    assert not (data / ".cache").exists()


def test_a_report_that_cannot_be_written_costs_no_dreams(places, tmp_path, monkeypatch):
    """The folder is tried before the first frame is dreamt."""
    (tmp_path / "file").write_text("")
    world, data = places
    argv = ["--world", str(world), "--data", str(data), "--report", str(tmp_path / "file" / "report")]
    monkeypatch.setattr("mlxworld.evaluate.evaluation.World.load", lambda *a, **b: pytest.fail("loaded"))
    with pytest.raises(MlxworldError, match="cannot write"):
        main([*argv, "--backend", "torch", "--clips", "2", "--frames", "4"])
