"""LatentDynamics: the cache is the past, one world's beginning is nobody else's business, any number of passes."""

import numpy as np
import pytest

from tests.models.small import SMALL, B, changed, gap, gradients, latents, lively, module

FRAMES = 14  # beyond the wraps of both rings, 4 and 5 frames
CFGS = {
    "flow": SMALL,
    "one pass": changed(dynamics={"steps": 1}),
    "finest": changed(dynamics={"steps": 4}),
    "memory below window": changed(dynamics={"local_window": 4, "global_window": 3}),
    "deep": changed(dynamics={"depth": 3, "global_every": 3}),
    "global first": changed(dynamics={"depth": 3, "global_every": 1}),
    "regression": changed(dynamics={"head": "regression"}),
    "queries": changed(latent={"layout": "queries"}),
}


def noises(cfg, frames=FRAMES, count=B):
    shape = (frames, count, 1, cfg.latent.tokens, cfg.latent.dim)
    return np.random.default_rng(7).normal(size=shape).astype(np.float32)


def moves(cfg, frames=FRAMES, count=B):
    return np.random.default_rng(8).integers(0, len(cfg.actions), (frames, count, 1)).astype(np.int32)


def rollout(backend, net, noise, actions, cache=None, seen=()):
    """Latents (T, B, 1, K, D) after observing the frames `seen` (B, 1, K, D), and the cache."""
    engine, out = backend.engine, []
    with engine.inference():
        cache = net.init_state(noise.shape[1]) if cache is None else cache
        for t in range(len(noise)):
            now, action = engine.array(noise[t]), engine.array(actions[t])
            if t < len(seen):
                z = engine.array(seen[t])
                cache = net.observe(cache, z, now, action)
            else:
                z, cache = net.step(cache, now, action)
            out.append(engine.numpy(z))
    return np.stack(out), cache


def uncached(backend, net, past, noise, actions):
    """The latent of frame len(past) from all past frames at once, through the training path. No ring, no slots."""
    engine, c, t = backend.engine, net.cfg, len(past)
    drawn = np.concatenate(list(noise[: t + 1]), axis=1)
    joined = np.concatenate([*past, drawn[:, -1:]], axis=1)
    level = np.full(joined.shape[:2], c.noise_levels, np.int32)
    steps = c.steps if c.head == "flow" else 1
    z = drawn[:, -1:] if c.head == "flow" else 0 * drawn[:, -1:]
    with engine.inference():
        context = engine.numpy(net.noisy(*engine.array([joined, drawn, level])))
        for i in range(steps):
            at, stride = level.copy(), 0 * level
            at[:, -1], stride[:, -1] = i * c.noise_levels // steps, c.noise_levels // steps
            given = np.concatenate([context[:, :-1], z], axis=1)
            acts = np.concatenate(list(actions[: t + 1]), axis=1)
            clean = engine.numpy(net(*engine.array([given, acts, at, stride])))[:, -1:]
            z = z + (clean - z) / (steps - i)
    return z / np.sqrt((z**2).mean(-1, keepdims=True) + 1e-6)


@pytest.mark.parametrize("cfg", CFGS.values(), ids=CFGS)
def test_the_cache_is_the_whole_past(backend, cfg):
    net, noise, actions = lively(backend, cfg).dynamics, noises(cfg), moves(cfg)
    seen = latents(cfg, frames=3)["z"].swapaxes(0, 1)[:, :, None]
    found, _ = rollout(backend, net, noise, actions, seen=seen)
    assert gap(np.square(found).mean(-1), 1) < 1e-3
    for t in range(3, FRAMES):
        assert gap(uncached(backend, net, found[:t], noise, actions), found[t]) < 1e-4, t


@pytest.mark.parametrize("which", ["local_window", "global_window"])
@pytest.mark.parametrize("by", [-1, 1])
def test_a_window_off_by_one_would_show(backend, which, by):
    """What makes the test above one of windows: the training path with another window is another model."""
    noise, actions = noises(SMALL), moves(SMALL)
    found, _ = rollout(backend, lively(backend).dynamics, noise, actions)
    value = getattr(SMALL.dynamics, which) + by
    period = 24 if 24 % value == 0 else 24 * value
    other = lively(backend, changed(dynamics={which: value, "period": period})).dynamics
    other._rotary = lively(backend).dynamics._rotary
    assert gap(uncached(backend, other, found[:10], noise, actions), found[10]) > 1e-2


def test_the_frame_counter_wraps_unseen(backend):
    cfg = changed(dynamics={"period": 12})
    net, noise, actions = lively(backend, cfg).dynamics, noises(cfg, 20), moves(cfg, 20)
    found, cache = rollout(backend, net, noise, actions)
    assert list(backend.engine.numpy(cache["clock"])) == [20 % 4, 20 % 5, 20 % 12]
    late = net.init_state(B) | {"clock": backend.engine.array(np.array([0, 0, 7], np.int32))}
    again, _ = rollout(backend, net, noise, actions, late)
    assert gap(found, again) < 1e-4
    frozen = net.init_state(B)
    for t in range(6):  # and time does matter: frames that all stand at one moment are another past
        clock = backend.engine.numpy(frozen["clock"])
        frozen = frozen | {"clock": backend.engine.array(np.array([*clock[:2], 3], np.int32))}
        z, frozen = rollout(backend, net, noise[t : t + 1], actions[t : t + 1], frozen)
    assert gap(z[0], found[5]) > 1e-2


@pytest.mark.parametrize("begin", [3, 12])
def test_a_clip_longer_than_the_period_is_as_any_part_of_it(backend, begin):
    """Late frames are foreseen alike, wherever in the period the clip begins: they depend on the past by age alone."""
    cfg = changed(dynamics={"period": 12})
    net, engine, T = lively(backend, cfg).dynamics, backend.engine, 30
    given, past = latents(cfg, frames=T), latents(cfg, frames=T, seed=1)["z"]
    level = np.random.default_rng(0).integers(0, cfg.dynamics.noise_levels, (B, T)).astype(np.int32)

    def foreseen(first):
        rows = [x[:, first:] for x in (given["z"], given["actions"], level, 0 * level + 1, past)]
        with engine.inference():
            return engine.numpy(net(*engine.array(rows)))

    settled = 2 * 4  # frames that both layers have seen
    assert gap(foreseen(0)[:, begin + settled :], foreseen(begin)[:, settled:]) < 1e-4


def test_rotary_angles_make_whole_turns():
    import mlxworld

    table = np.array(module(mlxworld.on("mlx"), "blocks.rope").whole_turns(1024, 32))
    turns = np.array([round((1024 / (2 * np.pi)) ** (1 - j / 15)) for j in range(16)])
    assert turns[0] == 163 and turns[-1] == 1 and (np.diff(turns) <= 0).all()
    angle = 2 * np.pi * np.arange(1024)[:, None] * turns / 1024
    signed = np.concatenate([-np.sin(angle), np.sin(angle)], axis=1)
    assert gap(table, [np.cos(np.tile(angle, 2)), signed]) < 1e-9


def test_a_world_starts_anew_and_its_neighbours_do_not_notice(backend):
    net, noise, actions = lively(backend).dynamics, noises(SMALL, count=3), moves(SMALL, count=3)
    _, cache = rollout(backend, net, noise, actions)
    more, todo = noise[::-1].copy(), actions[::-1].copy()
    kept, _ = rollout(backend, net, more, todo, cache)
    anew = cache | {"past": cache["past"] * backend.engine.array(np.array([1, 0, 1], np.int32))}
    found, _ = rollout(backend, net, more, todo, anew)
    assert np.array_equal(found[:, [0, 2]], kept[:, [0, 2]])
    first, _ = rollout(backend, net, more, todo)
    assert gap(found[:, 1], first[:, 1]) < 1e-4 < 1e-2 < gap(found[:, 1], kept[:, 1])


def test_a_batch_of_worlds_is_so_many_worlds(backend):
    net, noise, actions = lively(backend).dynamics, noises(SMALL, count=3), moves(SMALL, count=3)
    found, _ = rollout(backend, net, noise, actions)
    for b in range(3):
        alone, _ = rollout(backend, net, noise[:, b : b + 1], actions[:, b : b + 1])
        assert gap(alone, found[:, b : b + 1]) < 1e-4


def test_a_step_leaves_the_old_cache_alone(backend):
    net, noise, actions = lively(backend).dynamics, noises(SMALL), moves(SMALL)
    _, cache = rollout(backend, net, noise, actions)
    ones, twos = (rollout(backend, net, noise, actions, cache)[0] for _ in range(2))
    assert np.array_equal(ones, twos)


def test_training_path_is_causal(backend):
    net, given, engine = lively(backend).dynamics, latents(frames=8), backend.engine
    level = np.arange(16, dtype=np.int32).reshape(2, 8) % 5
    whole = {"z": given["z"], "action": given["actions"], "noise_level": level, "step_size": level % 3}
    found = engine.numpy(net(**engine.array(whole)))
    for name, x in whole.items():
        later = x.copy()
        later[:, 5] = -x[:, 5] if name == "z" else (x[:, 5] + 1) % (3 if name == "action" else 5)
        other = engine.numpy(net(**engine.array(whole | {name: later})))
        assert np.array_equal(other[:, :5], found[:, :5]), name
        assert gap(other[:, 5], found[:, 5]) > 1e-3, name
        assert gap(other[:, 6], found[:, 6]) > 1e-4, name  # and the past does matter


@pytest.mark.parametrize(("T", "checkpointing"), [(8, False), (8, True), (9, False), (9, True)])
def test_training_over_a_past_sees_what_a_rollout_sees(backend, T, checkpointing):
    """All frames in one pass, each over the past as it was: the same as each frame alone after that past. Nine frames
    are three windows of a local layer, which then attends chunk by chunk."""
    net, engine, full = lively(backend).dynamics, backend.engine, SMALL.dynamics.noise_levels
    z, past = (latents(frames=T, seed=s)["z"] for s in (0, 1))
    action, level = latents(frames=T)["actions"], np.arange(2 * T, dtype=np.int32).reshape(2, T) % 4
    stride = 1 + level % 2
    whole = {"z": z, "action": action, "noise_level": level, "step_size": stride, "past": past}
    found = engine.numpy(net(**engine.array(whole), checkpointing=checkpointing))
    for t in range(T):
        joined = np.concatenate([past[:, :t], z[:, t : t + 1]], axis=1)
        at, by = np.full((2, t + 1), full, np.int32), np.zeros((2, t + 1), np.int32)
        at[:, t], by[:, t] = level[:, t], stride[:, t]
        alone = engine.numpy(net(*engine.array([joined, action[:, : t + 1], at, by])))
        assert gap(found[:, t], alone[:, t]) < 1e-4, t
    for name in ("z", "past"):  # a frame is not in its own past, and a noisy one is in nobody's
        later = whole[name].copy()
        later[:, 4] *= -1
        moved = np.abs(engine.numpy(net(**engine.array(whole | {name: later}))) - found).max((0, 2, 3)) > 1e-5
        assert moved.tolist() == ([t == 4 for t in range(T)] if name == "z" else [t > 4 for t in range(T)])


def test_every_action_leads_elsewhere(backend):
    net, noise, actions = lively(backend).dynamics, noises(SMALL), moves(SMALL)
    seen = latents(frames=3)["z"].swapaxes(0, 1)[:, :, None]
    _, cache = rollout(backend, net, noise[:3], actions[:3], seen=seen)
    ends = [rollout(backend, net, noise[3:4], actions[3:4] * 0 + a, cache)[0] for a in range(3)]
    assert min(gap(ends[a], ends[b]) for a, b in [(0, 1), (0, 2), (1, 2)]) > 1e-2


def test_context_frames_keep_a_share_of_noise(backend):
    net, given, engine = lively(backend).dynamics, latents(), backend.engine
    noise = np.random.default_rng(1).normal(size=given["z"].shape).astype(np.float32)
    level = np.tile(np.arange(5, dtype=np.int32), (2, 1))  # 0 is noise, 4 a context frame
    found = engine.numpy(net.noisy(*engine.array([given["z"], noise, level])))
    share = np.array([0, 0.25, 0.5, 0.75, 0.95])[None, :, None, None]
    assert gap(found, share * given["z"] + (1 - share) * noise) < 1e-5


def test_dropout_is_the_keys_and_only_in_training(backend):
    net, given, engine = lively(backend, changed(dynamics={"dropout": 0.3})).dynamics, latents(), backend.engine
    level = np.zeros((2, 5), np.int32)
    args = engine.array([given["z"], given["actions"], level, level])
    plain = lively(backend).dynamics
    assert np.array_equal(engine.numpy(net(*args)), engine.numpy(plain(*args)))
    one, same, two = (engine.numpy(net(*args, key=backend.random.key(s))) for s in (1, 1, 2))
    assert np.array_equal(one, same) and gap(one, two) > 1e-2
    loss = module(backend, "openworld.losses").dynamics_loss
    assert gap(*(gradients(backend, n, loss, given)["head.weight"] for n in (net, plain))) > 1e-4


def test_a_cache_of_bytes_is_nearly_the_same(backend):
    noise, actions = noises(SMALL), moves(SMALL)
    exact, cache = rollout(backend, lively(backend).dynamics, noise, actions)
    found, small = rollout(backend, lively(backend, changed(dynamics={"kv_cache": "int8"})).dynamics, noise, actions)
    assert 0 < np.sqrt(np.square(found - exact).mean()) < 0.05
    keys, (now, _) = backend.engine.numpy(cache["rings"][0][0]), backend.engine.numpy(small["rings"][0])
    assert now["bytes"].dtype == np.uint8 and now["bytes"].shape == keys.shape
    assert gap((now["bytes"].astype(np.float32) - 128) * now["scale"], keys) < np.abs(keys).max() / 50


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_bytes_of_a_ring_are_rounded_without_bias_in_every_precision(backend, precision):
    """In bfloat16 odd integers and a half round up: 0.28 steps on average, if they are not rounded in float32."""
    cache, engine = module(backend, "blocks.cache"), backend.engine
    x = np.random.default_rng(0).normal(size=(1, 2, 3, 5, 64)).astype(np.float32)
    new = engine.array(x, precision)
    store = cache.write(cache.empty((1, 2, 3, 5, 64), new, int8=True), new, engine.array(np.arange(3, dtype=np.int32)))
    low, whole = engine.numpy(new), engine.numpy(store)
    scale = np.abs(low).max(-1, keepdims=True) / 127
    steps = whole["bytes"].astype(np.float64) - 128 - low / scale
    assert abs(steps.mean()) < 0.02 and np.abs(steps).max() < 0.55
    assert str(cache.read(store, like=new).dtype).endswith(precision)
