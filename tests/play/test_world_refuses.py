"""World refuses what it cannot use in one clear line: actions, clips, folders, settings."""

import json
from typing import Any

import numpy as np
import pytest

import mlxworld
from mlxworld import Clip, MlxworldError, World
from tests.models.small import changed, clip, latents, lively, weights
from tests.play.played import load, write


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write(tmp_path_factory.mktemp("worlds") / "small")


def refused(message, call, *args, **kwargs):
    with pytest.raises(MlxworldError, match=message) as raised:
        call(*args, **kwargs)
    assert "\n" not in str(raised.value)


def test_bad_actions_are_refused(folder, backend):
    world = load(folder, backend)
    for call in (lambda: world.step(0), world.snapshot, world.fork):
        refused("reset the world first", call)
    world.reset()
    before = world.snapshot()
    refused("unknown action 'jump'.*noop, up, down", world.step, "jump")
    refused("unknown action 3.*3", world.step, 3)
    refused("unknown action -1", world.step, -1)
    refused("1 actions are needed.*got 2", world.step, [0, 1])
    refused("unknown action 7", world.step, np.int64(7))
    for odd in (1.0, None, [None], [[0, 1]], np.array(1.0), np.array([[0, 1]])):
        refused("an action is a number or a name, not", world.step, odd)
    assert world.step(1).index == before.index + 1
    many = load(folder, backend, batch=2)
    many.reset()
    refused("2 actions are needed.*got 1", many.step, 0)
    refused("unknown action 'jump'", many.step, [0, "jump"])


def test_bad_clips_are_refused(folder, backend):
    world, good = load(folder, backend), {n: x[0] for n, x in clip(frames=3).items()}
    for name, x in (
        ("video", np.zeros((3, 32, 16, 3), np.uint8)),
        ("video", np.zeros((0, 32, 32, 3), np.uint8)),
        ("audio", np.zeros((3, 255), np.float32)),
        ("audio", np.zeros((2, 256), np.float32)),
        ("actions", np.zeros((3, 1), np.int32)),
        ("actions", 0),
        *(("audio", np.zeros((3, 256, n), np.float32)) for n in (0, 1, 3)),
    ):
        bad: Any = good | {name: x}
        refused("a clip for small has", world.reset, context=Clip(**bad))
        refused("a clip for small has", world.encode, Clip(**bad))
    nothing = {n: x[:0] for n, x in good.items()}
    refused("a clip for small has", world.encode, Clip(**nothing))
    for name, x, message in (
        ("video", good["video"] / np.float32(255), "video is uint8, 0 to 255, not float32"),
        ("video", good["video"].tolist(), "video is uint8, 0 to 255, not int64"),
        ("video", [np.zeros((32, 32, 3)), np.zeros((2, 2))], "a clip is three arrays"),
        ("audio", np.full((3, 256), np.nan, np.float32), "audio is finite numbers"),
        ("audio", np.full((3, 256), np.inf), "audio is finite numbers"),
        ("audio", np.zeros((3, 256), np.int16), "audio is finite numbers.*found int16"),
        ("actions", [0, 1, 3], "actions are whole numbers from 0 to 2: small has 3"),
        ("actions", [0, -1, 0], "actions are whole numbers from 0 to 2"),
        ("actions", [0.0, 1.0, 0.0], "actions are whole numbers from 0 to 2"),
        ("actions", ["noop", "up", "up"], "actions are whole numbers from 0 to 2"),
    ):
        bad: Any = good | {name: x}
        refused(message, world.reset, context=Clip(**bad))
        refused(message, world.encode, Clip(**bad))
    refused("a seed is a whole number, not float", world.reset, seed=1.5)
    refused("start clip 3 does not exist: there are 3", world.reset, context=3)
    refused("start clip -1 does not exist", world.reset, context=-1)


def edit(folder, change):
    path = folder / "config.json"
    about = json.loads(path.read_text())
    change(about)
    path.write_text(json.dumps(about))


def cut(path, share=0.6):
    blob = path.read_bytes()
    path.write_bytes(blob[: int(len(blob) * share)])


def starts(folder, **change):
    """Other start clips, some parts changed."""
    mlxworld.on("mlx").engine.save(folder / "starts.safetensors", latents(frames=4, count=3) | change)


def larger(folder):
    other = lively(mlxworld.on("mlx"), changed(latent={"dim": 24}))
    mlxworld.on("mlx").engine.save(folder / "model.safetensors", weights(mlxworld.on("mlx"), other))


NOOPS = np.zeros((3, 4), np.int32)
BROKEN = {
    "config.json is absent": ("unknown world", lambda f: (f / "config.json").unlink()),
    "config.json is no JSON": ("no readable JSON", lambda f: (f / "config.json").write_text("{")),
    "config.json is bytes": ("no readable JSON", lambda f: (f / "config.json").write_bytes(b"\xff\xfe\x00")),
    "config.json is a list": ("not the config of a world", lambda f: (f / "config.json").write_text("[]")),
    "no name": ("config.json has no name", lambda f: edit(f, lambda a: a.pop("name"))),
    "a name that is none": ("config.json has no name", lambda f: edit(f, lambda a: a.update(name=3))),
    "a later format": ("not the config of a world", lambda f: edit(f, lambda a: a.update(format=3))),
    "another family": (
        "unknown model family .t.",
        lambda f: edit(f, lambda a: a["model"].update(family="tokens")),
    ),
    "a setting of another type": ("size must be int", lambda f: edit(f, lambda a: a["model"].update(size="big"))),
    "a model that cannot be": (
        "steps must divide",
        lambda f: edit(f, lambda a: a["model"]["dynamics"].update(steps=3)),
    ),
    "config of another model": (
        "does not fit this model",
        lambda f: edit(f, lambda a: a["model"]["vision"].update(dim=128)),
    ),
    "more actions than weights": (
        "does not fit",
        lambda f: edit(f, lambda a: a["model"].update(actions=[*"abcdefghi"])),
    ),
    "fewer actions than weights": (
        "model.safetensors does not fit",
        lambda f: edit(f, lambda a: a["model"].update(actions=["noop", "up"])) or starts(f, actions=NOOPS),
    ),
    "weights of another model": ("does not fit this model", larger),
    "weights cut short": ("model.safetensors is damaged", lambda f: cut(f / "model.safetensors")),
    "weights empty": ("model.safetensors is damaged", lambda f: cut(f / "model.safetensors", 0)),
    "weights absent": ("cannot read", lambda f: (f / "model.safetensors").unlink()),
    "weights a pickle": ("is a pickle", lambda f: (f / "model.safetensors").write_bytes(b"\x80\x04")),
    "starts cut short": ("starts.safetensors is damaged", lambda f: cut(f / "starts.safetensors")),
    "starts of another model": (
        "starts.safetensors does not fit",
        lambda f: mlxworld.on("mlx").engine.save(f / "starts.safetensors", latents(changed(latent={"dim": 24}))),
    ),
    "starts with actions of another game": (
        "starts.safetensors does not fit",
        lambda f: starts(f, actions=np.full((3, 4), 3, np.int32)),
    ),
    "starts with too few actions": ("starts.safetensors does not fit", lambda f: starts(f, actions=NOOPS[:, 1:])),
    "starts with fractions of actions": ("starts.safetensors does not fit", lambda f: starts(f, actions=NOOPS + 0.5)),
    "starts of no frames": (
        "starts.safetensors does not fit",
        lambda f: starts(f, z=np.zeros((3, 0, 5, 16), np.float32), actions=NOOPS[:, :0]),
    ),
    "starts that are not finite": (
        "starts.safetensors does not fit",
        lambda f: starts(f, z=np.full((3, 4, 5, 16), np.nan, np.float32)),
    ),
    "no starts": (
        "starts.safetensors does not fit",
        lambda f: mlxworld.on("mlx").engine.save(f / "starts.safetensors", {"actions": np.zeros((1, 4), np.int32)}),
    ),
}


@pytest.mark.parametrize(("message", "breaks"), BROKEN.values(), ids=BROKEN)
def test_a_broken_world_is_refused_in_one_line(tmp_path, message, breaks):
    write(tmp_path)
    breaks(tmp_path)
    for name in ("mlx", "torch"):
        refused(message, World.load, tmp_path, name)


def test_what_cannot_be_asked_of_a_world(folder, tmp_path, backend):
    refused("unknown world 'nowhere'", World.load, "nowhere")
    refused("unknown world", World.load, tmp_path)
    (tmp_path / "train.json").write_text("{}")
    refused("is a run that has no world yet", World.load, tmp_path)
    refused("unknown backend 'jax'", World.load, folder, "jax")
    refused("unknown precision 'int8'", load, folder, backend, precision="int8")
    refused("steps must divide 4, got 3", load, folder, backend, steps=3)
    refused("steps must divide 4, got 0", load, folder, backend, steps=0)
    for option, value, message in (
        ("batch", 0, "batch must be at least 1, and at most 65536, got 0"),
        ("batch", 10**8, "batch must be at least 1, and at most 65536"),
        ("batch", True, "batch must be at least 1, and at most 65536, got True"),
        ("batch", "2", "batch must be at least 1, and at most 65536, got '2'"),
        ("steps", "2", "steps must be a whole number, got '2'"),
        ("steps", 2.0, "steps must be a whole number, got 2.0"),
        ("compile", "no", "compile must be True or False, got 'no'"),
        ("weights", "int3", "unknown weights 'int3'"),
        ("kv_cache", "int4", "kv_cache is float or int8"),
        ("device", "cuda", "unknown option 'device' of a world: there are batch, precision, weights, steps, kv_cache"),
        ("nmae", "x", "unknown option 'nmae'"),
    ):
        refused(message, load, folder, backend, **{option: value})
    refused("unknown option 'device'", World.untrained, load(folder, backend).config, device="cuda")
    refused("a world encodes a Clip, not str", load(folder, backend).encode, "film.mp4")
