"""Rows of token ids as the arrays that a vision-language model reads: padded at their beginnings, with positions.

A row is a list of ids; a picture stands in it as so many placeholders as it has features, or in models that attend to
pictures as one. B rows, T tokens, M pictures of a row, S tokens of a row's pictures.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import MlxworldError

Arrays = dict[str, np.ndarray]
TOKENWISE = ("ids", "positions", "feature", "picture", "seen")  # arrays with a row for each token
Grid = Sequence[int]  # frames, rows and columns of patches


def prompt(
    rows: Sequence[Sequence[int]],
    placeholders: Sequence[int] = (),
    grids: Sequence[Grid] | None = None,
    merge: int = 2,
    whole: bool = False,
) -> Arrays:
    """The arrays of `Model.prefill`. placeholders: ids that stand for features, in their order; -1 is one that no table
    holds.

    grids: of all pictures and films, row after row, for positions in time, height and width (M-RoPE), where `merge`
    patches on a side are one token. whole: pictures are told apart, so that each sees itself whole. Raises
    MlxworldError for an empty row.
    """
    if not rows or not all(rows):
        raise MlxworldError("a prompt needs at least one token")
    T = max(map(len, rows))
    pad = np.array([T - len(row) for row in rows], np.int32)
    ids = np.array([[0] * int(n) + list(row) for n, row in zip(pad, rows, strict=True)], np.int32)
    real = np.arange(T) >= pad[:, None]
    stands = np.isin(ids, list(placeholders)) & real
    feature = np.where(stands, np.cumsum(stands.reshape(-1)).reshape(stands.shape) - 1, -1)
    arrays = {"ids": np.maximum(ids, 0), "pad": pad, "feature": feature.astype(np.int32)}
    if whole:
        begins = stands & ~np.pad(stands, ((0, 0), (1, 0)))[:, :-1]
        arrays["picture"] = np.where(stands, np.cumsum(begins, axis=1), 0).astype(np.int32)
    if grids is None:
        positions = np.maximum(np.cumsum(real, axis=1) - 1, 0)
        return arrays | {"positions": positions.astype(np.int32), "shift": -pad}
    return arrays | _by_grids(stands, pad, list(grids), merge)


def _by_grids(stands: np.ndarray, pad: np.ndarray, grids: list[Grid], merge: int) -> Arrays:
    """positions (B, T, 3) and shift (B,): a picture begins where the words before it end, and they go on after its
    longer side (Wang et al. 2024)."""
    B, T = stands.shape
    positions, shift, left = np.zeros((B, T, 3), np.int32), np.zeros(B, np.int32), list(grids)
    for b in range(B):
        t, at = int(pad[b]), 0
        while t < T:
            if not stands[b, t]:
                positions[b, t] = at
                t, at = t + 1, at + 1
                continue
            if not left:
                raise MlxworldError("the prompt has placeholders of more pictures than there are")
            frames, h, w = (n // side for n, side in zip(left.pop(0), (1, merge, merge), strict=True))
            if t + frames * h * w > T or not stands[b, t : t + frames * h * w].all():
                raise MlxworldError(f"a picture of {frames * h * w} tokens has another number of placeholders")
            places = np.stack(np.meshgrid(np.arange(frames), np.arange(h), np.arange(w), indexing="ij"), axis=-1)
            positions[b, t : t + frames * h * w] = places.reshape(-1, 3) + at
            t, at = t + frames * h * w, at + max(h, w)
        shift[b] = positions[b, int(pad[b]) :].max() + 1 - T
    if left:
        raise MlxworldError(f"{len(left)} of the pictures have no placeholder in the prompt")
    return {"positions": positions, "shift": shift}


def attended(rows: Sequence[Sequence[int]], placeholder: int, visible: np.ndarray) -> Arrays:
    """What each token sees of pictures that are attended to: "rows" (B, M) and "seen" (B, T, S).

    visible (pictures, S / M): tokens of each picture that are there. A token sees the last picture before it, its
    placeholder included, and with it those that stand directly before that one.
    """
    T, at = max(map(len, rows)), [[i for i, x in enumerate(row) if x == placeholder] for row in rows]
    M, size, first = max(1, *map(len, at)), visible.shape[1], 0
    numbers, seen = np.zeros((len(rows), M), np.int32), np.zeros((len(rows), T, M, size), bool)
    for b, (row, places) in enumerate(zip(rows, at, strict=True)):
        end = len(row)
        for j in reversed(range(len(places))):
            following = places[j + 1] if j + 1 < len(places) else len(row)
            end = end if following == places[j] + 1 else following
            numbers[b, j] = first + j
            seen[b, T - len(row) + places[j] : T - len(row) + end, j] = visible[first + j]
        first += len(places)
    return {"rows": numbers, "seen": seen.reshape(len(rows), T, -1)}


def by_kind(arrays: Arrays, kinds: Sequence[int]) -> Arrays:
    """The prompt with features that come kind after kind, of the placeholders `kinds`: a picture's, a sensor's."""
    feature, n = np.full_like(arrays["feature"], -1), 0
    for kind in kinds:
        own = (arrays["ids"] == kind) & (arrays["feature"] >= 0)
        feature[own] = n + np.arange(own.sum())
        n += int(own.sum())
    return arrays | {"feature": feature}


def tiled(rows: Sequence[Sequence[int]], tags: Sequence[int], size: int, whole: int | None = None) -> Arrays:
    """The prompt of tiles of `size` tokens, each told by a tag in the text (NVLM-X and -H, Dai et al. 2024).

    A tag of `tags` sees its own tile alone, the words after it all tiles before them. Behind the tag `whole`, which
    sees what words see, the features of its tile stand themselves: `size` times -1. Tiles are numbered in the order of
    their tags.
    """
    arrays = prompt(rows, (-1,))
    T, n, at = arrays["ids"].shape[1], 0, [[x in tags for x in row] for row in rows]
    M = max(1, *(sum(row) for row in at))
    numbers, seen = np.zeros((len(rows), M), np.int32), np.zeros((len(rows), T, M, size), bool)
    for b, row in enumerate(rows):
        before = 0
        for t, token in enumerate(row, start=T - len(row)):
            if token in tags:
                numbers[b, before], seen[b, t, before] = n, True
                before, n = before + 1, n + 1
                continue
            seen[b, t, :before] = True
            if token == whole:
                arrays["feature"][b, t + 1 : t + 1 + size] = n * size + np.arange(size)
                n += 1
    return arrays | {"rows": numbers, "seen": seen.reshape(len(rows), T, -1)}


def cut(arrays: Arrays, length: int) -> Arrays:
    """The prompt's first tokens, with all of its pictures."""
    return {name: x[:, :length] if name in TOKENWISE else x for name, x in arrays.items()}


def extended(arrays: Arrays, tokens: np.ndarray, parents: Any = None) -> Arrays:
    """The prompt with further tokens (B', n) after rows `parents` (B',), each row's own unless given: as if they had
    been written in it."""
    parents = np.arange(len(tokens)) if parents is None else np.asarray(parents)
    arrays = {name: x[parents] for name, x in arrays.items()}
    n, T = tokens.shape[1], arrays["ids"].shape[1]
    positions = (T + np.arange(n) + arrays["shift"][:, None]).astype(np.int32)
    if arrays["positions"].ndim == 3:
        positions = np.repeat(positions[..., None], 3, axis=-1)
    after = {"ids": tokens.astype(np.int32), "positions": positions}
    after |= {"feature": np.full(tokens.shape, -1, np.int32), "picture": np.zeros(tokens.shape, np.int32)}
    if "seen" in arrays:
        after["seen"] = np.repeat(arrays["seen"][:, -1:], n, axis=1)
    return {name: np.concatenate([x, after[name]], axis=1) if name in after else x for name, x in arrays.items()}
