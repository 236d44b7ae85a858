"""A latent hook: what `models/blocks/hooks.py` is built from, and what its file says of it."""

from dataclasses import dataclass

from ..errors import MlxworldError


@dataclass(frozen=True)
class HookConfig:
    name: str
    num_tokens: int  # M, tokens that join attention
    dim: int  # C, width of the model that it joins
    target_layers: tuple[int, ...]  # L layers, rising
    gate_bias_init: float = -4.0  # b of each layer at first: its keys weigh sigmoid(b) of what a content key does
    use_transform: bool = True  # a residual MLP between two layers, nothing at first
    family: str = ""  # of the model that it was taught on; empty: any
    depth: int = 0  # layers of that model; 0: any

    def __post_init__(self):
        layers = self.target_layers
        rules = [
            (min(self.num_tokens, self.dim) >= 1, "num_tokens and dim must be at least 1"),
            (len(layers) > 0 and min(layers) >= 0, "target_layers names at least one layer, counted from 0"),
            (list(layers) == sorted(set(layers)), "target_layers must rise"),
        ]
        for holds, message in rules:
            if not holds:
                raise MlxworldError(f"hook {self.name!r}: {message}")
