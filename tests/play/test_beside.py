"""What the app needs of worlds beside their frames: real games, agents, moments as files, pictures, run folders."""

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import mlxworld
from mlxworld import MlxworldError
from mlxworld.data.envs.source import Step
from mlxworld.evaluate import pong
from mlxworld.play import folder as folders
from mlxworld.play.agents import PongPlayer, Wanderer, agent
from mlxworld.play.real import PAST, Real
from tests.play.small_world import small_world


class Counting:
    """A source whose picture tells its seed and the sum of its actions; a game has 10 steps."""

    name, licence, fps, samples = "counting", "", 30, 64
    actions: tuple[str, ...] = ("noop", "add", "other")

    def reset(self, seed: int) -> Step:
        self._seed, self._sum, self._steps = seed, 0, 0
        return self._see()

    def step(self, action: int) -> Step:
        self._sum, self._steps = self._sum + action, self._steps + 1
        return self._see()

    def _see(self) -> Step:
        video = np.full((40, 60, 3), (self._seed, self._sum, self._steps), np.uint8)
        return Step(video, np.zeros(64), self._steps == 10, {"sum": np.array(self._sum)})

    def close(self) -> None:
        self._sum = -1


def real(**changes) -> Real:
    facts = {"name": "w", "actions": ("noop", "other"), "fps": 30, "samples": 64, "size": (16, 16)} | changes
    return Real(Counting(), SimpleNamespace(**facts))  # type: ignore[arg-type]


def told(frame) -> tuple[int, ...]:
    return tuple(int(x) for x in frame.video[8, 8])


def test_a_real_game_is_played_with_the_worlds_actions_and_size():
    game = real()
    frame = game.reset(5)
    assert frame.video.shape == (16, 16, 3) and frame.audio.dtype == np.float32 and frame.index == 0
    frame = game.step(1)  # the world's second action is the game's third
    assert told(frame) == (5, 2, 1) and frame.index == 1 and game.state["sum"] == 2


def test_a_real_game_that_is_over_begins_anew_and_the_clip_goes_on():
    game = real()
    game.reset(5)
    frames = [game.step(1) for _ in range(45)]
    assert told(frames[9]) == (5, 20, 10) and told(frames[10]) == (6, 0, 0) and frames[-1].index == 45
    clip = game.clip()
    assert clip.video.shape == (PAST, 16, 16, 3) and (clip.video[-1] == frames[-1].video).all()
    assert clip.actions.dtype == np.int32 and set(clip.actions) == {0, 1}


@pytest.mark.parametrize("steps", [3, 14])
def test_a_real_game_goes_back_to_a_moment(steps):
    game = real()
    game.reset(5)
    for i in range(steps):
        game.step(i % 2)
    moment, before = game.snapshot(), game.clip()
    ahead = [told(game.step(1)) for _ in range(12)]
    game.reset(77)
    game.restore(moment)
    assert (game.clip().video == before.video).all()
    assert [told(game.step(1)) for _ in range(12)] == ahead


@pytest.mark.parametrize("changes", [{"actions": ("noop", "jump")}, {"fps": 15}, {"samples": 32}])
def test_a_game_of_other_actions_or_rates_is_refused(changes):
    with pytest.raises(MlxworldError):
        real(**changes)


def test_a_game_that_fails_is_one_line():
    game = real()
    with pytest.raises(MlxworldError, match="reset the game first"):
        game.step(0)
    game.reset(1)
    game._source.step = lambda action: 1 / 0  # type: ignore[method-assign]
    with pytest.raises(MlxworldError, match="counting failed in step 1: ZeroDivisionError"):
        game.step(0)


def test_agents_are_the_same_for_the_same_seed():
    world = SimpleNamespace(name="x", actions=("noop", "a", "b"))
    frame = mlxworld.Frame(np.zeros((8, 8, 3), np.uint8), np.zeros(4, np.float32), 0, 0.0)
    play = [[agent(world, seed).act(frame) for _ in range(1)] for seed in (1, 1)]  # type: ignore[arg-type]
    assert play[0] == play[1]
    one, two = (agent(world, 4) for _ in range(2))  # type: ignore[arg-type]
    taken = [one.act(frame) for _ in range(200)]
    assert taken == [two.act(frame) for _ in range(200)] and set(taken) == {0, 1, 2}
    assert sum(a == b for a, b in itertools.pairwise(taken)) > 120  # keys are held


def picture(ball_y: int, paddle_y: int) -> np.ndarray:
    """A picture of Pong, of the console's size."""
    video = np.empty((210, 160, 3), np.uint8)
    video[:] = pong.BACKGROUND
    video[ball_y : ball_y + 4, 80:82] = pong.WHITE
    video[paddle_y : paddle_y + 16, 140:144] = pong.GREEN
    return video


def test_somebody_plays_pong_by_its_picture():
    world = SimpleNamespace(name="pong", actions=("noop", "up", "down"))
    player = agent(world)  # type: ignore[arg-type]
    assert isinstance(player, PongPlayer)

    def act(video) -> int:
        return player.act(mlxworld.Frame(video, np.zeros(4, np.float32), 0, 0.0))

    assert act(picture(60, 150)) == 1 and act(picture(170, 60)) == 2
    assert act(np.full((210, 160, 3), pong.BACKGROUND, np.uint8)) == 0
    other = SimpleNamespace(name="pong", actions=("noop", "left"))
    assert isinstance(agent(other), Wanderer)  # type: ignore[arg-type]


def test_a_moment_in_a_file_has_the_same_future_in_another_process_of_the_same_world(backend, tmp_path):
    name = {"mlxworld": "mlx", "torch_backend": "torch"}[backend.__name__]
    path = small_world(tmp_path / "small")
    world = mlxworld.World.load(path, name)
    world.reset(3)
    world.step(1)
    moment = tmp_path / "m.safetensors"
    write = mlxworld.save_snapshot(moment, world, world.snapshot(), {"x": np.arange(3)}, {"of": "me"})
    future = [world.step(i % 2) for i in range(4)]
    write()  # later, and still of that moment
    arrays, texts = mlxworld.read_snapshot(moment)
    assert list(arrays) == ["x"] and texts["of"] == "me"
    later = mlxworld.World.load(path, name)
    later.reset(0)
    snapshot, arrays, _ = mlxworld.load_snapshot(moment, later)
    later.restore(snapshot)
    again = [later.step(i % 2) for i in range(4)]
    assert all((a.video == b.video).all() and (a.audio == b.audio).all() for a, b in zip(future, again, strict=True))
    assert again[0].index == 2 and (arrays["x"] == np.arange(3)).all()


def test_a_moment_of_another_world_is_refused(tmp_path):
    world = mlxworld.World.load(small_world(tmp_path / "small"), "torch")
    world.reset(3)
    path = tmp_path / "m.safetensors"
    mlxworld.save_snapshot(path, world, world.snapshot(), {}, {})()
    two = mlxworld.World.load(tmp_path / "small", "torch", batch=2)
    two.reset(3)
    with pytest.raises(MlxworldError, match="another world"):
        mlxworld.load_snapshot(path, two)
    path.write_bytes(b"nothing")
    with pytest.raises(MlxworldError):
        mlxworld.load_snapshot(path, world)


def test_pictures_and_runs_of_worlds(tmp_path):
    world = small_world(tmp_path / "runs" / "one")
    (tmp_path / "runs" / "begun").mkdir()
    (tmp_path / "runs" / "begun" / "train.json").write_text("{}")
    assert folders.runs(tmp_path / "runs") == [str(world)] and folders.runs(tmp_path / "nowhere") == []
    before = folders.version(world)
    assert before > 0 and folders.version(tmp_path) == 0
    (world / "model.safetensors").touch()
    assert folders.version(world) > before
    assert folders.thumbnail(world) is None
    (world / "thumbnail.png").write_bytes(b"no picture")
    assert folders.thumbnail(world) is None
    Image.new("L", (96, 96), 77).save(world / "thumbnail.png")
    small = folders.thumbnail(world)
    assert small is not None and small.shape == (96, 96, 3) and (small == 77).all()


@pytest.mark.parametrize(
    ("card", "game"),
    [
        ({"data": {"source": "atari:Pong"}}, "atari:Pong"),
        ({"data": "text"}, "w"),
        (None, "w"),
        ({"data": {"source": 3}}, "w"),
    ],
)
def test_a_world_knows_the_game_it_was_taught(card, game):
    assert folders.game({"name": "w", "card": card}) == game


def test_every_public_name_is_there():
    for name in mlxworld.__all__:
        assert getattr(mlxworld, name) is not None
