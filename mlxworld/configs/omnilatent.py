"""OmniLatent: one backbone that reads and writes text, sound, pictures and video."""

from dataclasses import dataclass
from typing import Any

from ..errors import MlxworldError
from .block import BlockConfig
from .translator import MODALITIES, TranslatorConfig

PAD, BOS, EOS = 0, 1, 2  # ids of every tokenizer of the family; 0 is padding


@dataclass(frozen=True)
class OmniLatentConfig(TranslatorConfig):
    family: str = "omnilatent"
    hidden_dim: int = 768  # C
    num_layers: int = 12
    num_heads: int = 12
    vocab_size: int = 32000  # V
    max_text: int = 256  # tokens of a text
    bands: int = 128  # F, of a log-mel spectrogram
    audio_frames: int = 256  # frames of a spectrogram that is written
    image_size: int = 224
    image_patch: int = 16
    video_size: int = 112
    video_patch: int = 16
    frames: int = 16  # of a video that is written
    tubelet: int = 4  # frames of a patch of video
    fps: float = 8.0  # frames a second of a video
    sample_rate: int = 16384  # samples a second of the sound that a spectrogram is of
    timeline: bool = False  # with a transformer over a film's clips, and heads of what they say of time
    timeline_layers: int = 1  # of each of its two levels
    segment: int = 4  # clips that its lower level sees one by one, and that one place of its upper level stands for
    memory_tokens: int = 0  # M, of a recurrent memory; 0: none
    checkpointing: bool = False  # activations are computed again in the backward pass

    def __post_init__(self):
        sizes = (self.hidden_dim, self.num_layers, self.num_heads, self.bands, self.max_text, self.image_size)
        patches = (self.image_patch, self.video_size, self.video_patch, self.frames, self.tubelet)
        if min(*sizes, *patches) < 1 or self.vocab_size <= EOS or self.audio_frames < 2:
            raise MlxworldError("OmniLatentConfig: every size must be at least 1, vocab_size 3, audio_frames 2")
        if self.timeline_layers < 1 or self.segment < 2:
            raise MlxworldError("OmniLatentConfig: timeline_layers must be at least 1, segment 2")
        self.require_rates()
        if max(self.max_text, self.audio_frames, self.image_tokens, self.video_tokens) > SPAN:
            raise MlxworldError(f"OmniLatentConfig: a modality has at most {SPAN} tokens")
        if not 0 <= self.memory_tokens <= SPAN:
            raise MlxworldError(f"OmniLatentConfig: memory_tokens lies between 0 and {SPAN}")
        for whole, part, names in (
            (self.hidden_dim, 2 * self.num_heads, "hidden_dim must be a multiple of 2 num_heads"),
            (self.image_size, self.image_patch, "image_size must be a multiple of image_patch"),
            (self.video_size, self.video_patch, "video_size must be a multiple of video_patch"),
            (self.frames, self.tubelet, "frames must be a multiple of tubelet"),
        ):
            if whole % part:
                raise MlxworldError(f"OmniLatentConfig: {names}")

    @property
    def block(self) -> BlockConfig:
        """Of every layer."""
        return BlockConfig(self.hidden_dim, self.num_heads, hidden=4 * self.hidden_dim, gate="scale")

    @property
    def image_tokens(self) -> int:
        """Patches of a picture."""
        return (self.image_size // self.image_patch) ** 2

    @property
    def video_tokens(self) -> int:
        """Tubelets of a video of `frames` frames."""
        return self.frames // self.tubelet * (self.video_size // self.video_patch) ** 2


SPAN = 1024  # positions of one modality
Config = OmniLatentConfig
__all__ = ["BOS", "EOS", "MODALITIES", "PAD", "PRESETS", "SPAN", "Config", "OmniLatentConfig", "preset_of"]
_SCENES: dict[str, Any] = {"vocab_size": 259, "max_text": 160, "bands": 64, "audio_frames": 64}
_SCENES |= {"image_size": 64, "image_patch": 8, "video_size": 64, "video_patch": 8}
PRESETS = {
    "default": Config(),
    "tiny": Config(hidden_dim=128, num_layers=4, num_heads=4),
    "small": Config(hidden_dim=384, num_layers=6, num_heads=6),
    "large": Config(hidden_dim=1024, num_layers=16, num_heads=16),
    "nano": Config(hidden_dim=64, num_layers=2, num_heads=2, **_SCENES),
    "scenes": Config(hidden_dim=384, num_layers=8, num_heads=6, **_SCENES),
}


def preset_of(name: str) -> OmniLatentConfig:
    """One of PRESETS."""
    return PRESETS[name]
