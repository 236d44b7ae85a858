"""A world of one's own, from an environment and from a film: gathered, trained, gone on with, and what is refused."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mlxworld import new
from mlxworld.data import episodes, read_info
from mlxworld.data.episodes.media import write_clip
from mlxworld.errors import MlxworldError
from mlxworld.new import NewConfig, environment, finished, nearest
from mlxworld.play.world import World
from mlxworld.speed import estimate
from mlxworld.training.run import Run
from tests.play.played import write
from tests.training import tiny

ENVIRONMENT = """
import gymnasium, numpy as np
class Dot(gymnasium.Env):
    metadata = {"render_modes": ["rgb_array"], "render_fps": 30}
    def __init__(self, render_mode=None):
        self.action_space = gymnasium.spaces.Discrete(3)
        self.observation_space = gymnasium.spaces.Discrete(1)
    def reset(self, seed=None, options=None):
        self.x, self.t = 14, 0
        return 0, {}
    def step(self, action):
        self.x, self.t = int(np.clip(self.x + action - 1, 0, 28)), self.t + 1
        return 0, 0.0, self.t == 60, False, {}
    def render(self):
        picture = np.full((32, 32, 3), 60, np.uint8)
        picture[14:18, self.x:self.x + 4] = 230
        return picture
gymnasium.register("Dot-v0", Dot)
"""
SHORT = {"tokenizer.steps": 2, "dynamics.steps": 2, "forcing.steps": 0}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """`mlxworld new` on a dot that moves, beginning from a tiny world, killed while it trains and begun again."""
    folder, whole = tmp_path_factory.mktemp("new"), new.train.parse
    (folder / "dotworld.py").write_text(ENVIRONMENT)
    write(folder / "parent")
    cfg = NewConfig("dot", env="gym:dotworld:Dot-v0", from_=str(folder / "parent"), steps=240, folder=folder)
    cfg = replace(cfg, play=False, backend="torch")
    stages = [w for n, v in (tiny.STAGES | SHORT).items() for w in (f"--{n}", *map(str, np.atleast_1d(v)))]

    def fewer(argv):
        at = argv.index("--minutes")
        return whole([*argv[:at], *argv[at + 2 :], *stages])

    def dies(*args):
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        patch.setattr(new.train, "parse", fewer)
        with pytest.raises(KeyboardInterrupt), pytest.MonkeyPatch.context() as killed:
            killed.setattr(Run, "_report", dies)
            new.new(cfg)
        shutil.rmtree(folder / "parent")
        new.new(cfg)
    return folder, cfg


def test_an_environment_becomes_a_world(made):
    folder, cfg = made
    info = read_info(cfg.data)
    assert info and info.size == (32, 32) and info.actions == ("0", "1", "2") and len(episodes(cfg.data)) >= 4
    world = World.load(cfg.run, "torch")
    assert world.actions == info.actions and world.reset().video.shape == (32, 32, 3)
    page = (cfg.run / "progress.html").read_text()
    for shown in ("recording 240 steps of gym:dotworld:Dot-v0", "begins from small: ", "dynamics 2 of 2", "done"):
        assert shown in page


def test_when_it_is_done_the_same_command_plays(made, monkeypatch):
    _, cfg = made
    before, played = (cfg.run / "checkpoint.safetensors").read_bytes(), []
    assert finished(cfg.run)
    monkeypatch.syspath_prepend(cfg.folder)
    monkeypatch.setattr(new, "verb_main", lambda verb: lambda argv: played.append((verb, argv)))
    new.new(replace(cfg, play=True))
    assert played == [("play", ["--world", str(cfg.run), "--open"])]
    assert (cfg.run / "checkpoint.safetensors").read_bytes() == before


def config(**changed):
    return NewConfig(**({"name": "mine", "video": (Path("a.mp4"),)} | changed))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"name": "a/b"}, "'a/b' is no name of a world"),
        ({"name": ".."}, "is no name of a world"),
        ({"name": "--x"}, "is no name of a world"),
        ({"name": ""}, "is no name of a world"),
        ({"video": ()}, "give either --env or --video"),
        ({"env": "bounce"}, "give either --env or --video"),
        ({"actions": (Path("a"), Path("b"))}, "1 films, 2 files"),
        ({"video": (Path("x/a.mp4"), Path("y/a.mp4"))}, "two films have one name"),
        ({}, "a.mp4: no such file"),
        ({"video": (), "env": "bounce", "from_": "none", "minutes": 0.0}, "--minutes must lie between 0 and a million"),
        ({"video": (), "env": "Nowhere-v0"}, "Gymnasium cannot make 'Nowhere-v0'"),
    ],
)
def test_what_cannot_be_is_told_before_anything_is_written(tmp_path, changed, message):
    with pytest.raises(MlxworldError, match=message) as raised:
        new.new(config(folder=tmp_path, **changed))
    assert "\n" not in str(raised.value) and not any(tmp_path.iterdir())


def test_how_an_environment_is_called():
    names = {"bounce": "bounce", "CarRacing-v3": "gym:CarRacing-v3", "atari:Boxing": "atari:Boxing"}
    names |= {"doom:map01": "doom:map01", "ALE/Pong-v5": "gym:ALE/Pong-v5", "gym:a:B-v0": "gym:a:B-v0"}
    assert {name: environment(name) for name in names} == names


def test_the_nearest_world_is_the_one_that_shows_the_pictures_again(monkeypatch):
    """A world is known by its own pictures."""
    rng = np.random.default_rng(0)
    mine = [rng.integers(0, 255, (8, 8, 3), dtype=np.uint8) for _ in range(3)]

    class Fake:
        size = (8, 8)

        def __init__(self, name):
            self.name = name

        def reset(self, context):
            class Frame:
                video = context // 2 if self.name == "far" else context

            return Frame

    for order in (["far", "near"], ["near", "far"]):
        monkeypatch.setattr(new, "worlds", lambda order=order: order)
        monkeypatch.setattr(new.World, "load", lambda name, backend: Fake(name))
        assert nearest(mine, None) == "near"
    monkeypatch.setattr(new, "worlds", list)
    assert nearest(mine, None) is None


@pytest.mark.parametrize(("pixels", "preset"), [(64, "nano-64"), (65, None)])
def test_small_pictures_get_the_small_preset(tmp_path, monkeypatch, pixels, preset):
    rng = np.random.default_rng(0)
    film, given = tmp_path / "a.mp4", []
    write_clip(film, rng.integers(0, 255, (20, pixels, 48, 3), dtype=np.uint8), np.zeros((20, 64), np.float32), 10, 640)
    monkeypatch.setattr(new, "nearest", lambda pictures, backend: "pong")
    monkeypatch.setattr(new.train, "train", given.append)
    new.new(NewConfig("mine", video=(film,), folder=tmp_path, play=False))
    settings = given[0]
    assert settings.from_ == "pong" and settings.config.size == (64 if preset else 128)
    assert settings.minutes == 10 and (tmp_path / "data" / "mine" / "a.mp4").is_file()


def test_an_estimate_scales_with_steps_and_clips(monkeypatch):
    """Half a step of 8 clips was timed with 4; what others take follows from its work."""
    rows = {"one": {"clips": 4, "steps_per_s": 2.0, "tflops": 0.1}}
    monkeypatch.setattr(estimate, "training", lambda *args: rows)
    monkeypatch.setattr(estimate.machine, "gemm", lambda *args: 0.2)
    import mlxworld

    found = estimate.estimate(mlxworld.on("torch"), None, {"one": (100, 8)})
    assert found["stages"]["one"] == {"steps": 100, "seconds": 1.0, "tflop": 0.1} and found["here"] == 100
    least, most = found["bands"]["H100"]
    assert least == pytest.approx(10 / 756 / 0.13) and most == pytest.approx(10 / 756 / 0.1)
    assert all(0 < low < high for low, high in found["bands"].values())
    assert found["bands"]["M1"][1] == pytest.approx(
        10 / 1.3 / 0.1
    )  # at the least that was achieved and the least share
    assert "1.67 min" in estimate.report(found) and "predicted, not measured" in estimate.report(found)


def test_estimate_asks_for_the_recipes_own_steps(tmp_path, monkeypatch, capsys):
    rng = np.random.default_rng(0)
    film = tmp_path / "a.mp4"
    write_clip(film, rng.integers(0, 255, (20, 64, 64, 3), dtype=np.uint8), np.zeros((20, 64), np.float32), 10, 640)
    asked = {}

    def fake(package, config, stages, show):
        asked.update(stages)
        return {"stages": {}, "here": 1.0, "chip": "x", "bands": {}}

    monkeypatch.setattr(new, "estimate", fake)
    new.new(NewConfig("mine", video=(film,), folder=tmp_path, from_="none", estimate=True))
    assert asked == {"tokenizer": (4000, 32), "dynamics": (8000, 48), "physics": (4000, 48)}
    assert "here (x)" in capsys.readouterr().out
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.mp4"]


def test_a_failure_is_told_on_the_page(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    film = tmp_path / "a.mp4"
    write_clip(film, rng.integers(0, 255, (20, 64, 64, 3), dtype=np.uint8), np.zeros((20, 64), np.float32), 10, 640)
    (tmp_path / "keys.csv").write_text("time,action\nsoon,up\n")
    cfg = NewConfig("mine", video=(film,), actions=(tmp_path / "keys.csv",), folder=tmp_path, from_="none")
    with pytest.raises(MlxworldError, match="no number of seconds"):
        new.new(cfg)
    state = (tmp_path / "runs" / "mine" / "progress.html").read_text().split('id="state">')[1].split("</script>")[0]
    assert "no number of seconds" in json.loads(state)["end"]
