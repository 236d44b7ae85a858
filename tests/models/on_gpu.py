"""What must hold of worlds and loops on a GPU, for the tests of CUDA and of Metal. Runs on the CPU too."""

import numpy as np

from tests.golden import cases
from tests.play.played import ACTIONS, play, same

# PSNR in dB of a rollout beside the golden one; on the CPU the worst pictures have 76, 61 and 95.
FLOORS = {"float16": 60.0, "bfloat16": 50.0, "float32": 60.0}


def one_future(load):
    """Snapshots, forks and fresh worlds go on alike, bit for bit, also where a fork plays in between."""
    world = load()
    world.reset(seed=2)
    play(world, ACTIONS[:6])
    moment, twin = world.snapshot(), world.fork()
    future = play(world)
    assert np.abs(np.diff(future[0].astype(int), axis=0)).max() > 1 and np.abs(future[1]).max() > 1e-3
    for _ in range(2):
        world.restore(moment)
        assert world.step(0).index == 7
        world.restore(moment)
        assert same(play(world), future)
    world.restore(moment)
    ours, theirs = [], []
    for action in ACTIONS:
        theirs.append(twin.step(2))
        ours.append(world.step(action))
    assert same([np.stack([f.video for f in ours]), np.stack([f.audio for f in ours])], future)
    twin.restore(moment)
    assert same(play(twin), future)
    world.restore(moment)
    assert same([f.video for f in theirs], play(world, [2] * len(ACTIONS))[0])
    other = load()
    other.restore(moment)
    assert same(play(other), future)


def steps_and_stream_agree(world):
    """`stream` begins a frame before the one before it is on the host: nothing is overwritten on its way."""
    world.reset(seed=3)
    moment, (video, audio) = world.snapshot(), play(world, ACTIONS * 4)
    world.restore(moment)
    frames = list(world.stream(ACTIONS * 4))
    assert same((np.stack([f.video for f in frames]), np.stack([f.audio for f in frames])), (video, audio))
    assert len({f.video.tobytes() for f in frames}) > len(frames) // 2


def near_the_golden_rollout(world):
    """The shipped world's dream in any precision, beside the one that was written down in float32."""
    with np.load(cases.ROLLOUT) as arrays:
        golden = arrays["video"].astype(np.float64)
    frames = [world.reset(seed=11, context=3), *(world.step(a) for a in cases.ACTIONS)]
    error = np.square(np.stack([f.video for f in frames]) - golden).mean(axis=(1, 2, 3))
    psnr = 10 * np.log10(255**2 / np.maximum(error, 1e-9))
    assert psnr.min() > FLOORS[world.precision], psnr.round(1)
    assert all(np.isfinite(f.audio).all() and f.audio.dtype == np.float32 for f in frames)


def counting(ops):
    """step(state, x) -> (outputs, state) that tells how often it ran: large arrays, so that their copies take time."""

    def step(state, x):
        count = state["count"] + 1
        return (x + count, ops.sin(state["walk"] + x)), {"count": count, "walk": ops.sin(state["walk"] + x)}

    return step


def a_loop_counts(backend, size: int = 2**22):
    """Each call is one step, the first too; what is fetched is the call's own, whatever comes after; forks part."""
    engine = backend.engine
    loop = engine.Loop({"step": counting(backend.ops)})
    with engine.inference():
        begun = engine.array({"count": np.zeros(1, np.float32), "walk": np.zeros(size, np.float32)})
        inputs = [engine.array(np.full(size, 10.0 * t, np.float32)) for t in range(12)]
        loop.begin(begun)
        pending = [engine.fetch(loop("step", x)) for x in inputs]
        walk = np.zeros(size, np.float32)
        for t, wait in enumerate(pending):
            total, walked = wait()
            walk = np.sin(walk + np.float32(10 * t))
            assert (total == 10 * t + t + 1).all() and np.abs(walked - walk).max() < 1e-4
        moment, twin = loop.state(), loop.fork()
        future = engine.numpy(loop("step", inputs[1]))
        engine.fetch(loop("step", inputs[2]))()
        assert same(engine.numpy(twin("step", inputs[1])), future)
        loop.restore(moment)
        assert same(engine.numpy(loop("step", inputs[1])), future) and future[0][0] == 10 + 13
        loop.begin(begun)
        assert engine.numpy(loop("step", inputs[0]))[0][0] == 1


def fixed_functions_read_new_weights(backend):
    """A model's weights change between two calls of a fixed function of it; copies of its results stay."""
    engine, model = backend.engine, backend.nn.Linear(8, 8)
    engine.place(model)
    run, x = engine.fixed(lambda x: model(x), model), np.eye(8, dtype=np.float32)
    weights = [(scale * np.eye(8)).astype(np.float32) for scale in (1, 2, 3)]
    copies = []
    with engine.inference():
        for weight in weights:
            backend.nn.assign(model, engine.array({"weight": weight, "bias": np.zeros(8, np.float32)}))
            copies.append(engine.copy(run(engine.array(x))))
    assert all(np.allclose(y, w, atol=1e-2) for y, w in zip(engine.numpy(copies), weights, strict=True))
