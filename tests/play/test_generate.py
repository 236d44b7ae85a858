"""Many worlds in step: dreams of several lengths are what each is alone; temperature; one set of shapes."""

from typing import Any

import numpy as np
import pytest

from mlxworld import Clip, MlxworldError
from mlxworld.play.lockstep import Lockstep
from mlxworld.play.rollouts import Request, batches, rollouts
from tests.models.small import SMALL, clip, gap, latents
from tests.play.played import ACTIONS, load, play, same, write

LENGTHS = [(4, 9), (1, 3), (3, 12), (2, 1), (4, 5)]  # frames before, frames dreamt


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write(tmp_path_factory.mktemp("worlds") / "small")


def lockstep(world, n):
    return Lockstep(world._player, world.model, n)


def requests(seed=0):
    rng = np.random.default_rng(seed)
    z = latents(frames=4, count=len(LENGTHS))["z"]
    return [Request(z[i, :T], rng.integers(0, 3, T), rng.integers(0, 3, F), 10 + i) for i, (T, F) in enumerate(LENGTHS)]


def alone(world, request):
    """The dream by the model itself, one world from its own first frame on, its sound's clock that of a batch."""
    package, model = world.package, world.model
    array, T, F = package.engine.array, len(request.z), len(request.actions)
    with package.engine.inference():
        key = package.random.key(request.seed, like=array(np.zeros(1, np.float32)))
        noise, frames, state = package.random.normal(key, (T + F, *request.z.shape[1:])), [], model.init_state(1)
        state["sound"]["tick"] = state["sound"]["tick"] + (SMALL.context_frames - T)
        actions = np.concatenate([request.before, request.actions]).astype(np.int32)
        for t in range(T + F):
            now, action = noise[t][None, None], array(actions[t].reshape(1, 1))
            if t < T:
                _, _, state = model.observe(state, array(request.z[t][None, None]), now, action)
            else:
                video, audio, _, state = model.step(state, now, action)
                frames.append(
                    (package.engine.numpy(package.ops.uint8(video * 255))[0, 0], package.engine.numpy(audio)[0, 0])
                )
    return tuple(np.stack(x) for x in zip(*frames, strict=True))


def test_each_dream_of_a_batch_is_what_it_is_alone(folder, backend):
    world, wanted = load(folder, backend), requests()
    for n in (1, 2, 3, 8):
        for (video, audio), request in zip(rollouts(lockstep(world, n), wanted), wanted, strict=True):
            own_video, own_audio = alone(world, request)
            assert video.shape == own_video.shape and gap(video, own_video) <= 1 and gap(audio, own_audio) < 1e-3
    assert own_video.std() > 10


def test_what_stands_before_a_beginning_is_not_seen(folder, backend):
    """Not in a single bit: the frames that fill a shorter beginning up, whatever they show."""
    world, n = load(folder, backend), 3
    z, actions = latents(frames=4, count=n)["z"], np.zeros(n, np.int32)
    noise = np.random.default_rng(0).normal(size=(8, n, *z.shape[2:])).astype(np.float32)
    found = []
    for scale in (1, 5):
        worlds = lockstep(world, n)
        worlds.begin()
        for t in range(4):
            shown = z[:, t].copy()
            if t < 2:
                shown[1] *= scale
            if t == 2:
                worlds.anew(np.array([False, True, False]))
            worlds.observe(shown, noise[t], actions)
        found.append([worlds.step(actions, noise[4 + t]) for t in range(3)])
    assert all(same(a, b) for a, b in zip(*found, strict=True))


def test_a_world_that_begins_anew_forgets_and_its_neighbours_do_not(folder, backend):
    world, actions = load(folder, backend), np.zeros(2, np.int32)
    z = latents(frames=4, count=2)["z"]
    noise = np.random.default_rng(0).normal(size=(6, 2, *z.shape[2:])).astype(np.float32)
    found = []
    for begins in (None, [False, True]):
        worlds = lockstep(world, 2)
        worlds.begin()
        for t in range(4):
            if t == 3 and begins:
                worlds.anew(np.array(begins))
            worlds.observe(z[:, t], noise[t], actions)
        found.append(worlds.step(actions, noise[4]))
    for a, b in zip(*found, strict=True):
        assert np.array_equal(a[0], b[0])
    assert gap(found[0][0][1], found[1][0][1]) > 1


def test_no_length_is_ever_a_shape(folder, backend, monkeypatch):
    world = load(folder, backend)
    worlds, shapes = lockstep(world, 2), {}
    run = worlds._loop.__class__.__call__

    def spy(self, name, *inputs):
        shapes.setdefault(name, set()).add(tuple(tuple(x.shape) for x in inputs))
        return run(self, name, *inputs)

    monkeypatch.setattr(worlds._loop.__class__, "__call__", spy)
    rollouts(worlds, requests())
    rollouts(worlds, requests(1)[:2])
    assert {name: len(kinds) for name, kinds in shapes.items()} == {"observe": 1, "step": 1, "anew": 1}


def test_the_longest_go_together():
    assert list(batches([3, 9, 1, 7, 5], 2)) == [[1, 3], [4, 0], [2]]
    assert list(batches([], 4)) == []


def test_rollouts_of_a_world(folder, backend):
    """From start clips, and from what one has; the world itself stays where it is."""
    world, given = load(folder, backend), {n: x[0] for n, x in clip(frames=5).items()}
    world.reset(seed=1)
    future = world.fork()
    rows = [["up", 1, 0], [2] * 7, ["noop"]]
    found = world.rollouts(rows, contexts=[0, Clip(**given), given["video"][0]], seeds=[3, 4, 5], worlds=2)
    assert [len(c.video) for c in found] == [3, 7, 1] and found[0].actions.tolist() == [1, 1, 0]
    again = world.rollouts(rows[1:2], contexts=[Clip(**given)], seeds=[4])
    assert gap(again[0].video, found[1].video) <= 1
    assert gap(world.rollouts([["up"]])[0].video, world.rollouts([["up"]], seeds=[5])[0].video) > 1
    assert same(play(world), play(future))
    wrong: tuple[tuple[Any, str], ...] = (
        (([["up"], []],), "none of them empty"),
        (([["up"]], [0, 1]), "as many contexts and seeds"),
        (([["jump"]],), "unknown action 'jump'"),
        (([["up"]], [7]), "start clip 7 does not exist"),
        (([["up"]], None, [1.5]), "a seed is a whole number"),
    )
    for arguments, message in wrong:
        with pytest.raises(MlxworldError, match=message):
            world.rollouts(*arguments)


def test_a_start_clip_longer_than_the_world_looks_back(folder, backend):
    world = load(folder, backend)
    world._starts = latents(frames=SMALL.context_frames + 3, count=2)
    (dream,) = world.rollouts([[1, 2]], contexts=[1], seeds=[-5])
    assert dream.video.shape == (2, 32, 32, 3) and dream.video.any()


def test_a_temperature_of_nothing_is_one_future(folder, backend):
    cold, usual = load(folder, backend, temperature=0), load(folder, backend)
    futures = []
    for seed in (3, 6):
        cold.reset(seed=seed, context=0)
        futures.append(play(cold))
    assert same(*futures)
    cold.reset(seed=3, context=0)
    assert not same(play(cold, [2] * 16), futures[0])  # but not of one action
    for temperature in (1.0, 0.5):
        world = load(folder, backend, temperature=temperature)
        for w in (world, usual):
            w.reset(seed=3, context=0)
        assert same(play(world), play(usual)) == (temperature == 1)


def test_temperature_is_the_noises_own_measure(folder, backend, monkeypatch):
    world, seen = load(folder, backend, temperature=0.5), []
    step = world.model.step

    def spy(state, noise, action):
        seen.append(world.package.engine.numpy(noise))
        return step(state, noise, action)

    monkeypatch.setattr(world.model, "step", spy)
    world.reset(seed=1)
    play(world, [0] * 20)
    assert 0.45 < np.stack(seen).std() < 0.55
    worlds = lockstep(world, 2)
    worlds.branch(worlds.moment(), np.zeros(2))
    worlds.step(np.zeros(2), np.ones((1, *SMALL.latent_shape), np.float32))
    assert (seen[-1] == 0.5).all()


@pytest.mark.parametrize("value", [-1, 11, float("nan"), "1", True])
def test_temperatures_that_are_none_are_refused(folder, backend, value):
    with pytest.raises(MlxworldError, match="temperature must be from 0 to 10"):
        load(folder, backend, temperature=value)


def test_a_forks_worlds_are_its_own(folder, backend):
    """What was compiled for a world's many worlds begins at that world's moment, not at its twin's."""
    world = load(folder, backend, temperature=0)
    world.reset(seed=1, context=0)
    first = world.plan(lambda frame: frame.video.mean(axis=(1, 2, 3)), worlds=3, horizon=2, hold=1)
    twin = world.fork()
    play(twin, ACTIONS[:6])
    assert twin.plan(lambda frame: frame.video.mean(axis=(1, 2, 3)), worlds=3, horizon=2, hold=1).score != first.score
    again = world.plan(lambda frame: frame.video.mean(axis=(1, 2, 3)), worlds=3, horizon=2, hold=1)
    assert again == first
