"""Pictures in, features of their patches out: CLIP, SigLIP, DINOv2, InternViT, timm's ViT and Qwen2-VL's in one class.

Notable: patches are rows of pixels, channels last, so that the first layer is one product; positions are learned, read
at other sizes by `positions.py`, or rotary by row and column; only blocks that a tap needs are built.

n pictures, h x w patches, N = h w tokens and the class token, C width.
"""

from mlxworld.configs.vision import TowerConfig

from ... import ops
from ...nn import Linear, Module, role
from .. import blocks
from ..arrays import Array
from ..blocks import rope
from ..blocks.block import norm
from .positions import resampling


def patchify(pixels: Array, patch: int) -> Array:
    """pixels (n, H, W, 3) -> (n, h * w, patch * patch * 3), patches in reading order."""
    n, H, W, channels = pixels.shape
    x = pixels.reshape(n, H // patch, patch, W // patch, patch, channels).swapaxes(2, 3)
    return x.reshape(n, -1, patch * patch * channels)


class Tower(Module):
    def __init__(self, cfg: TowerConfig):
        super().__init__()
        C, built = cfg.block.dim, max(cfg.taps, default=cfg.depth)
        self.patch, self.grid, self.resize = cfg.patch, cfg.grid, cfg.resize
        self.taps, self.keep, self.head = cfg.taps or (built,), cfg.keep, cfg.block.width
        self.embed = role(Linear(3 * cfg.frames * cfg.patch**2, C, bias=cfg.patch_bias), "input")
        if cfg.class_token:
            self.class_token = ops.zeros((C,))
            role(self, "embedding", "class_token")
        if cfg.size:
            self.positions = ops.zeros((cfg.class_token + cfg.grid**2, C))  # of the class token, then row by row
            role(self, "embedding", "positions")
        self.pre_norm = norm(cfg.block) if cfg.pre_norm else None
        self.blocks = [blocks.Block(cfg.block) for _ in range(built)]
        self.post_norm = norm(cfg.block) if cfg.post_norm else None
        self.class_tokens, self.learned = int(cfg.class_token), cfg.size > 0

    def forward(self, patches: Array, grid: tuple[int, int]) -> Array:
        """patches (n, h * w, P) of pictures of one size, grid (h, w) -> features (n, N, C * taps), of the tokens that
        are kept."""
        x = self.embedded(patches, grid)
        turn = None if self.learned else rope.turning(ops.cast(self._angles(grid, x), like=x))
        features, x = [], x[:, None]  # (n, 1, N, C)
        for depth, block in enumerate(self.blocks, 1):
            x, _ = block(x, turn)
            if depth in self.taps:
                features.append((depth, x[:, 0]))
        joined = [dict(features)[tap] for tap in self.taps]
        y = joined[0] if len(joined) == 1 else ops.concat(joined, axis=-1)
        y = y if self.post_norm is None else self.post_norm(y)
        return y if self.keep == "all" else y[:, 1:] if self.keep == "patches" else y[:, :1]

    def embedded(self, patches: Array, grid: tuple[int, int]) -> Array:
        """patches (n, h * w, P) -> (n, N, C), what the first block reads."""
        x = self.embed(ops.cast(patches, like=self.embed.weight))
        if self.class_tokens:
            first = ops.broadcast_to(self.class_token, (x.shape[0], 1, x.shape[-1]))
            x = ops.concat([first, x], axis=1)
        if self.learned:
            x = x + self._positions(grid)
        return x if self.pre_norm is None else self.pre_norm(x)

    def _positions(self, grid):
        """(N, C): the learned positions, resized where the grid is another one."""
        h, w = grid
        if (h, w) == (self.grid, self.grid):
            return self.positions
        if self.resize == "none":
            raise ValueError(f"this tower sees {self.grid} x {self.grid} patches, not {h} x {w}")
        first, table = self.positions[: self.class_tokens], ops.float32(self.positions[self.class_tokens :])
        table = table.reshape(self.grid, self.grid, -1).moveaxis(2, 0)  # (C, rows, columns)
        down, across = (ops.array(resampling(self.grid, n, self.resize), like=table) for n in (h, w))
        table = (down @ table @ across.swapaxes(0, 1)).moveaxis(0, 2).reshape(h * w, -1)
        return ops.concat([first, ops.cast(table, like=first)], axis=0)

    def _angles(self, grid, x):
        """(2, h * w, 1, E): the first half of a head's frequencies turn by the row, the others by the column."""
        h, w = grid
        places = [[float(i // w) for i in range(h * w)], [float(i % w) for i in range(h * w)]]
        half, like = rope.frequencies(self.head // 2), ops.float32(x[:1, 0, 0])
        angles = rope.angles(ops.array(places, like=like), ops.array(half + half, like=like))  # (2, 2, h * w, E)
        return rope.by_section(angles, (self.head // 4, self.head // 4))[:, :, None]
