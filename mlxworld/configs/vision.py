"""How a model sees: a tower over patches, a projector to the decoder's width, and the order in which it reads them."""

from dataclasses import dataclass

from ..errors import MlxworldError
from .block import BlockConfig

CHOICES = {
    "resize": ("none", "bicubic", "antialias", "offset"),
    "keep": ("all", "patches", "first"),
    "reduce": ("none", "merge", "mean", "attention"),
    "norm": ("none", "before", "after"),
    "pool": ("first", "end", "last"),
    "pack": ("plain", "grids", "anyres", "pages", "order", "tiles", "tokens"),
}


def _check(config: object, *names: str) -> None:
    for name in names:
        if (value := getattr(config, name)) not in CHOICES[name]:
            raise MlxworldError(f"{type(config).__name__}: {name} is one of {', '.join(CHOICES[name])}, not {value!r}")


@dataclass(frozen=True)
class TowerConfig:
    """A vision transformer. Fields are what sets CLIP, SigLIP, DINOv2, InternViT, timm's ViT and Qwen2-VL's apart."""

    block: BlockConfig
    depth: int  # blocks
    patch: int = 14  # side of a patch, pixels
    size: int = 224  # side of the pictures whose positions are learned, pixels; 0: rotary rows and columns, any size
    frames: int = 1  # of a patch: 2 in films
    patch_bias: bool = True
    class_token: bool = True  # a learned token before the patches
    resize: str = "none"  # learned positions at other sizes, see positions.py; none: no other size
    pre_norm: bool = False  # before the first block
    post_norm: bool = False  # after the last
    taps: tuple[int, ...] = ()  # features after so many blocks, joined along the width; (): after the last
    keep: str = "patches"  # what comes out: all tokens, all but the first (class token), or the first alone
    tiles: int = 0  # pictures cut into up to so many tiles, which attend to each other (see tiles.py); 0: none
    global_depth: int = 0  # of blocks after the tower's own, gated, over tiles

    def __post_init__(self):
        _check(self, "resize", "keep")
        rules = [
            (min(self.depth, self.patch, self.frames) >= 1, "depth, patch and frames must be at least 1"),
            (self.size >= 0 and self.size % self.patch == 0, "size must be a multiple of patch"),
            (all(0 < tap <= self.depth for tap in self.taps), "taps lie in 1 .. depth"),
            (self.class_token or self.keep == "all", "without a class token, keep must be all"),
            (self.size > 0 or self.block.width % 4 == 0, "rotary rows and columns need heads of a multiple of 4"),
        ]
        for holds, message in rules:
            if not holds:
                raise MlxworldError(f"TowerConfig: {message}")

    @property
    def grid(self) -> int:
        """Patches along a side of the pictures it was made for."""
        return self.size // self.patch

    @property
    def width(self) -> int:
        """Numbers of a token that comes out."""
        return self.block.dim * (1 + len(self.taps) if self.tiles else max(1, len(self.taps)))


@dataclass(frozen=True)
class ProjectorConfig:
    """From patches (h, w, dim) to tokens (h / side, w / side, out): some patches become one, then an MLP."""

    dim: int  # of a patch's features
    out: int  # D, width of the decoder
    hidden: int = 0  # of the MLP; 0: one matrix
    side: int = 1  # of the square of patches that becomes one token
    reduce: str = "none"  # how: side by side (merge), their mean, or attention of the mean to them
    norm: str = "none"  # before or after that
    norm_kind: str = "layer"  # as BlockConfig.norm
    eps: float = 1e-5
    act: str = "gelu"
    gated: bool = False  # act(gate) * up, in place of act(up)
    bias: bool = True  # of the MLP
    transposed: bool = False  # tokens in columns, as pixel shuffle's first version leaves them
    heads: int = 1  # of attention
    kv_heads: int = 1
    head_dim: int = 0
    pooled: int = 0  # width that attention gives
    padding_embed: bool = False  # learned features added to patches that padding covers, wholly or in part

    def __post_init__(self):
        _check(self, "reduce", "norm")
        rules = [
            (min(self.dim, self.out, self.side) >= 1, "dim, out and side must be at least 1"),
            (self.reduce != "none" or self.side == 1, "side above 1 needs a way to reduce"),
            (self.reduce != "attention" or min(self.head_dim, self.pooled) > 0, "attention needs head_dim and pooled"),
            (self.heads % self.kv_heads == 0, "heads must be a multiple of kv_heads"),
        ]
        for holds, message in rules:
            if not holds:
                raise MlxworldError(f"ProjectorConfig: {message}")

    @property
    def reduced(self) -> int:
        """Numbers of a token before the MLP."""
        if self.reduce == "attention":
            return self.pooled
        return self.dim * (self.side**2 if self.reduce == "merge" else 1)


@dataclass(frozen=True)
class ResamplerConfig:
    """A perceiver: a fixed number of learned queries read any number of patches (Flamingo)."""

    block: BlockConfig
    depth: int
    latents: int


@dataclass(frozen=True)
class VisionConfig:
    tower: TowerConfig
    projector: ProjectorConfig | None = None
    resampler: ResamplerConfig | None = None
    pack: str = "plain"  # how tokens of pictures become rows of the prompt: see packing.py

    def __post_init__(self):
        _check(self, "pack")
        width = self.tower.width
        if self.projector is None and self.pack != "tokens":
            raise MlxworldError(f"VisionConfig: pack {self.pack} needs a projector")
        if self.projector is not None and self.projector.dim != width:
            raise MlxworldError(f"VisionConfig: the projector reads {self.projector.dim}, the tower gives {width}")


@dataclass(frozen=True)
class TextEncoderConfig:
    """A transformer over texts with learned positions: BERT, CLIP's and SigLIP's."""

    block: BlockConfig
    depth: int
    vocab: int
    positions: int
    types: int = 0  # of segments; texts here are of type 0
    embed_norm: bool = False  # before the first block
    final_norm: bool = False  # after the last
    causal: bool = False
    padding: int = -1  # token that fills a row, and is not seen; -1: fillings are seen as anything else
    pool: str = "first"  # which token stands for the text: the first, the first that is `end`, or the row's last
    end: int = -1

    def __post_init__(self):
        _check(self, "pool")


@dataclass(frozen=True)
class DualEncoderConfig:
    """A picture and a text side by side in one space."""

    tower: TowerConfig
    text: TextEncoderConfig
    out: int  # width of the space
    hidden: int = 0  # of the text's MLP; 0: one matrix
    attends: bool = False  # a learned query reads the picture's patches, in place of a class token and a matrix
    text_bias: bool = False
    sigmoid: bool = False  # a pair fits or not, whatever the others do (SigLIP); else one of the texts is right
