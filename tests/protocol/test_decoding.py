"""A decoder's step on CUDA: when a compiled step takes our operations, and that their kernels give what they say.

The kernels need Triton, which interprets them where there is no GPU.
"""

import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.testing._internal.two_tensor import TwoTensor
from torch.utils._python_dispatch import TorchDispatchMode

from torch_backend import decoding, nn, ops

ROOT = Path(__file__).parents[2]


def half(*shape, dtype=torch.bfloat16, device="cuda"):
    """An array without memory."""
    return torch.empty(*shape, dtype=dtype, device=device)


class names(TorchDispatchMode):
    """The operations that run while it lasts."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.seen = [*getattr(self, "seen", []), func.overloadpacket.__name__]
        return func(*args, **(kwargs or {}))


def attends(B=2, H=12, G=2, Q=1, N=768, E=128, mask=(2, 1, 1, 768), grad=False, **kind):
    """Whether attention is our operation; its result's shape is tested here."""
    with FakeTensorMode(), torch.set_grad_enabled(grad), names() as found:
        q, k, v = half(B, H, Q, E, **kind), half(B, G, N, E, **kind), half(B, G, N, E, **kind)
        y = ops.attention(q, k, v, mask and half(*mask, **kind))
    assert y.shape == q.shape and y.dtype == q.dtype
    return "one_query" in found.seen


WEIGHTS = {
    "rows": lambda w: w,
    "columns": lambda w: w.new_empty_strided(w.shape, (1, len(w))),
    "packed": lambda w: TwoTensor(w, w),  # as a quantised one is: a tensor of a class of its own
}


def multiplies(x=(1, 1, 96), grad=False, weight="rows", bias=True, tied=False, **kind):
    """Whether a layer's product is our operation; its result's shape is tested here."""
    with FakeTensorMode(), torch.set_grad_enabled(grad), names() as found:
        layer, x = nn.Embedding(40, 96) if tied else nn.Linear(96, 40, bias=bias), half(*x, **kind)
        layer.weight = torch.nn.Parameter(WEIGHTS[weight](half(40, 96, **kind)), requires_grad=False)
        if bias and not tied:
            layer.bias = torch.nn.Parameter(half(40, **kind), requires_grad=False)
        y = nn.unembed(layer, x) if tied else layer(x)
    assert y.shape == (*x.shape[:-1], 40) and y.dtype == x.dtype
    return "one_row" in found.seen


FLOATS, CPU, GRADIENTS = {"dtype": torch.float32}, {"device": "cpu"}, {"grad": True}
NOT_ONE_QUERY = [{"Q": 2}, {"mask": None}, {"mask": (2, 12, 1, 768)}, {"E": 80}, {"N": 255, "mask": (2, 1, 1, 255)}]
NOT_ONE_ROW = [{"x": (2, 1, 96)}, {"x": (1, 2, 96)}, {"weight": "columns"}, {"weight": "packed"}]


@pytest.mark.parametrize("how", [*NOT_ONE_QUERY, FLOATS, CPU, GRADIENTS], ids=str)
def test_attention_of_one_query_alone_is_taken(monkeypatch, how):
    monkeypatch.setattr(decoding, "is_compiling", lambda: True)
    assert attends() and attends(mask=(1, 1, 1, 768)) and attends(H=2) and attends(N=256, mask=(2, 1, 1, 256))
    assert not attends(**how)


@pytest.mark.parametrize("how", [*NOT_ONE_ROW, FLOATS, CPU, GRADIENTS], ids=str)
def test_a_product_of_one_row_alone_is_taken(monkeypatch, how):
    monkeypatch.setattr(decoding, "is_compiling", lambda: True)
    assert multiplies() and multiplies(x=(96,)) and multiplies(bias=False) and multiplies(tied=True)
    assert not multiplies(**how)


def test_an_eager_step_takes_neither(monkeypatch):
    """Nor while another thread compiles one."""
    for compiles in (False, True):
        monkeypatch.setattr(torch.compiler, "_is_compiling_flag", compiles)
        assert not attends() and not multiplies()


def kernels_give_attention(device: str) -> None:
    """Of one row and of more, of parts of one block of keys and of several, of keys that lie apart, of a mask that
    hides all of a part."""
    from torch_backend import decoding_triton as kernels

    shapes = [(1, 2, 6, 96, 128), (2, 1, 3, 161, 64), (1, 1, 20, 40, 64), (1, 2, 1, 32, 64)]
    for (B, G, R, N, E), kernels.PROGRAMS in itertools.product(shapes, (1024, 2)):
        q, k, v = (x.half() for x in (torch.randn(B, G, R, E), torch.randn(B, N, G, E), torch.randn(B, N, G, E)))
        k, v, mask = k.swapaxes(1, 2), v.swapaxes(1, 2), torch.zeros(B, 1, 1, N).half()
        mask[0, ..., : N // 2], mask[-1, ..., N - 7 :] = -3e4, -3e4
        for m in (mask, mask[:1]):
            scores = q.float() @ k.float().mT * 0.2 + m.float()
            y = kernels.attention(q.to(device), k.to(device), v.to(device), m.to(device), 0.2).cpu()
            assert y.dtype == q.dtype and (y.float() - scores.softmax(-1) @ v.float()).abs().max() < 2e-3


def the_kernel_gives_a_product(device: str) -> None:
    """Of short and long rows, cut by blocks and not, with a bias and without, in both types."""
    from torch_backend import decoding_triton as kernels

    for C, bias, dtype in [(512, True, torch.half), (96, False, torch.half), (4096 + 96, True, torch.bfloat16)]:
        x, w, b = torch.randn(1, 1, C).to(dtype), torch.randn(7, C).to(dtype), torch.randn(7).to(dtype)
        true = x.double() @ w.double().mT + (b.double() if bias else 0)
        y = kernels.product(x.to(device), w.to(device), b.to(device) if bias else None).cpu()
        assert y.dtype == dtype and y.shape == (1, 1, 7)
        torch.testing.assert_close(y, true.to(dtype), rtol=torch.finfo(dtype).eps, atol=1e-3)  # rounded once


@pytest.mark.platform
def test_the_kernels_give_what_they_say():
    """In a process of its own, since Triton learns at its import that it is to interpret. `.ci/run` brings Triton."""
    pytest.importorskip("triton", reason="needs Triton")
    code = "from tests.protocol import test_decoding as t; t.{}('cpu'); t.{}('cpu')"
    code = code.format(kernels_give_attention.__name__, the_kernel_gives_a_product.__name__)
    environment = os.environ | {"TRITON_INTERPRET": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
