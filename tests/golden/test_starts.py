"""A world begins with sixteen frames: what training writes down, and what a reset plays."""

import numpy as np
import pytest
import safetensors.numpy

from mlxworld import Clip, World, train
from mlxworld.data import open_cache
from tests import tiny
from tests.models.played import load, play, same, write
from tests.models.small import changed, clip, gap, latents

LONG = changed(dynamics={"memory": 24})  # more frames than a start clip has
FRAMES = 16


@pytest.mark.parametrize("frame", [0, 7, 14])
def test_every_frame_of_a_start_clip_counts(tmp_path, backend, frame):
    """Start clips that differ in one early frame, or in the action that led to it, have other futures."""
    write(tmp_path, LONG)
    start = latents(LONG, FRAMES, 1)
    z, actions = (np.repeat(start[name], 3, axis=0) for name in ("z", "actions"))
    z[1, frame] *= -1
    actions[2, frame] = (actions[2, frame] + 1) % 3
    backend.engine.save(tmp_path / "starts.safetensors", {"z": z, "actions": actions})
    world, futures = load(tmp_path, backend), []
    for number in range(3):
        first = world.reset(seed=1, context=number)
        futures.append((first.video, play(world, [0, 1, 2])[0]))
    (begun, future), *others = futures
    for first, other in others:
        assert np.array_equal(first, begun) and gap(other, future) > 1


def test_a_start_clip_is_a_clip_of_its_frames(tmp_path, backend):
    """A reset to a start clip and one to the sixteen frames that it holds are the same world."""
    write(tmp_path, LONG)
    given = Clip(**{name: x[0] for name, x in clip(LONG, FRAMES).items()})
    starts = {"z": load(tmp_path, backend).encode(given)[None], "actions": given.actions[None]}
    backend.engine.save(tmp_path / "starts.safetensors", starts)
    world, futures = load(tmp_path, backend), []
    for context in (0, given):
        first = world.reset(seed=1, context=context)
        futures.append((first.video, *play(world, [0, 1, 2])))
    assert same(*futures)


def test_training_writes_sixteen_start_clips_of_sixteen_frames(tmp_path):
    """Each is frames of the dataset, with their actions."""
    data, out = tiny.dots(tmp_path / "dots"), tmp_path / "run"
    short = {"tokenizer.steps": 1, "dynamics.steps": 1, "forcing.steps": 0, "backend": "torch"}
    train.main(["--data", str(data), "--out", str(out), *tiny.argv(**short)])
    world, starts = (
        World.load(out, "torch", precision="float32"),
        safetensors.numpy.load_file(out / "starts.safetensors"),
    )
    assert world.starts == 16 and starts["z"].shape[:2] == starts["actions"].shape == (16, FRAMES)
    cache = open_cache(data)
    begins = [t for first, last in cache.spans() for t in range(first, last - FRAMES + 1)]
    windows = [slice(t, t + FRAMES) for t in begins]
    z = [world.encode(Clip(cache.video[rows], cache.sound(rows), cache.actions[rows])) for rows in windows]
    for start, actions in zip(starts["z"].astype(np.float32), starts["actions"], strict=True):
        apart = [np.abs(start - x).mean() for x in z]
        nearest = int(np.argmin(apart))
        assert apart[nearest] < 0.01  # weights were rounded to float16 since
        assert np.array_equal(actions, cache.actions[windows[nearest]])
