"""Attention of one query: when a compiled step on CUDA takes it, and that its kernels give attention.

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
from torch.utils._python_dispatch import TorchDispatchMode

from torch_backend import ops

ROOT = Path(__file__).parents[2]


class names(TorchDispatchMode):
    """The operations that run while it lasts."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.seen = [*getattr(self, "seen", []), func.overloadpacket.__name__]
        return func(*args, **(kwargs or {}))


def taken(B=2, H=12, G=2, Q=1, N=768, E=128, dtype=torch.bfloat16, mask=(2, 1, 1, 768), device="cuda", grad=False):
    """Whether attention of arrays that have no memory is the operation; its result's shape is tested here."""
    with FakeTensorMode(allow_non_fake_inputs=True), torch.set_grad_enabled(grad), names() as found:
        q = torch.empty(B, H, Q, E, dtype=dtype, device=device)
        k, v = (torch.empty(B, G, N, E, dtype=dtype, device=device) for _ in range(2))
        y = ops.attention(q, k, v, None if mask is None else torch.zeros(mask, dtype=dtype, device=device))
    assert y.shape == q.shape and y.dtype == q.dtype
    return "one_query" in found.seen


OTHERWISE = [{"Q": 2}, {"mask": None}, {"mask": (2, 12, 1, 768)}, {"dtype": torch.float32}, {"E": 80}]
OTHERWISE += [{"device": "cpu"}, {"grad": True}]


@pytest.mark.parametrize("how", OTHERWISE, ids=str)
def test_only_what_suits_it_is_taken(monkeypatch, how):
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    assert taken() and taken(mask=(1, 1, 1, 768)) and taken(H=2)
    assert not taken(**how)


def test_an_eager_step_does_not_take_it():
    assert not taken()


def kernels_give_attention(device: str) -> None:
    """Of one row and of more, of parts of one block of keys and of several, of keys that lie apart, of a mask that
    hides all of a part."""
    from torch_backend import one_query_triton as kernels

    shapes = [(1, 2, 6, 96, 128), (2, 1, 3, 161, 64), (1, 1, 20, 40, 64), (1, 2, 1, 32, 64)]
    for (B, G, R, N, E), kernels.PROGRAMS in itertools.product(shapes, (1024, 2)):
        q, k, v = (x.half() for x in (torch.randn(B, G, R, E), torch.randn(B, N, G, E), torch.randn(B, N, G, E)))
        k, v, mask = k.swapaxes(1, 2), v.swapaxes(1, 2), torch.zeros(B, 1, 1, N).half()
        mask[0, ..., : N // 2], mask[-1, ..., N - 7 :] = -3e4, -3e4
        for m in (mask, mask[:1]):
            scores = q.float() @ k.float().mT * 0.2 + m.float()
            y = kernels.attention(q.to(device), k.to(device), v.to(device), m.to(device), 0.2).cpu()
            assert y.dtype == q.dtype and (y.float() - scores.softmax(-1) @ v.float()).abs().max() < 2e-3


def test_the_kernels_give_attention():
    """In a process of its own, since Triton learns at its import that it is to interpret."""
    pytest.importorskip("triton", reason="needs Triton")
    code = "from tests.protocol.test_one_query import kernels_give_attention as check; check('cpu')"
    environment = os.environ | {"TRITON_INTERPRET": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
