"""Attention of one query for each head as one operation: what a decoder's step does once a layer.

SDPA's kernel for CUDA walks all keys of a head one block after the other: a quarter of a step of one row. Here parts
of the keys are read at once, by Triton kernels. For compiled steps alone: whoever compiles for CUDA has Triton.
"""

import torch


def suits(q: torch.Tensor, mask: torch.Tensor) -> bool:
    """Whether `attention` is for queries (B, H, Q, E) under a mask, here and now."""
    if not (torch.compiler.is_compiling() and q.is_cuda) or torch.is_grad_enabled():
        return False
    (B, _, Q, E), N = q.shape, mask.shape[-1]
    one = Q == 1 and tuple(mask.shape) in ((B, 1, 1, N), (1, 1, 1, N))
    return one and mask.dtype == q.dtype in (torch.bfloat16, torch.float16) and E in (64, 128, 256)


def attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor, scale: float) -> torch.Tensor:
    """q (B, G, R, E), the R queries of each of G groups; k, v (B, G, N, E); mask (B or 1, 1, 1, N), added to scores
    -> (B, G, R, E)."""
    return torch.ops.mlxworld.one_query.default(q, k, v, mask, scale)


torch.library.define("mlxworld::one_query", "(Tensor q, Tensor k, Tensor v, Tensor mask, float scale) -> Tensor")


@torch.library.impl("mlxworld::one_query", "CompositeExplicitAutograd")
def _attention(q, k, v, mask, scale):
    from .one_query_triton import attention as kernels

    return kernels(q, k, v, mask, scale)


@torch.library.register_fake("mlxworld::one_query")
def _(q, k, v, mask, scale):
    return q.new_empty(q.shape)
