"""Pictures as a decoder reads them: tower, projector, order.

    arrays["pixels"]   what the image processor gives, with the other arrays that the model's way of packing needs
    layout             plain numbers for each picture, which fix the shapes: a step is compiled once for each layout

| pack | pixels | other arrays | layout | gives |
|---|---|---|---|---|
| plain | (n, H, W, 3) | | | (N, D) |
| grids | (patches, P) | | (frames, rows, columns) of patches | (N, D) |
| anyres, pages | (tiles, H, W, 3) | | see packing.py | (N, D) |
| order | (tiles, H, W, 3) | shown (tiles, patches), order (N,) of tokens | | (N, D) |
| tiles | (n, T, H, W, 3) | shape_ids (n,), tile_mask (n, T) | | (n, T * tokens, D) |
| tokens | (n, H, W, 3) | | | (n, tokens or latents, C) |

N tokens of all pictures, one after another, as the placeholders of a prompt. n pictures, T tiles.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from mlxworld.configs.vision import VisionConfig

from ... import ops
from ...nn import Module, role
from ..arrays import Array
from . import packing
from .projector import Projector, Resampler
from .tiles import TiledTower
from .tower import Tower, patchify


class Vision(Module):
    def __init__(self, cfg: VisionConfig):
        super().__init__()
        self.tower = TiledTower(cfg.tower) if cfg.tower.tiles else Tower(cfg.tower)
        self.pack, self.patch = cfg.pack, cfg.tower.patch
        self.projector: Any = None if cfg.projector is None else Projector(cfg.projector)
        self.resampler = None if cfg.resampler is None else Resampler(cfg.resampler)
        if cfg.projector is not None and cfg.pack in (
            "anyres",
            "pages",
        ):  # the ends of lines of pages are projected too
            width = cfg.projector.out if cfg.pack == "anyres" else cfg.projector.reduced
            self.newline = ops.zeros((width,))
            if cfg.pack == "pages":
                self.separator = ops.zeros((width,))
            role(self, "embedding", "newline", "separator")

    def forward(self, arrays: Mapping[str, Array], layout: Sequence[Sequence[int]] = ()) -> Array:
        """Features of all pictures, see above."""
        pixels = arrays["pixels"]
        if self.pack == "tiles":
            x = self.projector(self.tower(pixels, arrays["shape_ids"], arrays["tile_mask"]))
            return x.flatten(1, 2)
        if self.pack == "grids":
            return self._grids(pixels, layout)
        h, w = (n // self.patch for n in pixels.shape[1:3])
        x = self.tower(patchify(pixels, self.patch), (h, w))
        if self.pack == "tokens" and self.projector is not None:
            return self.projector(x.reshape(len(x), h, w, -1)).flatten(1, 2)
        if self.pack == "tokens":
            return x if self.resampler is None else self.resampler(x)
        x = x.reshape(len(x), h, w, -1)
        if self.pack == "order":
            x = self.projector(x, arrays["shown"].reshape(-1, h, w))
            return ops.take(packing.plain(x), arrays["order"], axis=0)
        x = self.projector(x)
        if self.pack == "anyres":
            return packing.anyres(x, layout, self.newline)
        if self.pack == "pages":
            return packing.pages(x, layout, self.projector.mlp(self.newline), self.projector.mlp(self.separator))
        return packing.plain(x)

    def _grids(self, patches, layout):
        """Each picture or film alone, for they differ in size; frames do not see each other."""
        tokens, first = [], 0
        for frames, h, w in layout:
            x = patches[first : first + frames * h * w].reshape(frames, h * w, -1)
            x = self.tower(x, (h, w)).reshape(frames, h, w, -1)
            tokens.append(packing.plain(self.projector(x)))
            first += frames * h * w
        return ops.concat(tokens, axis=0)
