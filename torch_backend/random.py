"""MLX's counter-based generator, bit for bit; the bits themselves are made in `threefry.py`."""

import math

import torch

from .threefry import random_bits

__all__ = ["key", "split", "uniform", "normal", "bernoulli", "randint"]

_MASK = 0xFFFFFFFF


def _bits(key, shape):
    return random_bits(key, math.prod(shape)).reshape(shape)


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
