"""Shares as a picture: a table of layers and heads for each name, dark where much is."""

from collections.abc import Mapping

import numpy as np

CELL, TALL, LEFT, HEAD, GAP = 46, 24, 64, 40, 24  # pixels
PAPER, INK, FULL = (255, 255, 255), (30, 30, 30), (18, 76, 140)


def heat(title: str, tables: Mapping[str, np.ndarray]) -> np.ndarray:
    """A picture (height, width, 3) uint8 of {name: (layers, heads)}, shares from 0 to 1, in percent; the last column of
    each is the mean over heads. The darkest cell is the greatest share of all."""
    from PIL import Image, ImageDraw

    most = max([float(x.max()) for x in tables.values()] + [1e-12])
    widths = [LEFT + (x.shape[1] + 1) * CELL + GAP for x in tables.values()]
    tall = HEAD + 20 + max([len(x) for x in tables.values()] + [1]) * TALL + GAP
    canvas = Image.new("RGB", (max(sum(widths), 12 + 7 * len(title)), tall), PAPER)
    draw, left = ImageDraw.Draw(canvas), 0
    draw.text((8, 6), title, fill=INK)
    for (name, shares), width in zip(tables.items(), widths, strict=True):
        draw.text((left + 8, 24), name, fill=INK)
        columns = [*(f"head {i}" for i in range(shares.shape[1])), "mean"]
        for column, word in enumerate(columns):
            draw.text((left + LEFT + column * CELL + 3, HEAD + 4), word, fill=INK)
        for row, values in enumerate(np.concatenate([shares, shares.mean(axis=1, keepdims=True)], axis=1)):
            top = HEAD + 20 + row * TALL
            draw.text((left + 8, top + 6), f"layer {row}", fill=INK)
            for column, share in enumerate(values):
                x, part = left + LEFT + column * CELL, float(share) / most
                colour = tuple(round(a + (b - a) * part) for a, b in zip(PAPER, FULL, strict=True))
                draw.rectangle((x, top, x + CELL - 2, top + TALL - 2), fill=colour, outline=(225, 225, 225))
                draw.text((x + 4, top + 6), f"{100 * share:.3g}", fill=PAPER if part > 0.5 else INK)
        left += width
    return np.asarray(canvas)
