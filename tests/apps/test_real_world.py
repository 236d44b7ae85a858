"""The game with the true World, a small one with random weights, on both backends."""

import queue

import numpy as np
import pytest

from apps.play import wire
from apps.play.game import Choice, Game
from mlxworld import World, config
from mlxworld.world import save_world

SMALL = config.OpenWorldConfig(
    size=32,
    patch=16,
    vision=config.VisionConfig(dim=32, heads=1, depth=1, taps=(1,)),
    audio=config.AudioConfig(bands=16, dim=16),
    latent=config.LatentConfig(grid=2, dim=16, content=12),
    dynamics=config.DynamicsConfig(dim=64, heads=1, depth=2, window=4, memory=8, every=2),
    decoder=config.DecoderConfig(dim=32, heads=1, depth=1, channels=(16, 16, 16, 16)),
)


@pytest.fixture
def folder(backend, tmp_path):
    models = __import__(backend.__name__ + ".models.openworld.model", fromlist=["x"])
    draw = np.random.default_rng(0)
    shapes = {name: x.shape for name, x in backend.engine.parameters(models.TransformerWorldModel(SMALL)).items()}
    weights = {name: 0.2 * draw.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    z = draw.standard_normal((2, 4, SMALL.latent.tokens, SMALL.latent.dim)).astype(np.float16)
    save_world(tmp_path / "small", "small", SMALL, weights, {"z": z, "actions": np.zeros((2, 4), np.int32)}, {})
    return str(tmp_path / "small")


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
        kept = hear(lambda m: isinstance(m, dict) and m["type"] == "state" and m["moments"])["moments"][0]["ident"]
        future = steps(1, 0, 2)
        assert len(set(future)) == 3
        do("fork")
        do("restore", ident=kept)
        assert steps(1, 0, 2) == future
        do("log")
        log = hear(lambda m: isinstance(m, dict) and m["type"] == "log")["log"]
        assert (log["backend"], log["actions"]) == (name, [1, 2, 1, 0, 2])
        do("replay", log=log)
        assert hear(lambda m: isinstance(m, dict) and m["type"] == "replayed")["same"]
    finally:
        game.stop()
