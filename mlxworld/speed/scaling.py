"""How the time of a model that reads and writes any modality grows: with things at once, with the length of a text that
is read, and with layers."""

import numpy as np

from ..play.translator import ROWS, Translator
from .attribution import set_blocks
from .measure import Show, silent
from .timed import median

CALLS = 3


def scaling(t: Translator, batch: dict[str, np.ndarray], show: Show = silent) -> dict[str, dict[str, float]]:
    """{"videos of pictures a second, N at once": {N: rate}, "ms for N tokens of text": {N: ms}, "ms with N layers": {N:
    ms}}, each N twice the one before, and the most at last."""
    blocks, picture, text = list(t.model.blocks), batch["image"], batch["text"]
    sizes = {
        "videos of pictures a second, N at once": doubling(min(len(picture), ROWS)),
        "ms for N tokens of text": doubling(text.shape[1]),
        "ms with N layers": doubling(len(blocks)),
    }
    at_once, tokens, layers = sizes
    rows: dict[str, dict[str, float]] = {name: {} for name in sizes}
    for i in show(at_once, range(len(sizes[at_once]))):
        n = sizes[at_once][i]
        ms = median(lambda n=n: t.translate("image", picture[:n], "video"), calls=CALLS)
        rows[at_once][str(n)] = 1e3 * n / ms
    for i in show(tokens, range(len(sizes[tokens]))):
        n = sizes[tokens][i]
        rows[tokens][str(n)] = median(lambda n=n: t.encode("text", text[:1, :n]), calls=CALLS)
    try:
        for i in show(layers, range(len(sizes[layers]))):
            n = sizes[layers][i]
            set_blocks(t, blocks[:n])
            rows[layers][str(n)] = median(lambda: t.translate("image", picture[:1], "video"), calls=CALLS)
    finally:
        set_blocks(t, blocks)
    return rows


def doubling(most: int) -> list[int]:
    """1, 2, 4, ... and `most`."""
    return [n for n in (1 << i for i in range(most.bit_length())) if n < most] + [most]
