"""The bits of `threefry.py` by one Triton kernel, in 32-bit words as the cipher is defined."""

import torch
import triton
import triton.language as tl

BLOCK = 512  # pairs of numbers that a program makes


def random_bits(key: torch.Tensor, n: int) -> torch.Tensor:
    """key (2,) int64 on CUDA -> (n,) int64: see `threefry.random_bits`."""
    bits, pairs = torch.empty(n, dtype=torch.int64, device=key.device), (n + 1) // 2
    if n:
        _kernel[(triton.cdiv(pairs, BLOCK),)](key, bits, n, pairs, BLOCK)
    return bits


@triton.jit
def _four(x, y, a: tl.constexpr, b: tl.constexpr, c: tl.constexpr, d: tl.constexpr):
    x = x + y
    y = ((y << a) | (y >> (32 - a))) ^ x
    x = x + y
    y = ((y << b) | (y >> (32 - b))) ^ x
    x = x + y
    y = ((y << c) | (y >> (32 - c))) ^ x
    x = x + y
    y = ((y << d) | (y >> (32 - d))) ^ x
    return x, y


@triton.jit
def _kernel(key, bits, n, pairs, block: tl.constexpr):
    i = tl.program_id(0) * block + tl.arange(0, block)
    k0, k1 = tl.load(key).to(tl.uint32), tl.load(key + 1).to(tl.uint32)
    k2 = k0 ^ k1 ^ 0x1BD11BDA
    x = i.to(tl.uint32) + k0
    y = tl.where(i + pairs < n, i + pairs, 0).to(tl.uint32) + k1
    x, y = _four(x, y, 13, 15, 26, 6)
    x, y = x + k1, y + k2 + 1
    x, y = _four(x, y, 17, 29, 16, 24)
    x, y = x + k2, y + k0 + 2
    x, y = _four(x, y, 13, 15, 26, 6)
    x, y = x + k0, y + k1 + 3
    x, y = _four(x, y, 17, 29, 16, 24)
    x, y = x + k1, y + k2 + 4
    x, y = _four(x, y, 13, 15, 26, 6)
    x, y = x + k2, y + k0 + 5
    tl.store(bits + i, x.to(tl.int64), mask=i < pairs)
    tl.store(bits + pairs + i, y.to(tl.int64), mask=pairs + i < n)
