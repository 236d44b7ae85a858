"""OpenWorld: the configuration of each of its parts, and presets by name."""

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ..errors import MlxworldError
from .actions import ActionSpace
from .world import WorldConfig


@dataclass(frozen=True)
class VisionConfig:
    dim: int = 192  # width of the encoder, of fusion too
    heads: int = 3
    depth: int = 3  # blocks over the patches of one frame
    taps: tuple[int, ...] = (1, 3)  # depths whose features go on to fusion: one fusion level each; the last is depth
    encoding: str = "learned"  # of space: learned, or fixed (sines)
    temporal_window: int = 4  # frames that a patch sees of its own past, the present one included


@dataclass(frozen=True)
class AudioConfig:
    bands: int = 64  # mel bands, of the encoder and of the decoder
    columns: int = 4  # spectrogram columns a frame
    overlap: int = 4  # columns that a sample is part of: a column's window is this many hops
    dim: int = 128  # width of the decoder's convolutions


@dataclass(frozen=True)
class LatentConfig:
    layout: str = "grid"  # grid: each token is a square of the picture; queries: learned queries
    grid: int = 4  # the picture's tokens are grid * grid
    audio: int = 1  # tokens of the sound
    dim: int = 32  # D, width of a token
    content: int = 24  # of these, what the picture shows; the rest (z_dynamics) is motion and sound
    noise: float = 0.1  # largest standard deviation of the noise that the decoders learn to bear

    @property
    def tokens(self) -> int:
        """K, tokens of a frame."""
        return self.grid * self.grid + self.audio


@dataclass(frozen=True)
class DynamicsConfig:
    head: str = "flow"  # flow: shortcut rectified flow that predicts the clean latent; regression: one pass
    dim: int = 256
    heads: int = 4
    depth: int = 6
    local_window: int = 8  # frames that a local layer sees, the present one included
    global_window: int = 32  # frames that a global layer sees
    global_every: int = 3  # each so many layers one is global
    period: int = 1024  # frames until the rotary angles repeat: a multiple of both windows, at most 2048
    noise_levels: int = 8  # of training: 0 is noise, `noise_levels` is a context frame
    steps: int = 2  # denoising passes of a rollout: divides noise_levels
    kv_cache: str = "float"  # how keys and values are kept: float, in the precision of play; int8, with a scale a token
    context_noise: float = 0.05  # share of noise that stays in context frames
    context_swap: float = 0.0  # share of tokens whose past is another clip's for a few frames, in training
    action_dropout: float = 0.1  # probability that training hides an action
    dropout: float = 0.0  # in attention's output


@dataclass(frozen=True)
class DecoderConfig:
    dim: int = 192  # width of the shared latent processing
    heads: int = 3
    depth: int = 2
    channels: tuple[int, ...] = (128, 64, 48, 32)  # of convolutions at 8, 16, 32, ... pixels; the last doubles again


@dataclass(frozen=True)
class PhysicsConfig:
    objects: int = 0  # N, that are read from each frame; 0: the world has no physics modules
    dim: int = 192
    heads: int = 3
    depth: int = 3
    dropout: float = 0.05  # in attention's output, in training


@dataclass(frozen=True)
class OpenWorldConfig(WorldConfig):
    """The audio-video world model of `models/openworld`."""

    family: str = "openworld"
    patch: int = 16  # pixels
    vision: VisionConfig = field(default_factory=VisionConfig)
    audio: AudioConfig = field(default_factory=AudioConfig)
    latent: LatentConfig = field(default_factory=LatentConfig)
    dynamics: DynamicsConfig = field(default_factory=DynamicsConfig)
    decoder: DecoderConfig = field(default_factory=DecoderConfig)
    physics: PhysicsConfig = field(default_factory=PhysicsConfig)
    checkpointing: bool = False  # gradient checkpointing of transformer blocks: less memory, one more forward pass

    def __post_init__(self):
        super().__post_init__()
        for name, size in _sizes(self):
            if size < (name != "physics.objects"):
                raise MlxworldError(f"OpenWorldConfig: {name} must be at least 1, not {size}")
        a, c, d, v, p = self.audio, self.latent, self.dynamics, self.vision, self.physics
        side, channels = self.size // self.patch, self.decoder.channels
        rules = [
            (self.size % self.patch == 0, "size must be a multiple of patch"),
            (side % c.grid == 0, "size / patch must be a multiple of latent.grid"),
            (c.layout in ("grid", "queries"), "latent.layout is grid or queries"),
            (0 < c.content < c.dim, "latent.content must be between 0 and latent.dim"),
            (c.noise >= 0, "latent.noise must not be negative"),
            (len(self.actions) > 0, "actions must not be empty"),
            (all(isinstance(name, str) for name in self.actions), "actions must be names"),
            (len(set(self.actions)) == len(self.actions), "actions must differ from one another"),
            (d.head in ("flow", "regression"), "dynamics.head is flow or regression"),
            (d.kv_cache in ("float", "int8"), "dynamics.kv_cache is float or int8"),
            (d.noise_levels % d.steps == 0, "dynamics.steps must divide dynamics.noise_levels"),
            (d.noise_levels & (d.noise_levels - 1) == 0, "dynamics.noise_levels must be a power of two"),
            (
                d.period % d.local_window == 0 == d.period % d.global_window,
                "dynamics.period must be a multiple of local_window and global_window",
            ),
            (d.period <= 2048, "dynamics.period must be at most 2048: fp16 counts no further"),
            (
                all(0 <= share < 1 for share in (d.context_noise, d.context_swap, d.action_dropout, d.dropout)),
                "dynamics.context_noise, context_swap, action_dropout and dropout lie in [0, 1)",
            ),
            (p.objects <= 64 and 0 <= p.dropout < 1, "physics.objects is at most 64, physics.dropout lies in [0, 1)"),
            (self.samples % a.columns == 0, "samples must be a multiple of audio.columns"),
            (a.bands <= 1024, "audio.bands must be at most 1024"),
            (self.stft_window <= 1 << 16, "audio.overlap: a column's window must be at most 65536 samples"),
            (self.samples // a.columns * a.overlap % 2 == 0, "audio.overlap: a column's window must be even"),
            (v.encoding in ("learned", "fixed"), "vision.encoding is learned or fixed"),
            (v.encoding == "learned" or v.dim % 4 == 0, "vision.dim must be a multiple of 4 for fixed encoding"),
            (
                v.taps[-1:] == (v.depth,) and v.taps == tuple(sorted(set(v.taps))),
                "vision.taps must ascend and end at vision.depth",
            ),
            (
                len(channels) > 0 and side * 2 ** len(channels) == self.size,
                "decoder.channels must double size / patch up to size",
            ),
        ]
        rules += [(x.dim % x.heads == 0, "dim must be a multiple of heads") for x in (v, d, self.decoder, p)]
        rules += [(x.dim // x.heads % 2 == 0, "dim / heads must be even: rotary angles turn pairs") for x in (v, d)]
        for holds, message in rules:
            if not holds:
                raise MlxworldError(f"OpenWorldConfig: {message}")

    @property
    def hop(self) -> int:
        """Samples from one spectrogram column to the next."""
        return self.samples // self.audio.columns

    @property
    def stft_window(self) -> int:
        """Samples of a spectrogram column."""
        return self.hop * self.audio.overlap

    @property
    def latent_shape(self) -> tuple[int, int]:
        return self.latent.tokens, self.latent.dim

    @property
    def action_tables(self) -> tuple[str, ...]:
        return ("dynamics.embed_action.weight",)

    @property
    def receptive_field(self) -> int:
        """Frames of the past that a latent depends on: what a patch sees of it, and what the first column of a frame
        hears: its window, and two convolutions over three columns."""
        return max(self.vision.temporal_window - 1, math.ceil((self.audio.overlap + 3) / self.audio.columns))

    @property
    def context_frames(self) -> int:
        return self.dynamics.global_window

    @property
    def passes(self) -> int:
        return self.dynamics.steps if self.dynamics.head == "flow" else 1

    @property
    def bodies(self) -> int:
        return self.physics.objects

    @property
    def kv_cache(self) -> str:
        return self.dynamics.kv_cache

    def played(self, steps: int | None = None, kv_cache: str | None = None) -> "OpenWorldConfig":
        levels = self.dynamics.noise_levels
        if steps is not None and (steps < 1 or levels % steps):
            raise MlxworldError(f"steps must divide {levels}, got {steps}")
        chosen = {"steps": steps, "kv_cache": kv_cache}
        changes = {name: value for name, value in chosen.items() if value is not None}
        return dataclasses.replace(self, dynamics=dataclasses.replace(self.dynamics, **changes))

    def fitted(
        self, space: ActionSpace | tuple[str, ...], fps: float, sample_rate: int, samples: int, **more: Any
    ) -> "OpenWorldConfig":
        """As of any world, with about as many spectrogram columns, a divisor of the samples."""
        columns = min((n for n in range(1, 17) if samples % n == 0), key=lambda n: abs(n - self.audio.columns))
        audio = dataclasses.replace(self.audio, columns=columns)
        return super().fitted(space, fps, sample_rate, samples, audio=audio, **more)


Config = OpenWorldConfig


def _sizes(config: Any, prefix: str = "") -> Iterator[tuple[str, int]]:
    """Every whole number in a configuration, with its dotted name."""
    for f in dataclasses.fields(config):
        value, name = getattr(config, f.name), prefix + f.name
        if dataclasses.is_dataclass(value):
            yield from _sizes(value, f"{name}.")
        elif type(f.default) is int:
            yield name, value
        elif isinstance(f.default, tuple) and f.default and type(f.default[0]) is int:
            yield from ((name, x) for x in value)


def _preset(size, samples, vision, decoder, dynamics, channels, **latent):
    (vd, vh, vn, taps), (dd, dh, dn), (cd, ch, cn) = vision, decoder, dynamics
    return OpenWorldConfig(
        size=size,
        patch=size // 8,
        samples=samples,
        vision=VisionConfig(dim=vd, heads=vh, depth=vn, taps=taps),
        latent=LatentConfig(**latent),
        decoder=DecoderConfig(dim=dd, heads=dh, depth=dn, channels=channels),
        dynamics=DynamicsConfig(dim=cd, heads=ch, depth=cn),
    )


_NANO = {"samples": 1024, "vision": (192, 3, 3, (1, 3)), "decoder": (192, 3, 2), "dynamics": (256, 4, 6)}
_PLAY = {"samples": 1024, "vision": (384, 6, 4, (2, 4)), "decoder": (384, 6, 3), "dynamics": (512, 8, 8)}
_SMALL = {"samples": 1024, "vision": (384, 6, 4, (2, 4)), "decoder": (384, 6, 4), "dynamics": (640, 10, 10)}
_BASE = {"samples": 1024, "vision": (576, 9, 5, (2, 5)), "decoder": (512, 8, 4), "dynamics": (1024, 16, 18)}
_LARGE = {"samples": 1024, "vision": (1152, 18, 6, (3, 6)), "decoder": (896, 14, 5), "dynamics": (1792, 28, 23)}
PRESETS = {
    "nano": _preset(128, channels=(128, 64, 48, 32), **_NANO),
    "nano-64": _preset(64, channels=(128, 64, 32), **_NANO),
    "play": _preset(128, channels=(256, 128, 64, 32), dim=48, content=36, **_PLAY),
    "play-64": _preset(64, channels=(256, 128, 64), dim=48, content=36, **_PLAY),
    "small": _preset(128, channels=(256, 128, 64, 32), dim=48, content=36, **_SMALL),
    "base": _preset(128, channels=(320, 160, 80, 32), dim=64, content=48, **_BASE),
    "large": _preset(128, channels=(512, 256, 96, 48), dim=64, content=48, **_LARGE),
}


def preset(name: str) -> OpenWorldConfig:
    """The model's configuration called `name`. Raises MlxworldError for a name that is not in PRESETS."""
    if name not in PRESETS:
        raise MlxworldError(f"unknown preset {name!r}: choose one of {', '.join(PRESETS)}")
    return PRESETS[name]
