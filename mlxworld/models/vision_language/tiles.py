"""A tower over pictures in tiles that see each other (Llama 3.2 Vision, Grattafiori et al. 2024).

Notable: a picture is always T tiles, those it lacks are empty. Learned gates add what the picture's shape in tiles says
of each tile and patch. As published, tokens are padded to a multiple of 8, and padding hides from padding only: what is
there sees it.

n pictures, T tiles, N tokens of a tile (the class token, then patches), C width.
"""

import dataclasses

from mlxworld.configs.vision import TowerConfig

from ... import ops
from ...nn import Embedding, Module, role
from .. import blocks
from ..arrays import Array
from ..blocks.block import norm
from .tower import Tower, patchify


class TilePositions(Module):
    """What the shape of a picture adds to each of its tiles, or to each token of them, times tanh of a gate."""

    def __init__(self, shapes: int, tiles: int, tokens: int, dim: int):
        super().__init__()
        self.table = role(Embedding(shapes, tiles * tokens * dim), "embedding")
        self.gate = ops.zeros((1,))
        self.tiles, self.tokens = tiles, tokens

    def forward(self, shape_ids: Array) -> Array:
        """(n,) -> (n, T, tokens, C)."""
        return self.table(shape_ids).reshape(len(shape_ids), self.tiles, self.tokens, -1) * ops.tanh(self.gate)


class TiledTower(Module):
    def __init__(self, cfg: TowerConfig):
        super().__init__()
        C, T, N = cfg.block.dim, cfg.tiles, 1 + cfg.grid**2
        shapes = 1 + sum(w * h <= T for w in range(1, T + 1) for h in range(1, T + 1))  # 0: no picture
        plain = dataclasses.replace(cfg, taps=(), post_norm=False, pre_norm=False, keep="all")
        self.base = Tower(plain)  # its blocks; its positions are gated here
        self.before, self.after = TilePositions(shapes, T, 1, C), TilePositions(shapes, T, 1, C)
        self.places = TilePositions(shapes, T, N, C)
        self.pre_norm, self.post_norm = norm(cfg.block), norm(cfg.block)
        gated = dataclasses.replace(cfg.block, gate="tanh_scalar")
        self.global_blocks = [blocks.Block(gated) for _ in range(cfg.global_depth)]
        self.patch, self.taps, self.grid = cfg.patch, cfg.taps, cfg.grid

    def forward(self, pixels: Array, shape_ids: Array, tile_mask: Array) -> Array:
        """pixels (n, T, H, W, 3), shape_ids (n,) of pictures' shapes in tiles, tile_mask (n, T): 1 where a tile is ->
        (n, T, N, C * (1 + taps)): after the last block, then after each of the taps."""
        n, T = pixels.shape[:2]
        patches = patchify(pixels.reshape(n * T, *pixels.shape[2:]), self.patch)
        x = self.base.embed(ops.cast(patches, like=self.base.embed.weight)).reshape(n, T, self.grid**2, -1)
        x = x + self.before(shape_ids)
        first = ops.broadcast_to(self.base.class_token, (n, T, 1, x.shape[-1]))
        x = ops.concat([first, x], axis=2)
        x = x + (1 - ops.tanh(self.places.gate)) * self.base.positions + self.places(shape_ids)
        x = self.pre_norm(x)
        N = x.shape[2]
        padding = -N % 8
        x = ops.pad(x, [(0, 0), (0, 0), (0, padding), (0, 0)])
        mask = self._mask(tile_mask, N, padding, x)
        features = []
        for depth, block in enumerate(self.base.blocks, 1):
            x = self._over_tiles(block, x, mask)
            if depth in self.taps:
                features.append(x)
        x = self.post_norm(x) + self.after(shape_ids)
        for block in self.global_blocks:
            x = self._over_tiles(block, x, mask)
        if features:  # a tap's numbers lie side by side for each channel, as published
            taps = ops.stack(features, axis=-1)
            x = ops.concat([x, taps.reshape(*taps.shape[:3], -1)], axis=-1)
        return x[:, :, :N]

    def _over_tiles(self, block, x, mask):
        """A block over all tokens of a picture: x (n, T, N, C) is T frames of N tokens."""
        return block(x, mask=mask)[0]

    def _mask(self, tile_mask, tokens, padding, like):
        """(n, 1, T * N, T * N), N with padding: what is padding sees all but padding."""
        tile_mask = ops.float32(tile_mask)
        is_there = tile_mask[:, :, None] * ops.array([1.0] * tokens + [0.0] * padding, like=tile_mask)
        empty = 1 - is_there.reshape(len(tile_mask), -1)
        return blocks.mask(empty[:, None, :, None] * empty[:, None, None, :] < 0.5, like=like)
