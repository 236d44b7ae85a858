"""Random bits as one operation: threefry-2x32 (Salmon et al. 2011), 20 rounds over a counter.

Written out, a draw is some 200 integer operations, which a compiler traces, fuses and recomputes wherever they are
used: nine tenths of the time that it took to compile a training step. So it is opaque to compilers: on CUDA one Triton
kernel in 32 bits, elsewhere masked int64. (torch.library.custom_op would import the compiler at the first draw, which
takes longer than to load a world.)
"""

import functools
import importlib.util

import torch

_MASK = 0xFFFFFFFF
_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = 0x1BD11BDA


def random_bits(key: torch.Tensor, n: int) -> torch.Tensor:
    """key (2,) int64, two words -> (n,) int64 in 0 .. 2^32 - 1, those of MLX. The counter is cut in two halves that
    are enciphered as pairs; of an odd n the last pair has a zero and gives one number."""
    return torch.ops.mlxworld.random_bits.default(key, n)


torch.library.define("mlxworld::random_bits", "(Tensor key, SymInt n) -> Tensor")


@torch.library.impl("mlxworld::random_bits", "CompositeExplicitAutograd")
def _random_bits(key, n):
    if key.is_cuda and _has_triton():
        from .threefry_triton import random_bits as kernel

        return kernel(key, n)
    half, odd = n // 2, n % 2
    i = torch.arange(half + odd, device=key.device)
    j = torch.where(i == half, 0, i + half + odd) if odd else i + half
    x, y = _encipher(key[0], key[1], i, j)
    return torch.cat([x, y[:half]])


@torch.library.register_fake("mlxworld::random_bits")
def _(key, n):
    return key.new_empty(n, dtype=torch.int64)


@functools.cache
def _has_triton() -> bool:
    """PyTorch brings it along for CUDA on Linux."""
    return importlib.util.find_spec("triton") is not None


def _encipher(k0, k1, x, y):
    ks = (k0, k1, k0 ^ k1 ^ _PARITY)
    x, y = (x + ks[0]) & _MASK, (y + ks[1]) & _MASK
    for i in range(5):
        for r in _ROTATIONS[i % 2]:
            x = (x + y) & _MASK
            y = (((y << r) | (y >> (32 - r))) & _MASK) ^ x
        x, y = (x + ks[(i + 1) % 3]) & _MASK, (y + ks[(i + 2) % 3] + i + 1) & _MASK
    return x, y
