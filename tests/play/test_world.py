"""World on a folder as training writes it: one dream on both backends, one future of a moment."""

import dataclasses
import json

import numpy as np
import pytest

import mlxworld
from mlxworld import Clip, World
from tests.models.small import SMALL, changed, clip, fresh, gap, latents, lively, unit
from tests.play.played import ACTIONS, load, play, same, write


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write(tmp_path_factory.mktemp("worlds") / "small")


def watched(world):
    """The latents of a world's steps, as they are made."""
    seen, step, numpy = [], world.model.step, world.package.engine.numpy

    def spy(cache, noise, action):
        video, audio, z, cache = step(cache, noise, action)
        seen.append(numpy(z))
        return video, audio, z, cache

    world.model.step = spy
    return seen


def test_frames_a_second_may_be_a_fraction(tmp_path):
    world = World.load(write(tmp_path, dataclasses.replace(SMALL, fps=17.5)), "torch")
    assert world.fps == 17.5 and world.reset().audio.shape == (SMALL.samples,)


@pytest.mark.parametrize("cfg", [SMALL, changed(dynamics={"head": "regression"})], ids=["flow", "regression"])
def test_a_rollout_is_the_same_on_both_backends(tmp_path, cfg):
    found = []
    write(tmp_path, cfg)
    for name in ("mlx", "torch"):
        world = World.load(tmp_path, name, precision="float32")
        assert (world.backend, world.precision, world.device) == (name, "float32", "cpu")
        z, first = watched(world), world.reset(seed=11)
        found.append((first.video, np.array([first.audio]), *play(world), z))
    (start, click, video, audio, z), (start2, click2, video2, audio2, z2) = found
    assert len(z) == len(z2) == 16 and gap(z, z2) < 1e-3
    apart = np.abs(video.astype(int) - video2).max(-1)
    assert (apart <= 1).mean() >= 0.999 and (np.abs(start.astype(int) - start2) <= 1).all()
    assert gap(audio, audio2) < 1e-2 and gap(click, click2) < 1e-3
    assert video.std() > 20 and np.abs(np.diff(video.astype(int), axis=0)).mean() > 1 and audio.std() > 1e-3


def test_what_a_world_says_of_itself(folder, backend):
    world = load(folder, backend)
    about = world.name, world.actions, world.fps, world.sample_rate, world.samples, world.size
    assert about == ("small", ("noop", "up", "down"), 30, 7680, 256, (32, 32))
    assert (world.steps, world.starts, world.batch) == (2, 3, 1)
    assert world.keys == {"ArrowUp": "up", "ArrowDown": "down"}
    frame = world.reset()
    assert frame.index == 0 and frame.model_ms > 0
    assert (frame.video.shape, frame.video.dtype) == ((32, 32, 3), np.uint8)
    assert (frame.audio.shape, frame.audio.dtype) == ((256,), np.float32)
    assert [world.step("up").index, world.step(2).index] == [1, 2]
    assert json.loads((folder / "config.json").read_text())["card"] == {"made": "by a test"}


def test_the_seed_and_the_actions_make_the_world(folder, backend):
    world = load(folder, backend)
    runs = {}
    for name, seed, start, actions in [
        ("one", 3, None, ACTIONS),
        ("again", 3, None, [0, 1, 2, 2, 1, 0, 1, 2, 0, *ACTIONS[9:]]),  # indices for names
        ("other seed", 6, 0, ACTIONS),
        ("other start", 3, 1, ACTIONS),
        ("other action", 3, None, [*ACTIONS[:5], 1, *ACTIONS[6:]]),
    ]:
        world.reset(seed=seed, context=start)
        runs[name] = play(world, actions)
    assert same(runs["one"], runs["again"])
    for name in ("other seed", "other start", "other action"):
        assert gap(runs[name][0], runs["one"][0]) > 10, name
    video, audio = runs["other action"]
    assert same((video[:5], audio[:5]), (runs["one"][0][:5], runs["one"][1][:5]))  # and nothing earlier changed
    assert gap(video[5], runs["one"][0][5]) > 1


def test_a_world_begins_with_its_start_clip(folder, backend):
    """The first picture is the start clip's last latent, decoded."""
    world = load(folder, backend)
    z = latents(frames=4, count=3)["z"]
    for number in (0, 2):
        picture = backend.engine.numpy(
            lively(backend).tokenizer.picture(backend.engine.array(z[number : number + 1, 3:]))
        )
        found = world.reset(seed=number, context=None).video
        assert np.array_equal(found, world.reset(seed=5, context=number).video)
        assert gap(found, np.floor(np.clip(picture[0, 0] * 255, 0, 255) + 0.5)) <= 1


def test_a_start_clip_has_its_own_actions(tmp_path, backend):
    """Two beginnings that look the same and were led to by other actions go on differently."""
    write(tmp_path)
    z = np.repeat(latents(frames=4, count=1)["z"], 2, axis=0)
    starts = {"z": z, "actions": np.array([[0, 0, 0, 0], [1, 2, 1, 2]], np.int32)}
    backend.engine.save(tmp_path / "starts.safetensors", starts)
    world, futures = load(tmp_path, backend), []
    for number in (0, 1):
        first = world.reset(seed=1, context=number)
        futures.append((first.video, play(world, [0, 0, 0])[0]))
    assert np.array_equal(futures[0][0], futures[1][0]) and gap(futures[0][1], futures[1][1]) > 1


def test_a_clip_of_ones_own_is_a_beginning(folder, backend):
    world = load(folder, backend)
    given = {n: x[0] for n, x in clip(frames=7).items()}
    z = world.encode(Clip(**given))
    assert z.shape == (7, 5, 16) and gap(z, unit(z)) < 1e-3
    first = world.reset(seed=1, context=Clip(**given))
    assert first.index == 0
    after = play(world)
    world.reset(seed=1, context=Clip(**{n: x[-6:] for n, x in given.items()}))  # memory 4 and 2 frames of encoder past
    again = play(world)
    assert gap(after[0][0], again[0][0]) <= 1
    other = dict(given, actions=(given["actions"] + 1) % 3)
    world.reset(seed=1, context=Clip(**other))
    assert gap(play(world)[0], after[0]) > 10


def test_a_clip_of_any_length_is_a_beginning(folder, backend):
    """Longer than the 1,024 frames after which angles repeat: it is seen in windows, and its end is what counts."""
    world, short = load(folder, backend), {n: x[0] for n, x in clip(frames=20).items()}
    rows = np.arange(1100) % 20
    long = {n: x[rows] for n, x in short.items()}
    z = world.encode(Clip(**long))
    once = world.encode(Clip(**short))
    past = world.config.receptive_field
    assert z.shape == (1100, 5, 16) and gap(z[:20], once) < 1e-4 and gap(z[1080 + past :], once[past:]) < 1e-4
    first = world.reset(seed=1, context=Clip(**long))
    after = play(world)
    again = world.reset(seed=1, context=Clip(**{n: x[-60:] for n, x in long.items()}))
    assert gap(first.video, again.video) <= 1 and gap(after[0][0], play(world)[0][0]) <= 1


def test_snapshots_and_forks_have_the_same_future(folder, backend):
    world = load(folder, backend)
    world.reset(seed=2)
    play(world, ACTIONS[:6])
    kept = world.snapshot()
    twin = world.fork()
    future = play(world)
    other = play(world, [2] * 5)
    assert same(play(twin), future) and twin._index == 22
    third = twin.fork()
    for _ in range(2):  # a snapshot may be used again
        world.restore(kept)
        assert world.step(0).index == 7
        world.restore(kept)
        assert same(play(world), future)
    assert same(play(world, [2] * 5), other) and same(play(third, [2] * 5), other)
    fresh_world = load(folder, backend)
    fresh_world.restore(kept)
    assert same(play(fresh_world), future)


def test_a_batch_of_worlds(folder, backend):
    """One action each; worlds with the same actions but other noise differ; the whole is repeatable."""
    world = load(folder, backend, batch=3)
    first = world.reset(seed=4)
    assert first.video.shape == (3, 32, 32, 3) and first.audio.shape == (3, 256)
    assert np.array_equal(first.video[0], first.video[1])
    todo = [(0, "up", 2), np.array([1, 1, 1]), [2, 0, 1]] * 3
    video, audio = play(world, todo)
    world.reset(seed=4)
    assert same(play(world, todo), (video, audio))
    assert gap(video[0, 0], video[0, 1]) > 1
    world.reset(seed=4)
    other, _ = play(world, [(a, b, (world.actions.index(c) if isinstance(c, str) else c) * 0) for a, b, c in todo])
    assert np.array_equal(other[:, :2], video[:, :2]) and gap(other[:, 2], video[:, 2]) > 1


def test_a_batch_equals_single_worlds_with_the_same_noise(folder, backend):
    world, alone = load(folder, backend, batch=3), load(folder, backend)
    drawn = []
    noise = world.model.noise
    world.model.noise = lambda key, B: drawn.append(noise(key, B)) or drawn[-1]
    world.reset(seed=4)
    begun, todo = len(drawn), [(a, b, c) for a, b, c in zip([0, 1, 2] * 4, [1] * 12, [2, 2, 0, 1] * 3, strict=True)]
    video, audio = play(world, todo)
    for b in range(3):
        left = list(drawn)
        alone.model.noise = lambda key, B, left=left, b=b: left.pop(0)[b : b + 1]
        alone.reset(seed=4)
        seen, heard = play(alone, [actions[b] for actions in todo])
        assert len(drawn) == begun + 12 and not left
        assert gap(seen, video[:, b]) <= 1 and gap(heard, audio[:, b]) < 1e-3


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_any_number_of_passes_that_divides(folder, backend, steps):
    world = load(folder, backend, steps=steps)
    assert world.steps == steps
    calls, predict = [], world.model.dynamics.predict
    world.model.dynamics.predict = lambda *a, **k: calls.append(1) or predict(*a, **k)
    world.reset()
    begun = len(calls)
    video, audio = play(world, [1, 2])
    assert len(calls) - begun == 2 * steps  # the context pass runs along with the first
    assert video.std() > 20 and np.isfinite(audio).all()


@pytest.mark.parametrize(
    "cfg",
    [
        changed(latent={"layout": "queries"}, vision={"encoding": "fixed"}),
        changed(audio={"bands": 8}).fitted(("noop", "fire"), 35, 22050, 630),
        changed(size=64, patch=16, decoder={"channels": (32, 16, 16, 16)}),
    ],
    ids=["queries", "630 samples", "64 pixels"],
)
def test_other_models_play_too(tmp_path, backend, cfg):
    world = load(write(tmp_path, cfg), backend)
    first = world.reset()
    video, audio = play(world, [0, 1, 1, 0, 1])
    assert first.audio.shape == (cfg.samples,) and first.video.shape == (cfg.size, cfg.size, 3)
    assert video.std() > 10 and gap(video[0], video[4]) > 1 and 0 < np.abs(audio).max() <= 1
    world.reset(context=Clip(**{n: x[0] for n, x in clip(cfg, 3).items()}))


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_a_world_in_half_precision_shows_the_same(folder, precision):
    world, exact = (World.load(folder, "torch", precision=p) for p in (precision, "float32"))
    first, truth = world.reset(), exact.reset()
    assert world.precision == precision and gap(first.video, truth.video) < 12
    assert gap(world.step(1).video, exact.step(1).video) < 40 and world.step(2).audio.dtype == np.float32


def test_a_fresh_model_makes_a_world(tmp_path, backend):
    """Training saves one before it has learnt anything."""
    world = load(write(tmp_path, net=fresh(mlxworld.on("torch"))), backend)
    world.reset()
    assert np.isfinite(world.step(0).audio).all()


def test_an_action_may_be_an_array_of_no_axes(folder, backend):
    world, futures = load(folder, backend), []
    for action in (1, np.array(1), np.array([1]), np.uint8(1), ("up",)):
        world.reset(seed=1)
        futures.append(world.step(action).video)
    assert all(np.array_equal(x, futures[0]) for x in futures)


def test_stereo_and_lists_are_clips_too(folder, backend):
    """Stereo folds to its mean; rows in lists become arrays."""
    world, given = load(folder, backend), {n: x[0] for n, x in clip(frames=3).items()}
    apart = 0.1 * np.random.default_rng(0).normal(size=given["audio"].shape).astype(np.float32)
    stereo = np.stack([given["audio"] + apart, given["audio"] - apart], axis=-1)
    z = world.encode(Clip(**given))
    assert gap(world.encode(Clip(**(given | {"audio": stereo}))), z) < 1e-3
    assert gap(world.encode(Clip(**(given | {"audio": given["audio"] + apart}))), z) > 1e-2
    rows = Clip(list(given["video"]), given["audio"].tolist(), given["actions"].tolist())  # type: ignore[arg-type]
    assert np.array_equal(world.encode(rows), z)
    assert np.array_equal(world.reset(context=rows).video, world.reset(context=Clip(**given)).video)
