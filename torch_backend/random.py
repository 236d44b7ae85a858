"""MLX's counter-based generator, bit for bit: threefry-2x32 (Salmon et al. 2011) in masked int64."""

import math

import torch

__all__ = ["key", "split", "uniform", "normal", "bernoulli", "randint"]

_MASK = 0xFFFFFFFF
_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))


def _threefry(k0, k1, x, y):
    ks = (k0, k1, k0 ^ k1 ^ 0x1BD11BDA)
    x, y = (x + ks[0]) & _MASK, (y + ks[1]) & _MASK
    for i in range(5):
        for r in _ROTATIONS[i % 2]:
            x = (x + y) & _MASK
            y = (((y << r) | (y >> (32 - r))) & _MASK) ^ x
        x, y = (x + ks[(i + 1) % 3]) & _MASK, (y + ks[(i + 2) % 3] + i + 1) & _MASK
    return x, y


def _bits(key, shape):
    n = math.prod(shape)
    half, odd = n // 2, n % 2
    i = torch.arange(half + odd, device=key.device)
    j = torch.where(i == half, 0, i + half + odd) if odd else i + half
    x, y = _threefry(key[0], key[1], i, j)
    return torch.cat([x, y[:half]]).reshape(shape)


def _unit(key, shape):
    return (_bits(key, shape).float() / 4294967295.0).clamp(max=1 - 2**-24)


def key(seed, like=None):
    return torch.tensor([seed >> 32 & _MASK, seed & _MASK], device=None if like is None else like.device)


def split(key, num=2):
    return list(_bits(key, (num, 2)).unbind(0))


def uniform(key, shape, low=0.0, high=1.0):
    return _unit(key, shape) * (high - low) + low


def normal(key, shape):
    low = -(1 - 2**-24)
    return math.sqrt(2) * torch.erfinv(_unit(key, shape) * (1 - low) + low)


def bernoulli(key, p, shape):
    return _bits(key, shape).float() < p * 4294967808.0


def randint(key, low, high, shape):
    return (torch.floor(_unit(key, shape) * (high - low)) + low).to(torch.int32)
