"""The Triton kernels of `decoding.py`. Sizes are those that were fastest on an H200.

Attention of one query is two of them: `_part` reads a part of the keys, `_whole` joins what the parts gave. The method
is Flash-Decoding's (Dao et al. 2023). G groups of keys and values, R queries of each, N keys, E width.

A product of one row is one: a program gives one number. O numbers, C summands of each.
"""

import torch
import triton  # pyright: ignore[reportMissingImports]
import triton.language as tl  # pyright: ignore[reportMissingImports]

KEYS = 64  # that a program reads at once
PARTS = 64  # at most, of the keys of a group
PROGRAMS = 1024  # about: more would only wait for each other
LONG = 4096  # summands of a number: one of more is shared by four warps


def attention(q, k, v, mask, scale: float) -> torch.Tensor:
    """q (B, G, R, E), k, v (B, G, N, E) and what is added to scores (B or 1, 1, 1, N), on CUDA -> (B, G, R, E)."""
    (B, G, R, E), N = q.shape, k.shape[2]
    q, mask = q.contiguous(), mask.expand(B, 1, 1, N)
    k, v, mask = (x if x.stride(-1) == 1 else x.contiguous() for x in (k, v, mask))
    keys, most = KEYS if E <= 128 else KEYS // 2, max(1, min(PARTS, PROGRAMS // (B * G)))  # in 99 KiB, so anywhere
    blocks = triton.cdiv(triton.cdiv(N, keys), most)  # of a part
    parts = triton.cdiv(N, blocks * keys)
    y, sums = torch.empty_like(q), q.new_empty((B, G, R, parts, E), dtype=torch.float32)
    tops, totals = (q.new_empty((B, G, R, parts), dtype=torch.float32) for _ in range(2))
    rows = max(16, triton.next_power_of_2(R))
    strides = (*k.stride()[:3], *v.stride()[:3], mask.stride(0))
    _part[B * G, parts](q, k, v, mask, sums, tops, totals, scale, *strides, G, R, N, E, rows, keys, blocks)  # pyright: ignore[reportIndexIssue]
    _whole[(B * G * R,)](sums, tops, totals, y, parts, E, triton.next_power_of_2(parts))  # pyright: ignore[reportIndexIssue]
    return y


def product(x, weight, bias=None) -> torch.Tensor:
    """x (..., C) of one row, weight (O, C) without gaps, bias (O,) -> (..., O), on CUDA."""
    C, y = weight.shape[1], x.new_empty((*x.shape[:-1], len(weight)))
    block, warps = (2048, 4) if C > LONG else (512, 1)
    _product[(len(weight),)](x.contiguous(), weight, bias, y, C, block, num_warps=warps)  # pyright: ignore[reportIndexIssue]
    return y


@triton.jit
def _part(
    q, k, v, mask, sums, tops, totals, scale, k_row, k_group, k_key, v_row, v_group, v_key, mask_row, G, R, N,
    width: tl.constexpr, rows: tl.constexpr, keys: tl.constexpr, blocks: tl.constexpr,
):  # fmt: skip
    """A part's softmax, not yet divided: the sum of its weighted values, its highest score, the sum of its weights."""
    group, part, parts = tl.program_id(0), tl.program_id(1), tl.num_programs(1)
    batch, r, e, first = group // G, tl.arange(0, rows), tl.arange(0, width), part * blocks * keys
    k += batch.to(tl.int64) * k_row + (group % G) * k_group
    v += batch.to(tl.int64) * v_row + (group % G) * v_group
    queries = tl.load(q + (group * R + r[:, None]) * width + e[None], mask=r[:, None] < R, other=0.0)
    top = tl.full([rows], -1e30, tl.float32)  # a finite one: a part may hold nothing that is seen
    total, mixed = tl.zeros([rows], tl.float32), tl.zeros([rows, width], tl.float32)
    for block in range(blocks):
        n = first + block * keys + tl.arange(0, keys)
        there = n[:, None] < N
        key = tl.load(k + n[:, None] * k_key + e[None], mask=there, other=0.0)
        value = tl.load(v + n[:, None] * v_key + e[None], mask=there, other=0.0)
        seen = tl.load(mask + batch * mask_row + n, mask=n < N, other=float("-inf")).to(tl.float32)
        scores = tl.dot(queries, tl.trans(key)) * scale + seen[None]
        higher = tl.maximum(top, tl.max(scores, 1))
        weights, share = tl.exp(scores - higher[:, None]), tl.exp(top - higher)
        mixed = mixed * share[:, None] + tl.dot(weights.to(value.dtype), value)
        total, top = total * share + tl.sum(weights, 1), higher
    to = (group * R + r) * parts + part
    tl.store(sums + to[:, None] * width + e[None], mixed, mask=r[:, None] < R)
    tl.store(tops + to, top, mask=r < R)
    tl.store(totals + to, total, mask=r < R)


@triton.jit
def _whole(sums, tops, totals, y, parts, width: tl.constexpr, block: tl.constexpr):
    """One query's mean of values, from those of its parts."""
    query, p, e = tl.program_id(0), tl.arange(0, block), tl.arange(0, width)
    to = query * parts + p
    top = tl.load(tops + to, mask=p < parts, other=-1e30)
    total = tl.load(totals + to, mask=p < parts, other=0.0)
    mixed = tl.load(sums + to[:, None] * width + e[None], mask=p[:, None] < parts, other=0.0)
    share = tl.exp(top - tl.max(top, 0))
    whole = tl.sum(mixed * share[:, None], 0) / tl.sum(total * share, 0)
    tl.store(y + query * width + e, whole.to(y.dtype.element_ty))


@triton.jit
def _product(x, weight, bias, y, C: tl.constexpr, block: tl.constexpr):
    """One number: the sum of a row of the matrix times x."""
    o, c = tl.program_id(0), tl.arange(0, block)
    weight += o.to(tl.int64) * C
    total = tl.zeros([block], tl.float32)
    for first in range(0, C, block):
        there = first + c < C
        w = tl.load(weight + first + c, mask=there, other=0.0).to(tl.float32)
        total += w * tl.load(x + first + c, mask=there, other=0.0).to(tl.float32)
    whole = tl.sum(total, 0)
    if bias is not None:
        whole += tl.load(bias + o).to(tl.float32)
    tl.store(y + o, whole.to(y.dtype.element_ty))
