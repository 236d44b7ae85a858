"""The parts of a world as torch modules: the same numbers as the model, and nothing that exporters lack."""

import numpy as np
import pytest
import torch

from convert import parts
from mlxworld import on
from tests.models.small import SMALL, changed, gap, lively
from torch_backend import ops, random
from torch_backend.stateful import Stateful, named

VARIANTS = [
    SMALL,
    changed(dynamics={"head": "regression"}),
    changed(latent={"layout": "queries"}),
]


def source(cfg):
    return parts.Source(None, {"name": "small"}, cfg, lively(on("torch"), cfg).eval(), {})  # pyright: ignore


@pytest.mark.parametrize("cfg", VARIANTS)
def test_a_step_that_owns_its_cache_is_the_pure_step(cfg):
    """Over the wrap of every ring, with one observed frame, at addresses that stay."""
    model = source(cfg).model
    observe, step = parts.parts(source(cfg), "dynamics")[::-1]
    cache, key, where = model.dynamics.init_state(1), random.key(3), [x.data_ptr() for x in step.state.values()]
    with torch.no_grad():
        for t in range(7):
            key, now = random.split(key)
            inputs = {"noise": model.noise(now, 1), "action": torch.full((1, 1), t % 3, dtype=torch.int32)}
            expected, cache = model.dynamics.step(cache, **inputs)
            assert gap(step.module(**inputs)[0], expected) == 0
    assert where == [x.data_ptr() for x in step.state.values()]
    assert list(step.state) == list(named(cache)) == list(observe.state)


def test_counters_are_floats_that_come_back_as_whole_numbers():
    class Counter(torch.nn.Module):
        def forward(self, cache, by):
            assert cache["n"].dtype == torch.int32
            return cache["n"] * 2, {"n": cache["n"] + by}

    module = Stateful(Counter(), {"n": torch.zeros(1, dtype=torch.int32)}, lambda m, cache, by: m(cache, by))
    assert [int(module(by=1)) for _ in range(3)] == [0, 2, 4]
    assert module.state()["n"].dtype == torch.float32 and float(module.state()["n"]) == 3


def test_the_fourier_transform_as_a_product():
    x = torch.tensor(np.random.default_rng(0).normal(size=(3, 64)).astype(np.float32))
    with parts.exportable():
        inside = ops.rfft(x)
    assert ops.rfft is not parts.rfft
    for ours, theirs in zip(inside, ops.rfft(x), strict=True):
        assert gap(ours, theirs) < 1e-5


def test_an_exported_part_holds_no_operation_of_complex_numbers():
    encode = parts.parts(source(SMALL), "encoder")[0]
    program = parts.export(encode)
    assert "fft" not in str(program.graph)
    assert list(program.graph_signature.user_inputs) == list(encode.inputs)
