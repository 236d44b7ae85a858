"""The smallest world there can be: one token a frame, a memory of one frame."""

from dataclasses import dataclass

from mlxworld.configs.world import WorldConfig


@dataclass(frozen=True)
class Config(WorldConfig):
    family: str = "toy"
    size: int = 32
    fps: int = 10
    sample_rate: int = 640
    samples: int = 64
    dim: int = 24  # D, numbers of a latent

    @property
    def latent_shape(self) -> tuple[int, int]:
        return 1, self.dim


PRESETS = {"nano": Config(), "wide": Config(dim=48)}
