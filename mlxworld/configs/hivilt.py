"""HiViLT's settings. Its definition is this project's own: see `models/vision_language/hivilt.py`."""

from dataclasses import dataclass

from ..errors import MlxworldError
from .block import BlockConfig
from .vision import TextEncoderConfig, TowerConfig


@dataclass(frozen=True)
class HiViLTConfig:
    tower: TowerConfig
    text: TextEncoderConfig
    block: BlockConfig  # of a level
    levels: int = 3  # each has a quarter of the patches of the one before
    classes: int = 0  # answers to choose from; 0: none

    def __post_init__(self):
        side, C = self.tower.grid, self.block.dim
        rules = [
            (self.levels >= 1 and self.classes >= 0, "levels must be at least 1, classes not negative"),
            (side > 0 and side % 2 ** (self.levels - 1) == 0, "patches along a side must halve from level to level"),
            (self.tower.width == C == self.text.block.dim, "tower, text and block must have one width"),
            (self.tower.keep == "patches" or not self.tower.class_token, "the tower must keep its patches alone"),
            (self.text.padding >= 0, "the text needs a token of padding"),
        ]
        for holds, message in rules:
            if not holds:
                raise MlxworldError(f"HiViLTConfig: {message}")
