"""A vision-language model: a tower that sees, a decoder that reads and writes; and how far its positions turn.

The decoder's layers are blocks of one configuration; `layers` says what each attends to, and `cross` is the
configuration of those that attend to pictures.
"""

from dataclasses import dataclass, field, replace
from typing import Literal

from ..errors import MlxworldError
from .block import BlockConfig
from .vision import VisionConfig

Attends = Literal["full", "sliding", "cross"]  # to all before it; to the last `window`; to pictures


@dataclass(frozen=True)
class RopeConfig:
    """Rotary positions of E numbers of a head (Su et al. 2021), and the ways in which they were stretched."""

    base: float = 10000.0
    factor: float = 1.0  # positions are divided by it
    low_freq_factor: float = 0.0  # Llama 3: waves longer than trained_length / low_freq_factor are divided, those
    high_freq_factor: float = (
        0.0  # shorter than trained_length / high_freq_factor are not, between them in part; 0: all
    )
    short_factors: tuple[float, ...] = ()  # LongRoPE (Ding et al. 2024): of each frequency, up to the trained length
    long_factors: tuple[float, ...] = ()  # and beyond it
    trained_length: int = 0
    scale: float = 1.0  # of what is turned
    sections: tuple[int, ...] = ()  # M-RoPE: frequencies that turn by time, by height and by width
    interleaved: bool = False  # numbers 2 i and 2 i + 1 turn together, in place of i and i + E / 2

    def __post_init__(self):
        if len(self.short_factors) != len(self.long_factors) or (self.long_factors and self.trained_length < 1):
            raise MlxworldError("RopeConfig: LongRoPE has as many short factors as long ones, and a trained length")
        if self.low_freq_factor and not (self.low_freq_factor < self.high_freq_factor and self.trained_length > 0):
            raise MlxworldError("RopeConfig: low_freq_factor lies below high_freq_factor, and needs a trained length")


@dataclass(frozen=True)
class DecoderConfig:
    block: BlockConfig
    layers: tuple[Attends, ...]
    vocab: int  # V, of logits
    tokens: int = 0  # rows of the table of embeddings; 0: as vocab
    tied: bool = False  # the table makes the logits, too
    rope: RopeConfig = field(default_factory=RopeConfig)
    sliding_rope: RopeConfig | None = None  # of sliding layers; None: as rope
    window: int = 0  # tokens that a sliding layer sees, itself included
    cross: BlockConfig | None = None
    attention_scale: float | None = None  # of scores; None: 1 / sqrt(E)
    embed_scale: float = 1.0
    logit_scale: float = 1.0

    def __post_init__(self):
        rules = [
            (self.vocab >= 1 and len(self.layers) > 0, "vocab and layers must not be empty"),
            ("sliding" not in self.layers or self.window > 0, "sliding layers need a window"),
            ("cross" not in self.layers or self.cross is not None, "cross layers need their block"),
        ]
        for holds, message in rules:
            if not holds:
                raise MlxworldError(f"DecoderConfig: {message}")

    def rope_of(self, kind: str) -> RopeConfig:
        """The positions of a kind of layer."""
        return self.sliding_rope if kind == "sliding" and self.sliding_rope else self.rope


def crossed(decoder: DecoderConfig, every: int, source_dim: int = 0, gate: str = "tanh") -> DecoderConfig:
    """The decoder with a layer that attends to pictures before each `every`-th of its own, its gates shut at first, so
    that it says what it said (Flamingo, Alayrac et al. 2022; NVLM-X, Dai et al. 2024)."""
    layers: list[Attends] = []
    for i, kind in enumerate(decoder.layers):
        if i % every == 0:
            layers.append("cross")
        layers.append(kind)
    cross = replace(decoder.block, gate=gate, blind="attn", source_dim=source_dim, order="pre")
    return replace(decoder, layers=tuple(layers), cross=cross)


@dataclass(frozen=True)
class SensorConfig:
    """Vectors that become tokens among the words, by an MLP: a robot's state, the objects of a scene (PaLM-E, Driess
    et al. 2023)."""

    name: str  # of the array
    dim: int  # numbers of a vector
    hidden: int
    tokens: int = 1  # of a vector


@dataclass(frozen=True)
class VisionLanguageConfig:
    decoder: DecoderConfig
    vision: VisionConfig | None = None  # None: words alone
    image_token: int = -1  # id of the placeholder that a feature takes the place of; -1: none
    video_token: int = -1
    adds: bool = False  # features are added to the placeholder's embedding (Molmo)
    whole_pictures: bool = False  # tokens of a picture see all of it, later ones too (Gemma 3)
    hybrid: bool = False  # features take places among the words, and are attended to (NVLM-H)
    sensors: tuple[SensorConfig, ...] = ()
    merge: int = 2  # patches on a side of a merged one, in M-RoPE's positions


Config = VisionLanguageConfig
PRESETS: dict[str, VisionLanguageConfig] = {}  # models begin from published ones
