"""The one transformer block that every model shares, and the parts around it.

block.py  Block, FeedForward      attention.py  Attention, masks           rope.py  rotary positions
hooks.py  latent hooks on any stack     probe.py     how much attention they get
lora.py   low-rank adapters
cache.py  Ring, Growing           init.py       fresh weights by role
"""

from .attention import Attention, attend, attend_in_chunks, band, mask
from .block import Block, FeedForward, apply, by_frame, dropout
from .cache import Growing, Ring, empty
from .init import init_weights

__all__ = [
    "Attention",
    "Block",
    "FeedForward",
    "Growing",
    "Ring",
    "apply",
    "attend",
    "attend_in_chunks",
    "band",
    "by_frame",
    "dropout",
    "empty",
    "init_weights",
    "mask",
]
