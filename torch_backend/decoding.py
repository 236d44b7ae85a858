"""What a decoder's step does once a layer, as single operations: attention of one query a head, a product of one row.

In such a step memory is all that counts. SDPA's kernel for CUDA walks all keys of a head one block after the other,
which took a quarter of it; here parts of the keys are read at once. cuBLAS multiplies tiles of rows, and one row left
a third of a copy's rate unused. The kernels are Triton's, for compiled steps alone: whoever compiles for CUDA has it.
"""

import torch
from torch.compiler import is_dynamo_compiling as is_compiling  # in this thread, not in any
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

_HALF = (torch.bfloat16, torch.float16)
FEWEST = 256  # keys: of fewer SDPA walks a block or two, in the one launch where `attention` has two


def _here(x: torch.Tensor) -> bool:
    return is_compiling() and x.is_cuda and x.dtype in _HALF and not torch.is_grad_enabled()


def suits_attention(q: torch.Tensor, mask: torch.Tensor) -> bool:
    """Whether `attention` is for queries (B, H, Q, E) under a mask, here and now."""
    (B, _, Q, E), N = q.shape, mask.shape[-1]
    one = Q == 1 and tuple(mask.shape) in ((B, 1, 1, N), (1, 1, 1, N))
    return _here(q) and one and N >= FEWEST and mask.dtype == q.dtype and E in (64, 128, 256)


def attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor, scale: float) -> torch.Tensor:
    """q (B, G, R, E), the R queries of each of G groups; k, v (B, G, N, E); mask (B or 1, 1, 1, N), added to scores
    -> (B, G, R, E)."""
    return torch.ops.mlxworld.one_query.default(q, k, v, mask, scale)


def suits_product(x: torch.Tensor, weight: torch.Tensor) -> bool:
    """Whether `product` is for x (..., C) and a matrix, here and now: not for a quantised one."""
    plain = _here(x) and weight.dtype == x.dtype and not is_traceable_wrapper_subclass(weight)
    return plain and x.numel() == x.shape[-1] and weight.is_contiguous()


def product(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """x (..., C), one row in all, times weight (O, C), plus bias (O,) -> (..., O). Sums are float32."""
    return torch.ops.mlxworld.one_row.default(x, weight, bias)


torch.library.define("mlxworld::one_query", "(Tensor q, Tensor k, Tensor v, Tensor mask, float scale) -> Tensor")
torch.library.define("mlxworld::one_row", "(Tensor x, Tensor weight, Tensor? bias) -> Tensor")


@torch.library.impl("mlxworld::one_query", "CompositeExplicitAutograd")
def _attention(q, k, v, mask, scale):
    from .decoding_triton import attention as kernels

    return kernels(q, k, v, mask, scale)


@torch.library.register_fake("mlxworld::one_query")
def _(q, k, v, mask, scale):
    return q.new_empty(q.shape)


@torch.library.impl("mlxworld::one_row", "CompositeExplicitAutograd")
def _product(x, weight, bias=None):
    from .decoding_triton import product as kernel

    return kernel(x, weight, bias)


@torch.library.register_fake("mlxworld::one_row")
def _(x, weight, bias=None):
    return x.new_empty((*x.shape[:-1], len(weight)))
