"""MLX with the BLAS of PyTorch: found without importing PyTorch, fast, and at peace with it in one process."""

import os
import subprocess
import sys

import pytest

MEASURE = """
import sys
import mlxworld.backend.blas as blas
assert "torch" not in sys.modules
import time
import mlx.core as mx
x = mx.random.normal((512, 512), key=mx.random.key(0))
times = []
for _ in range(8):
    start = time.process_time()  # on a busy machine the clock tells of others
    mx.eval(x @ x)
    times.append(time.process_time() - start)
print(blas.loaded, 1e3 * min(times))
"""
TOGETHER = """
import threading
import numpy as np
import mlxworld.backend.blas
import mlx.core as mx
import torch

x = np.random.default_rng(0).normal(size=(256, 256)).astype(np.float32)
right, failures = x @ x, []

def check(product):
    for _ in range(30):
        error = np.abs(product() - right).max()
        if error > 1e-3:
            failures.append(error)

def on_mlx():
    check(lambda: np.array(mx.array(x) @ mx.array(x)))

def on_torch():
    check(lambda: (torch.tensor(x) @ torch.tensor(x)).numpy())

on_mlx(), on_torch()
threads = [threading.Thread(target=f) for f in (on_mlx, on_torch, on_torch)]
[t.start() for t in threads]
on_mlx()
[t.join() for t in threads]
print("failures", len(failures))
"""


def run(script, **variables):
    environment = {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"} | variables
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.platform
@pytest.mark.skipif(sys.platform != "linux", reason="only MLX's Linux build has the slow BLAS")
def test_it_is_fast_and_can_be_left_out():
    loaded, fast = run(MEASURE, OMP_NUM_THREADS="1")
    left_out, slow = run(MEASURE, OMP_NUM_THREADS="1", MLXWORLD_BLAS="0")
    assert (loaded, left_out) == ("True", "False")
    assert float(fast) < float(slow) / 3


def test_both_frameworks_work_in_threads_of_one_process():
    assert run(TOGETHER) == ["failures", "0"]


def test_without_torch_it_does_nothing():
    hide = "import sys, importlib.util as u; find = u.find_spec\n"
    hide += "u.find_spec = lambda name, *a: None if name == 'torch' else find(name, *a)\n"
    assert run(hide + "import mlxworld.backend.blas as b; print(b.loaded)") == ["False"]
