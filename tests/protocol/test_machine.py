"""What an engine says of its machine: memory that arrays hold, the precision that it is fast in."""

import subprocess
import sys

import pytest

import mlxworld

MEASURED = """
import sys
import numpy as np
import mlxworld
engine = mlxworld.on(sys.argv[1]).engine
before = engine.memory()["active"]
x = engine.array(np.ones(16 * 2**20, np.float32))
engine.numpy(x[:1])
memory = engine.memory()
assert memory["peak"] >= memory["active"] >= before + 60 * 2**20, (before, memory)
"""


@pytest.mark.parametrize("name", ["mlx", "torch"])
def test_memory_is_what_arrays_hold(name):
    """In a process of its own, whose allocator has nothing left over."""
    subprocess.run([sys.executable, "-c", MEASURED, name], check=True, timeout=100)


@pytest.mark.parametrize(("fast", "precision"), [(False, "float32"), (True, "bfloat16")])
def test_a_cpu_plays_in_what_it_multiplies_fast(monkeypatch, fast, precision):
    from torch_backend import packed

    monkeypatch.setattr(packed, "fast", lambda: fast)
    assert mlxworld.on("torch").engine.rollout_precision() == precision
    assert mlxworld.on("mlx").engine.rollout_precision() == "float32"
