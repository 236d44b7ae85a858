"""The game with the true World, a small one with random weights, on both backends."""

import queue

import pytest

from apps.play import wire
from apps.play.game import Choice, Game
from mlxworld import World
from tests.play.small_world import small_world


@pytest.fixture
def folder(tmp_path):
    return str(small_world(tmp_path / "small"))


def test_play_fork_go_back_and_replay_exactly(backend, folder):
    name = {"mlxworld": "mlx", "torch_backend": "torch"}[backend.__name__]
    out: queue.Queue = queue.Queue()
    game = Game(World.load, [], ["mlx", "torch"], Choice(folder, name))
    game.start()
    game.emit = lambda target, message: out.put(message)

    def do(kind, **fields):
        game.submit(wire.parse(wire.json.dumps({"type": kind, **fields})))

    def hear(wanted):
        while not wanted(message := out.get(timeout=30)):
            assert not isinstance(message, dict) or message["type"] != "error", message
        return message

    def steps(*actions):
        """Pictures and sounds of these steps."""
        seen = []
        for action in actions:
            game.keys.press(action, 0.0)
            game.keys.press(0, 0.0)
            do("step")
            frame = hear(lambda m: isinstance(m, bytes) and m[0] == wire.FRAME and not m[1] & wire.CUT)
            seen.append(frame[wire.HEADER.size :])
        return seen

    try:
        steps(1, 2)
        do("save")
        moment = hear(lambda m: isinstance(m, dict) and m["type"] == "state" and m["moments"])["moments"][0]["ident"]
        future = steps(1, 0, 2)
        assert len(set(future)) == 3
        do("fork")
        do("restore", ident=moment)
        assert steps(1, 0, 2) == future
        do("log")
        log = hear(lambda m: isinstance(m, dict) and m["type"] == "log")["log"]
        assert (log["backend"], log["actions"]) == (name, [[1, 1], [2, 1], [1, 1], [0, 1], [2, 1]])
        do("replay", log=log)
        assert hear(lambda m: isinstance(m, dict) and m["type"] == "replayed")["same"]
    finally:
        game.stop()
