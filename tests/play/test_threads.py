"""One world and several threads that know nothing of each other, as in a web server: in a process of its own, since on
MLX what goes wrong here ends it."""

import subprocess
import sys

import pytest

from tests.play.played import write

THREADS = """
import sys, threading
import numpy as np
from mlxworld import Clip, World

folder, backend, steps = sys.argv[1], sys.argv[2], 12
world = World.load(folder, backend, precision="float32")
world.reset(seed=3)
start, clip = world.snapshot(), Clip(np.zeros((2, 32, 32, 3), np.uint8), np.zeros((2, 256), np.float32), [0, 0])
alone = [world.step(1) for _ in range(4 * steps)]
world.restore(start)
seen, errors = [], []

def by_steps():
    for _ in range(steps):
        seen.append(world.step(1))

def by_streams():
    for _ in range(steps):
        seen.append(next(world.stream([1, 1, 1])))

def by_one_stream():
    seen.extend(world.stream([1] * steps))

def with_company():
    for i in range(steps):
        seen.append(world.step(1))
        twin = world.fork()
        assert twin.step(1).index >= i + 2
        assert np.isfinite(world.encode(clip)).all()
        world.memory(), world.digest

def guarded(work):
    try:
        work()
    except BaseException as error:
        errors.append(repr(error))

for works in ([by_steps] * 4, [by_steps, by_streams, by_one_stream, with_company]):
    seen.clear()
    world.restore(start)
    threads = [threading.Thread(target=guarded, args=[work]) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors, errors
    assert sorted(frame.index for frame in seen) == list(range(1, 4 * steps + 1)), "each frame once"
    for frame in seen:
        true = alone[frame.index - 1]
        assert np.array_equal(frame.video, true.video) and np.array_equal(frame.audio, true.audio)
    assert world.step(0).index == 4 * steps + 1
print("done")
"""


@pytest.mark.parametrize("name", ["mlx", "torch"])
def test_several_threads_step_one_world(name, tmp_path):
    command = [sys.executable, "-c", THREADS, str(write(tmp_path / "small")), name]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr[-2000:]
