"""Operations, FLOPs and bytes of a function, read from its real graph by the backend's `count` module.

An operation is (name, kind, FLOPs, {array: bytes} read, {array: bytes} written). `fused` makes of them what a good
compiler makes: a chain of pointwise operations and reductions (so a norm) is one kernel, an attention is one, and what
passes between operations of one kernel is neither written nor read.
"""

from collections import Counter
from collections.abc import Iterable
from types import ModuleType
from typing import Any

Operation = tuple[str, str, int, dict, dict]
MELTS = {"pointwise", "reduction"}


def operations(package: ModuleType, fn, *args) -> list[Operation]:
    """The operations of fn(*args) on a backend, views left out."""
    with package.engine.inference():
        return package.engine.count(fn, *args)


def summary(ops: list[Operation]) -> dict[str, int]:
    """Of one call: kernels as written and as a compiler fuses them, FLOPs, and bytes read and written of either."""
    one = fused(ops)
    found = {"kernels": len(ops), "kernels_fused": len(one), "flops": sum(op[2] for op in ops)}
    return found | {"bytes": sum(map(traffic, ops)), "bytes_fused": sum(map(traffic, one))}


def histogram(ops: Iterable[Operation]) -> list[list[int]]:
    """[FLOPs, bytes, how often] of operations that are alike, the most FLOPs first: what a prediction needs."""
    alike = Counter((op[2], traffic(op)) for op in ops)
    return [[*op, n] for op, n in sorted(alike.items(), reverse=True)]


def traffic(op: Operation) -> int:
    """Bytes that an operation reads and writes."""
    return sum(op[3].values()) + sum(op[4].values())


def fused(ops: list[Operation]) -> list[Operation]:
    """Fewer operations that do the same: one melts into another that alone reads what it writes."""
    readers = _readers(ops)
    kernel = list(range(len(ops)))  # of each operation: the number of the last one in its kernel
    softmax = {i for i, op in enumerate(ops) if op[1] == "softmax"}  # kernels that hold one: attention
    for i in reversed(range(len(ops))):
        after = {j for array in ops[i][4] for j in readers[i, array]}
        if len(after) != 1:
            continue
        j, kind = after.pop(), ops[i][1]
        onto = ops[j][1]
        melts = kind in MELTS and onto in MELTS | {"softmax"}
        attends = (kind == "softmax" and onto == "product") or (
            kind == "product" and onto != "product" and kernel[j] in softmax
        )
        if melts or attends:
            kernel[i] = kernel[j]
            softmax |= {kernel[j]} if i in softmax else set()
    members: dict[int, list[int]] = {}
    for i, k in enumerate(kernel):
        members.setdefault(k, []).append(i)
    return [_one(ops, members[k], readers) for k in sorted(members)]


def _readers(ops: list[Operation]) -> dict[tuple[int, Any], set[int]]:
    """(operation, array that it writes) -> the operations that read it, until another one writes there."""
    found: dict[tuple[int, Any], set[int]] = {}
    writer: dict[Any, int] = {}
    for j, (_, _, _, read, written) in enumerate(ops):
        for array in read:
            if array in writer:
                found[writer[array], array].add(j)
        for array in written:
            writer[array] = j
            found[j, array] = set()
    return found


def _one(ops: list[Operation], members: list[int], readers: dict[tuple[int, Any], set[int]]) -> Operation:
    """The operation that does what the members do."""
    if len(members) == 1:
        return ops[members[0]]
    inside, read, written = set(members), {}, {}
    made = {array for i in members for array in ops[i][4]}
    for i in members:
        for array, size in ops[i][3].items():
            if array not in made:
                read[array] = max(size, read.get(array, 0))
        for array, size in ops[i][4].items():
            if not readers[i, array] or readers[i, array] - inside:
                written[array] = size
    kinds = {ops[i][1] for i in members}
    kind = next(k for k in ("product", "softmax", "reduction", "pointwise") if k in kinds)
    return "+".join(ops[i][0] for i in members), kind, sum(ops[i][2] for i in members), read, written
